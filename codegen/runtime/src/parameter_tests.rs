//! Tests the decoding of parameters.

use super::*;

#[test]
fn invalid_percent_encoding_is_rejected() {
    assert_eq!(percent_decode("a%20b%C3%A9").as_deref(), Some("a bé"));
    assert_eq!(percent_decode("%2f%2F").as_deref(), Some("//"));
    for raw in ["%", "%4", "%zz", "%-1", "%+1", "%ff", "%C3", "a%"] {
        assert_eq!(percent_decode(raw), None, "{raw}");
    }
}

#[test]
fn integers_use_json_syntax() {
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
fn lines_of_list_headers_are_joined() {
    let mut headers = HeaderMap::new();
    headers.append("if-none-match", "\"1\"".parse().expect("a value"));
    headers.append("if-none-match", "\"2\"".parse().expect("a value"));
    headers.append("x-one", "1".parse().expect("a value"));
    headers.append("x-one", "2".parse().expect("a value"));
    let sent = |name: &str| {
        let mut sent = RawValue::Absent;
        sent.header(name, &headers);
        sent
    };
    assert_eq!(sent("If-None-Match"), RawValue::Single(Some("\"1\", \"2\"".to_owned())));
    assert_eq!(sent("X-One"), RawValue::Repeated);
    assert_eq!(sent("if-match"), RawValue::Absent);
}

fn known() -> Vec<CompiledParameter> {
    let schemas: &'static Schemas = Box::leak(Box::new(Schemas::new("{}")));
    let schema = serde_json::json!({ "type": "string" });
    ["a&b", "x"]
        .map(|name| CompiledParameter::new(Location::Query, name, false, schemas, &schema))
        .into()
}

#[test]
fn query_is_split_before_decoding() {
    let (mut faults, mut sent) = (Faults::new(), [RawValue::Absent, RawValue::Absent]);
    query("a%26b=c%3Dd=e+f&u&u&v=1", &known(), &mut sent, &mut faults);
    assert_eq!(sent, [RawValue::Single(Some("c=d=e f".to_owned())), RawValue::Absent]);
    let pointers: Vec<&str> = faults.listed().iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/u", "/v"]);
}

#[test]
fn thousands_of_query_pairs_are_only_counted() {
    let (mut faults, mut sent) = (Faults::new(), [RawValue::Absent, RawValue::Absent]);
    let pairs: Vec<String> = (0..5000).map(|index| format!("{index}=1&x={index}")).collect();
    query(&pairs.join("&"), &known(), &mut sent, &mut faults);
    assert_eq!(sent, [RawValue::Absent, RawValue::Repeated]);
    assert_eq!((faults.listed().len(), faults.omitted()), (32, 5000 - 32));
    assert_eq!(faults.listed()[31].pointer, "/31");
}
