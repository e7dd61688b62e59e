//! Tests the validation of bodies.

use serde_json::json;

use super::*;
use crate::Schemas;

static SCHEMAS: Schemas = Schemas::new(
    r##"{
        "Node": {
            "type": "object",
            "additionalProperties": false,
            "required": ["a"],
            "properties": {
                "a": { "type": "integer", "format": "int32" },
                "b": { "$ref": "#/components/schemas/Leaf" },
                "c~/": { "type": "array", "items": { "$ref": "#/components/schemas/Leaf" } }
            }
        },
        "Leaf": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "d": { "type": "string", "nullable": true } }
        }
    }"##,
);

fn validated(text: &[u8]) -> Faults {
    let mut faults = Faults::new();
    validate(text, &SCHEMAS.compile(&json!({ "$ref": "#/components/schemas/Node" })), &mut faults);
    faults
}

fn faults_of(text: &str) -> Vec<(String, String)> {
    let faults = validated(text.as_bytes());
    assert_eq!(faults.omitted(), 0);
    faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
}

fn pointers(text: &str) -> Vec<String> {
    faults_of(text).into_iter().map(|(pointer, _)| pointer).collect()
}

#[test]
fn valid_bodies_have_no_faults() {
    for text in [
        r#"{"a":1}"#,
        r#"  {"a" : -2147483648, "b": {} , "c~/":[] } "#,
        r#"{"a":2147483647,"b":{"d":null},"c~/":[{"d":"\u00e9\n"},{}]}"#,
        r#"{"c~/":[{"d":""}],"\u0061":0}"#,
    ] {
        assert_eq!(faults_of(text), [], "{text}");
    }
}

#[test]
fn nesting_is_limited_to_the_maximum_depth() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(faults_of(&nested(MAX_DEPTH)), [(String::new(), "expected an object".to_owned())]);
    let within = |depth: usize| format!(r#"{{"a":1,"x":{}}}"#, nested(depth));
    assert_eq!(pointers(&within(MAX_DEPTH - 1)), ["/x"]);
    let objects = |depth: usize| r#"{"~":"#.repeat(depth) + "1" + &"}".repeat(depth);
    for depth in [MAX_DEPTH + 1, 1000, 100_000] {
        assert_eq!(pointers(&nested(depth)), ["/0".repeat(MAX_DEPTH)]);
        assert_eq!(pointers(&within(depth)), ["/x".to_owned() + &"/0".repeat(MAX_DEPTH - 1)]);
        assert_eq!(pointers(&objects(depth)), ["/~0".repeat(MAX_DEPTH)]);
    }
}

#[test]
fn validation_continues_after_a_fault_but_not_inside_it() {
    let repeated = r#"{"a":1,"a":{"b":1,"b":2},"c~/":[{"d":"","d":1}],"b":{"d":""}}"#;
    assert_eq!(pointers(repeated), ["/a", "/c~0~1/0/d"]);
    let unknown = r#"{"x":{"y":1,"y":1},"b":{"x~":[1],"d":2},"c~/":[1,{"d":[{}]}]}"#;
    let detail = |text: &str| text.to_owned();
    assert_eq!(
        faults_of(unknown),
        [
            ("/x", "unknown member"),
            ("/b/x~0", "unknown member"),
            ("/b/d", "expected null or a string"),
            ("/c~0~1/0", "expected an object"),
            ("/c~0~1/1/d", "expected null or a string"),
            ("/a", "missing member"),
        ]
        .map(|(pointer, text)| (pointer.to_owned(), detail(text)))
    );
}

#[test]
fn unknown_members_must_be_valid_json() {
    for text in [
        "{\"x\":\"\\ud800\"}",
        "{\"x\":01}",
        "{\"x\":1e999}",
        "{\"x\":[1,]}",
        "{\"x\":\"\n\"}",
        "{\"x\":{1:2}}",
    ] {
        let found = faults_of(text);
        assert_eq!((found.len(), found[0].0.as_str()), (1, ""), "{text}: {found:?}");
        assert!(found[0].1.contains("malformed"), "{found:?}");
    }
}

#[test]
fn syntax_faults_give_a_position_and_no_text() {
    let found = faults_of("{\"secret\":\n hunter2}");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].1.contains("line 2, column 2") && !found[0].1.contains("hunter2"),
        "{found:?}"
    );
}

#[test]
fn thousands_of_faults_are_only_counted() {
    let long = "~".repeat(30_000);
    let members = |name: &str| format!(r#""{name}":1,"#);
    for (text, all) in [
        (format!(r#"{{{}"a":1}}"#, members("x").repeat(5000)), 5000),
        (format!(r#"{{{}"a":1}}"#, members(&long).repeat(100)), 100),
        (format!(r#"{{"a":1,{}"b":{{}}}}"#, members("a").repeat(5000)), 5000),
        (format!(r#"{{"a":1,"c~/":[{}{{}}]}}"#, "1,".repeat(5000)), 5000),
        (format!(r#"{{"a":1,"c~/":[{{{}"d":null}}]}}"#, members("x").repeat(5000)), 5000),
    ] {
        let faults = validated(text.as_bytes());
        assert_eq!(
            (faults.listed().len(), faults.omitted()),
            (Faults::MAX_LISTED, all - Faults::MAX_LISTED)
        );
        assert!(
            faults.listed().iter().all(|fault| fault.pointer.len() <= Fault::MAX_POINTER_BYTES)
        );
    }
}
