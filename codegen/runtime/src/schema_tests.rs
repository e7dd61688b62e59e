//! Tests the translation of OpenAPI 3.0 schemas and the texts of faults.

use serde_json::json;

use super::*;

static SCHEMAS: Schemas = Schemas::new(
    r##"{
        "Name": { "type": "string", "maxLength": 3 },
        "Pair": {
            "type": "object",
            "additionalProperties": false,
            "required": ["a"],
            "properties": { "a": { "$ref": "#/components/schemas/Name" }, "b": { "type": "array", "items": { "$ref": "#/components/schemas/Name" } } }
        }
    }"##,
);

fn faults(schema: &Value, value: &Value) -> Vec<(String, String)> {
    let mut faults = Faults::new();
    crate::json::validate(value.to_string().as_bytes(), &SCHEMAS.compile(schema), &mut faults);
    assert_eq!(faults.omitted(), 0);
    faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
}

fn accepts(schema: &Value, value: &Value) -> bool {
    faults(schema, value).is_empty()
}

#[test]
fn integers_reject_fractions_and_overflow() {
    let schema = json!({ "type": "integer", "format": "int32" });
    assert!(accepts(&schema, &json!(1)));
    for value in [
        json!(1.0),
        json!(1.5),
        json!("1"),
        json!(null),
        json!(true),
        json!(2_147_483_648_i64),
        json!(-2_147_483_649_i64),
    ] {
        assert!(!accepts(&schema, &value), "{value}");
    }
    let schema = json!({ "type": "integer", "format": "int64" });
    assert!(accepts(&schema, &json!(i64::MAX)) && accepts(&schema, &json!(i64::MIN)));
    assert!(
        !accepts(&schema, &json!(9_223_372_036_854_775_808_u64))
            && !accepts(&schema, &json!(1e300))
    );
}

#[test]
fn tighter_of_format_and_bound_applies() {
    let schema = json!({ "type": "integer", "format": "int32", "minimum": 0, "exclusiveMinimum": true, "maximum": 9_000_000_000_i64 });
    assert!(accepts(&schema, &json!(1)) && accepts(&schema, &json!(i32::MAX)));
    assert!(!accepts(&schema, &json!(0)) && !accepts(&schema, &json!(2_147_483_648_i64)));
    let schema = json!({ "type": "integer", "format": "int32", "minimum": -9_000_000_000_i64, "exclusiveMinimum": true });
    assert!(accepts(&schema, &json!(i32::MIN)));
}

#[test]
fn null_requires_nullable() {
    assert!(!accepts(&json!({ "type": "string" }), &json!(null)));
    assert!(accepts(&json!({ "type": "string", "nullable": true }), &json!(null)));
    assert!(!accepts(&json!({ "type": "string", "nullable": true }), &json!(1)));
    assert!(!accepts(&json!({ "type": "string", "nullable": false }), &json!(null)));
}

#[test]
fn formats_are_asserted() {
    for (format, good, bad) in [
        (
            "uuid",
            vec!["01234567-89ab-7cde-8f01-23456789abcd", "01234567-89AB-7CDE-8F01-23456789ABCD"],
            vec![
                "",
                "x",
                "0123456789ab7cde8f0123456789abcd",
                "{01234567-89ab-7cde-8f01-23456789abcd}",
                "urn:uuid:01234567-89ab-7cde-8f01-23456789abcd",
                "01234567-89ab-7cde-8f01-23456789abcg",
            ],
        ),
        (
            "date-time",
            vec!["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789+05:30"],
            vec![
                "",
                "2026-01-31",
                "2026-02-30T12:00:00Z",
                "2026-01-31T25:00:00Z",
                "2026-01-31T12:00:00",
                "yesterday",
            ],
        ),
        (
            "email",
            vec!["a@b.cd", "first.last+tag@mail.example.com"],
            vec!["", "a", "a@", "@b.cd", "a b@c.de", "A <a@b.cd>", "a@[127.0.0.1]", "a@b.cd\n"],
        ),
        ("uri", vec!["https://a.example/b?c#d", "urn:x:y"], vec!["", "/relative", "a b"]),
        ("password", vec!["", "anything"], vec![]),
    ] {
        let schema = json!({ "type": "string", "format": format });
        for value in good {
            assert!(accepts(&schema, &json!(value)), "{format}: {value:?}");
        }
        for value in bad {
            assert!(!accepts(&schema, &json!(value)), "{format}: {value:?}");
        }
    }
}

#[test]
fn lengths_count_characters_and_anchors_match_the_whole_text() {
    let schema = json!({ "type": "string", "maxLength": 3 });
    assert!(
        accepts(&schema, &json!("äöü"))
            && accepts(&schema, &json!("😀😀😀"))
            && !accepts(&schema, &json!("😀😀😀😀"))
    );
    let schema = json!({ "type": "string", "pattern": "^[0-9]{1,3}$" });
    assert!(accepts(&schema, &json!("123")));
    for value in ["", "1234", "12\n", "\n12", "١٢"] {
        assert!(!accepts(&schema, &json!(value)), "{value:?}");
    }
}

#[test]
fn faults_behind_references_have_pointers() {
    let schema = json!({ "$ref": "#/components/schemas/Pair" });
    assert!(accepts(&schema, &json!({ "a": "x", "b": ["y"] })));
    let mut found = faults(&schema, &json!({ "b": ["long", 1], "c/d": 1, "e~f": 2 }));
    found.sort();
    let expected = [
        ("/a", "missing member"),
        ("/b/0", "expected at most 3 characters"),
        ("/b/1", "expected a string"),
        ("/c~1d", "unknown member"),
        ("/e~0f", "unknown member"),
    ];
    assert_eq!(found, expected.map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned())));
}

#[test]
fn unique_items_compare_json_values() {
    let numbers = json!({ "type": "array", "uniqueItems": true, "items": { "type": "integer", "format": "int64" } });
    assert!(
        accepts(&numbers, &json!([]))
            && accepts(&numbers, &json!([1, 2, -1, 0, i64::MAX, i64::MIN]))
    );
    assert_eq!(
        faults(&numbers, &json!([1, 2, 1])),
        [(String::new(), "expected unique items".to_owned())]
    );
    let texts = json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" } });
    assert!(accepts(&texts, &json!(["1", "", "a"])) && !accepts(&texts, &json!(["a", "b", "a"])));
    let pair = json!({ "type": "array", "uniqueItems": true, "items": { "$ref": "#/components/schemas/Pair" } });
    assert!(accepts(
        &pair,
        &json!([{ "a": "x", "b": ["y"] }, { "a": "x", "b": ["z"] }, { "a": "x" }])
    ));
    assert!(accepts(&pair, &json!([{ "a": "x", "b": ["y", "z"] }, { "a": "x", "b": ["z", "y"] }])));
    assert!(!accepts(&pair, &json!([{ "a": "x", "b": ["y"] }, { "b": ["y"], "a": "x" }])));
    let nested = json!({ "type": "array", "uniqueItems": true, "items": numbers });
    assert!(
        accepts(&nested, &json!([[1, 2], [2, 1], []]))
            && !accepts(&nested, &json!([[1, 2], [3], [1, 2]]))
    );
}

#[test]
fn item_and_member_counts_are_limited() {
    let schema = json!({ "type": "array", "minItems": 1, "maxItems": 2, "items": { "$ref": "#/components/schemas/Name" } });
    assert!(accepts(&schema, &json!(["a"])) && accepts(&schema, &json!(["a", "b"])));
    assert_eq!(
        faults(&schema, &json!([])),
        [(String::new(), "expected at least 1 item".to_owned())]
    );
    assert_eq!(
        faults(&schema, &json!(["a", "b", "c"])),
        [(String::new(), "expected at most 2 items".to_owned())]
    );
    let schema = json!({
        "type": "object", "additionalProperties": false, "minProperties": 2, "maxProperties": 2,
        "properties": { "a": { "type": "boolean" }, "b": { "type": "boolean" }, "c": { "type": "boolean" } }
    });
    assert!(accepts(&schema, &json!({ "a": true, "c": true })));
    assert_eq!(
        faults(&schema, &json!({ "a": true })),
        [(String::new(), "expected at least 2 members".to_owned())]
    );
    let found = faults(&schema, &json!({ "a": true, "b": true, "c": true }));
    assert_eq!(found, [(String::new(), "expected at most 2 members".to_owned())]);
}

#[test]
#[should_panic(expected = "an open object")]
fn open_objects_do_not_compile() {
    SCHEMAS.compile(&json!({ "type": "object", "properties": { "a": { "type": "string" } } }));
}

#[test]
#[should_panic(expected = "cannot be compiled")]
fn unknown_formats_do_not_compile() {
    SCHEMAS.compile(&json!({ "type": "string", "format": "colour" }));
}

#[test]
fn faults_never_contain_the_value() {
    let secret = "hunter2";
    let schemas = [
        json!({ "type": "integer" }),
        json!({ "type": "string", "maxLength": 1 }),
        json!({ "type": "string", "minLength": 50 }),
        json!({ "type": "string", "pattern": "^x$" }),
        json!({ "type": "string", "format": "uuid" }),
        json!({ "type": "string", "enum": ["x"] }),
        json!({ "$ref": "#/components/schemas/Pair" }),
    ];
    for schema in schemas {
        let found = faults(&schema, &json!(secret));
        assert!(!found.is_empty() && !format!("{found:?}").contains(secret), "{found:?}");
    }
}
