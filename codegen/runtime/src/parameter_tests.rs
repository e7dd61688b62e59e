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
    for (text, value) in [
        ("0", 0),
        ("-1", -1),
        ("10", 10),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(integer(text), Some(value), "{text}");
    }
    for text in
        ["", "-", "+1", "01", "-01", "1.0", "1e1", " 1", "1 ", "0x1", "9223372036854775808", "١"]
    {
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
    let sent = |name: &str| {
        let mut sent = Sent::Never;
        sent.header(name, &headers);
        sent
    };
    assert_eq!(sent("If-None-Match"), Sent::Once(Some("\"1\", \"2\"".to_owned())));
    assert_eq!(sent("X-One"), Sent::Repeated);
    assert_eq!(sent("if-match"), Sent::Never);
}

fn known() -> Vec<Described> {
    let schemas: &'static Schemas = Box::leak(Box::new(Schemas::new("{}")));
    let schema = serde_json::json!({ "type": "string" });
    ["a&b", "x"].map(|name| Described::new(Location::Query, name, false, schemas, &schema)).into()
}

#[test]
fn a_query_is_split_before_it_is_decoded() {
    let (mut faults, mut sent) = (Faults::new(), [Sent::Never, Sent::Never]);
    query("a%26b=c%3Dd=e+f&u&u&v=1", &known(), &mut sent, &mut faults);
    assert_eq!(sent, [Sent::Once(Some("c=d=e f".to_owned())), Sent::Never]);
    let pointers: Vec<&str> = faults.listed().iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/u", "/v"]);
}

#[test]
fn of_thousands_of_pairs_none_is_kept() {
    let (mut faults, mut sent) = (Faults::new(), [Sent::Never, Sent::Never]);
    let pairs: Vec<String> = (0..5000).map(|index| format!("{index}=1&x={index}")).collect();
    query(&pairs.join("&"), &known(), &mut sent, &mut faults);
    assert_eq!(sent, [Sent::Never, Sent::Repeated]);
    assert_eq!((faults.listed().len(), faults.omitted()), (32, 5000 - 32));
    assert_eq!(faults.listed()[31].pointer, "/31");
}
