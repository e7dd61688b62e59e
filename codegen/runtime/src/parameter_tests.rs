//! Decoding of parameters, as far as it can be seen without a server.

use super::*;

#[test]
fn percent_encoding_is_decoded_or_refused() {
    assert_eq!(percent_decode("a%20b%C3%A9").as_deref(), Some("a bé"));
    assert_eq!(percent_decode("%2f%2F").as_deref(), Some("//"));
    for raw in ["%", "%4", "%zz", "%-1", "%+1", "%ff", "%C3", "a%"] {
        assert_eq!(percent_decode(raw), None, "{raw}");
    }
}

#[test]
fn integers_are_written_as_in_json() {
    for (text, value) in [("0", 0), ("-1", -1), ("10", 10), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)] {
        assert_eq!(integer(text), Some(value), "{text}");
    }
    for text in ["", "-", "+1", "01", "-01", "1.0", "1e1", " 1", "1 ", "0x1", "9223372036854775808", "١"] {
        assert_eq!(integer(text), None, "{text}");
    }
}

#[test]
fn lists_in_headers_may_come_in_several_lines() {
    let mut headers = HeaderMap::new();
    headers.append("if-none-match", "\"1\"".parse().expect("a value"));
    headers.append("if-none-match", "\"2\"".parse().expect("a value"));
    headers.append("x-one", "1".parse().expect("a value"));
    headers.append("x-one", "2".parse().expect("a value"));
    let texts = |name: &str| Sent::header(name, &headers).into_iter().map(|sent| sent.text).collect::<Vec<_>>();
    assert_eq!(texts("If-None-Match"), [Some("\"1\", \"2\"".to_owned())]);
    assert_eq!(texts("X-One"), [Some("1".to_owned()), Some("2".to_owned())]);
    assert!(texts("if-match").is_empty());
}

#[test]
fn a_query_is_split_before_it_is_decoded() {
    let schemas: &'static Schemas = Box::leak(Box::new(Schemas::new("{}")));
    let known = [Described::new(Location::Query, "a&b", false, schemas, &serde_json::json!({ "type": "string" }))];
    let mut faults = Vec::new();
    let sent = Sent::query("a%26b=c%3Dd=e+f&x&x&y=1", &known, &mut faults);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].text.as_deref(), Some("c=d=e f"));
    assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), ["/x", "/y"]);
}
