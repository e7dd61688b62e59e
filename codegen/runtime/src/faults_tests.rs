//! Tests the limits on faults.

use super::*;

fn json_bytes(text: &str) -> usize {
    serde_json::to_string(text).expect("text").len() - "\"\"".len()
}

#[test]
fn text_is_cut_between_characters_with_an_ellipsis() {
    assert_eq!(shorten("12345678", 8), "12345678");
    assert_eq!(shorten("123456789", 8), "12345…");
    assert_eq!(shorten("ääää", 8), "ääää");
    assert_eq!(shorten("äääää", 8), "ää…");
    assert_eq!(shorten("😀😀😀", 8), "😀…");
    assert_eq!(shorten("\0\0", 8), "…");
    assert_eq!(shorten("\"\"\"\"\"", 8), "\"\"…");
    assert_eq!(shorten(format_args!("{}{}", "1234", "56789"), 8), "12345…");
    assert_eq!(shorten("", 8), "");
}

#[test]
fn limits_count_bytes_of_json_escapes() {
    let characters = ["a", "~", "/", "\"", "\\", "\u{0}", "\u{1f}", "\n", "\u{7f}", "é", "…", "😀"];
    for character in characters {
        for length in [1, 42, 43, 84, 85, 127, 128, 129, 254, 255, 256, 257, 30_000] {
            let name = character.repeat(length);
            let fault = Fault::of_parameter(Location::Query, &name, &name);
            assert!(!fault.pointer.ends_with("~…"), "{}", fault.pointer);
            for text in [&fault.pointer, &fault.detail] {
                let bytes = json_bytes(text);
                assert!(bytes <= 256, "{length} × {character:?}: {bytes}");
                assert!(text.ends_with(ELLIPSIS) || !text.contains(ELLIPSIS) || character == "…");
                if text.ends_with(ELLIPSIS) && character != "…" {
                    assert!(bytes > 240, "{length} × {character:?}: {bytes}");
                }
            }
        }
    }
    let fault = Fault::of_parameter(Location::Query, &"~".repeat(127), "");
    assert_eq!(fault.pointer, format!("/{}", "~0".repeat(127)));
    let fault = Fault::of_parameter(Location::Query, &"~".repeat(128), "");
    assert_eq!(fault.pointer, format!("/{}…", "~0".repeat(126)));
}

#[test]
fn faults_beyond_32_are_counted() {
    let mut faults = Faults::new();
    assert!(faults.is_empty());
    for index in 0..Faults::MAX_LISTED {
        faults.add(|| Fault::of_body(format_args!("/{index}"), "x"));
    }
    assert_eq!((faults.listed().len(), faults.omitted()), (32, 0));
    for _ in 0..1000 {
        faults.add(|| unreachable!("the limit of faults is reached"));
        faults.add_once(|| unreachable!("the limit of faults is reached"));
    }
    assert_eq!((faults.listed().len(), faults.omitted()), (32, 2000));
    assert_eq!(faults.listed()[31].pointer, "/31");

    let mut all = Faults::from(Fault::of_body("/first", "x"));
    all.append(faults);
    assert_eq!((all.listed().len(), all.omitted()), (32, 2001));
    assert_eq!(all.into_iter().next().map(|fault| fault.pointer).as_deref(), Some("/first"));
}

#[test]
fn add_once_skips_equal_faults() {
    let mut faults = Faults::new();
    for name in ["a", "b", "a"] {
        faults.add_once(|| Fault::of_parameter(Location::Query, name, "x"));
    }
    assert_eq!((faults.listed().len(), faults.omitted()), (2, 0));
}

#[test]
fn total_text_is_limited() {
    for (name, detail) in [("x", "x"), ("\0", "\""), ("😀", "~")] {
        let mut faults = Faults::new();
        for _ in 0..40 {
            faults.add(|| Fault::of_body(name.repeat(1000), detail.repeat(1000)));
        }
        let texts = faults.listed().iter();
        let bytes: usize =
            texts.map(|fault| json_bytes(&fault.pointer) + json_bytes(&fault.detail)).sum();
        assert!(bytes <= Faults::MAX_TEXT_BYTES && faults.listed().len() >= 24, "{bytes}");
        assert_eq!(faults.listed().len() + faults.omitted(), 40);
    }
}
