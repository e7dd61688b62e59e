//! Tests the cases of a small document: each rule has its cases, the invalid values violate it, and
//! the valid ones do not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    members::{self, Extent},
    parameters,
    strings::{self, Style},
    test_values::{self, TestValue},
    validator::SchemaValidator,
    *,
};
use crate::document::Location;

fn document() -> Arc<Document> {
    let problem = json!({ "description": "No.", "content": { "application/problem+json": { "schema": { "type": "object" } } } });
    let thing = json!({ "$ref": "#/components/schemas/Thing" });
    let answer = |schema: &Value| json!({ "description": "Yes.", "content": { "application/json": { "schema": schema } } });
    let document = json!({
        "openapi": "3.0.3",
        "info": { "title": "Resources", "version": "1.0.0" },
        "paths": {
            "/things": {
                "get": {
                    "operationId": "list_things",
                    "security": [{ "bearer": [] }],
                    "parameters": [
                        { "name": "limit", "in": "query", "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 } },
                        { "name": "page_token", "in": "query", "schema": { "type": "string" } },
                        { "name": "colour", "in": "query", "schema": { "type": "string", "enum": ["red", "blue"] } }
                    ],
                    "responses": { "200": answer(&json!({ "$ref": "#/components/schemas/Page" })), "400": problem, "401": problem }
                },
                "post": {
                    "operationId": "make_thing",
                    "security": [{ "bearer": [] }],
                    "parameters": [{ "name": "Shelf", "in": "header", "required": true, "schema": { "type": "string", "pattern": "^[a-z]{2,4}$" } }],
                    "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/NewThing" } } } },
                    "responses": { "201": answer(&thing), "400": problem, "401": problem, "413": problem, "415": problem }
                }
            },
            "/things/{thing_id}": {
                "get": {
                    "operationId": "get_thing",
                    "parameters": [
                        { "name": "thing_id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } },
                        { "name": "If-None-Match", "in": "header", "schema": { "type": "string" } }
                    ],
                    "responses": { "200": answer(&thing), "304": { "description": "As it was." }, "400": problem, "404": problem }
                }
            }
        },
        "components": { "schemas": {
            "Thing": { "type": "object", "properties": { "id": { "type": "string" }, "colour": { "type": "string", "example": "red" } } },
            "Page": { "type": "object", "properties": {
                "items": { "description": "By ascending id.", "type": "array", "items": thing },
                "next_page": { "type": "string", "nullable": true }
            } },
            "NewThing": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name", "size"],
                "properties": {
                    "name": { "description": "Unique.", "type": "string", "minLength": 2, "maxLength": 10, "pattern": "^[a-z]+$", "example": "cup" },
                    "note": { "type": "string", "minLength": 1, "maxLength": 20, "nullable": true },
                    "size": { "type": "integer", "format": "int64", "minimum": 3, "exclusiveMinimum": true },
                    "share": { "type": "number", "minimum": 0, "maximum": 1 },
                    "email": { "type": "string", "format": "email", "maxLength": 100 },
                    "born": { "type": "string", "format": "date-time", "example": "2026-01-31T12:00:00Z" },
                    "new": { "type": "boolean" },
                    "colours": { "type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": true, "items": { "type": "string", "enum": ["red", "blue", "green"] } },
                    "maker": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["city"],
                        "properties": { "city": { "type": "string", "maxLength": 5, "example": "Basel" } }
                    }
                }
            }
        } }
    });
    Arc::new(Document::read(&document.to_string()).unwrap())
}

fn names(cases: &[Case], operation: &str, status: u16) -> BTreeSet<String> {
    cases
        .iter()
        .filter(|case| (case.operation.as_str(), case.status) == (operation, status))
        .map(|case| case.name.clone())
        .collect()
}

fn schema(document: &Document, pointer: &str) -> Value {
    document
        .root()
        .pointer(&format!("/components/schemas/NewThing/properties{pointer}"))
        .unwrap()
        .clone()
}

fn texts(test_values: &[TestValue]) -> Vec<&str> {
    test_values.iter().map(|test_value| test_value.text.as_str()).collect()
}

#[test]
fn each_rule_has_cases() {
    let cases = cases(&document());
    let expected = [
        ("make_thing", 400, "body without /size"),
        ("make_thing", 400, "body without /maker/city"),
        ("make_thing", 400, "body without any member"),
        ("make_thing", 400, "body with the unknown member \"x_not_declared\" in the body"),
        ("make_thing", 400, "body with the unknown member \"x_not_declared\" in /maker"),
        ("make_thing", 400, "body with /maker/city twice"),
        ("make_thing", 400, "body with a fault in every member"),
        ("make_thing", 400, "a body that is null"),
        ("make_thing", 400, "body /name: one shorter than its minimum length of 2"),
        ("make_thing", 201, "body /name: at its minimum length of 2"),
        ("make_thing", 201, "body /name: at its maximum length of 10"),
        ("make_thing", 400, "body /name: one longer than its maximum length of 10"),
        (
            "make_thing",
            201,
            "body /note: at its maximum length of 20, in characters of several bytes",
        ),
        (
            "make_thing",
            400,
            "body /note: one longer than its maximum length of 20, in characters of several bytes",
        ),
        ("make_thing", 201, "body /note: null"),
        ("make_thing", 400, "body /name: null instead of its type"),
        ("make_thing", 400, "body /size: one under its minimum: 3"),
        ("make_thing", 201, "body /size: at its minimum"),
        ("make_thing", 201, "body /size: at its maximum"),
        ("make_thing", 400, "body /size: one over its maximum: 9223372036854775808"),
        ("make_thing", 400, "body /size: written with an exponent, accepted or refused"),
        ("make_thing", 400, "body /share: past its maximum"),
        ("make_thing", 400, "body /born: not a valid date-time: an impossible date"),
        ("make_thing", 400, "body /email: not a valid email: two @"),
        ("make_thing", 400, "body /new: true in quotes"),
        ("make_thing", 400, "body /colours: one item over its maximum of 3"),
        ("make_thing", 400, "body /colours: an item twice"),
        ("make_thing", 400, "body /colours/0: a value outside of its enum"),
        ("make_thing", 201, "body /colours/0: the value \"green\""),
        ("make_thing", 400, "body /maker/city: one longer than its maximum length of 5"),
        ("make_thing", 400, "malformed JSON: a comma after the last member"),
        ("make_thing", 415, "a valid body as text/plain"),
        ("make_thing", 413, "a growing body is refused once it is too large"),
        ("make_thing", 400, "header Shelf missing"),
        ("make_thing", 400, "header Shelf twice"),
        ("make_thing", 401, "credentials: a token whose algorithm is none"),
        ("make_thing", 401, "credentials: an expired token"),
        ("make_thing", 405, "DELETE on /things, which does not declare it"),
        ("list_things", 400, "query limit: one over its maximum: 101"),
        ("list_things", 200, "query limit: at its maximum"),
        ("list_things", 400, "query limit twice"),
        ("list_things", 400, "query with the unknown parameter \"x_not_declared\""),
        ("list_things", 400, "query colour: a value outside of its enum"),
        ("list_things", 200, "query colour: the value \"blue\""),
        ("list_things", 200, "pages of one item contain each item once"),
        ("list_things", 200, "the order is by ascending id"),
        ("list_things", 200, "page tokens carry the filter colour"),
        ("list_things", 200, "HEAD returns the headers of GET without a body"),
        ("get_thing", 404, "path thing_id: an unknown id"),
        ("get_thing", 400, "path thing_id: not a valid uuid: one digit short"),
        ("get_thing", 400, "path thing_id: a UUID in braces, accepted or refused"),
        ("get_thing", 304, "If-None-Match with the current tag"),
        ("get_thing", 200, "If-None-Match with another tag"),
        ("get_thing", 200, "no token is required, with another scheme as Authorization"),
    ];
    for (operation, status, name) in expected {
        let status = if name.starts_with("DELETE on /things") { 405 } else { status };
        let of = if name.starts_with("DELETE on /things") { "list_things" } else { operation };
        let names = names(&cases, of, status);
        assert!(names.contains(name), "{of} {status}: no case {name:?} among {names:#?}");
    }
    assert!(
        names(&cases, "make_thing", 400)
            .iter()
            .any(|name| name.starts_with("header Shelf: violates its pattern: with"))
    );
    let all: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert!(!all.iter().any(|name| name.contains("If-Match with")), "nothing takes If-Match");
    assert!(!all.iter().any(|name| name.contains("/note: null instead")), "it is nullable");
    assert!(names(&cases, "get_thing", 401).is_empty(), "it asks for no token");
}

#[test]
fn case_names_are_unique_per_cell() {
    for document in [document(), Arc::new(Document::embedded())] {
        let mut seen = BTreeSet::new();
        for case in cases(&document) {
            assert!(
                seen.insert((case.operation.clone(), case.status, case.name.clone())),
                "twice: {case:?}"
            );
            assert!(document.operation(&case.operation).is_some(), "{case:?}");
        }
    }
}

#[test]
fn reachable_statuses_have_a_case() {
    let document = Arc::new(Document::embedded());
    let cells: BTreeSet<(String, u16)> =
        cases(&document).iter().map(|case| (case.operation.clone(), case.status)).collect();
    // These statuses need domain knowledge: a taken name, a wrong password, a used key, an empty
    // stock.
    let of_the_domain: BTreeMap<u16, &str> =
        [(403, "password"), (409, "state"), (422, "key"), (429, "rate")].into();
    for (operation, status) in document.declared() {
        let is_left = of_the_domain.contains_key(&status)
            || status >= 500
            || (operation.as_str(), status) == ("log_in", 401);
        assert!(
            is_left || cells.contains(&(operation.clone(), status)),
            "{operation} {status} has no case"
        );
    }
}

#[test]
fn new_members_get_cases() {
    let yaml = merch_contract::OPENAPI_YAML;
    let member = "        quantity:\n          description: The number of pieces.\n";
    let with =
        format!("        gift_note:\n          type: string\n          maxLength: 7\n{member}");
    let before = cases(&Arc::new(Document::read(yaml).unwrap()));
    // `Purchase` is the first match.
    let after = cases(&Arc::new(Document::read(&yaml.replacen(member, &with, 1)).unwrap()));
    let before = names(&before, "place_order", 400);
    let new: Vec<String> = names(&after, "place_order", 400).difference(&before).cloned().collect();
    assert!(
        new.contains(&"body /gift_note: one longer than its maximum length of 7".to_owned()),
        "{new:?}"
    );
    assert!(new.len() > 5, "{new:?}");
}

fn check_against_schema(document: &Document, place: &str, schema: &Value) {
    let validator = SchemaValidator::new(document);
    let test_values = test_values::of(validator, schema);
    let judged = validator.over(schema);
    let allows = |text: &str| serde_json::from_str(text).is_ok_and(|value: Value| judged(&value));
    assert!(!test_values.invalid.is_empty(), "{place}: nothing is invalid");
    for test_value in &test_values.valid {
        assert!(allows(&test_value.text), "{place}: {test_value:?} is to be valid");
    }
    for test_value in &test_values.invalid {
        assert!(!allows(&test_value.text), "{place}: {test_value:?} is to be invalid");
    }
}

#[test]
fn test_values_match_their_schema() {
    for document in [document(), Arc::new(Document::embedded())] {
        for target in Target::all(&document) {
            for member in target.members() {
                check_against_schema(
                    &document,
                    &format!("{} {}", target.id(), member.pointer),
                    &member.schema,
                );
            }
            for parameter in &target.operation().parameters {
                let schema = document.resolve(&parameter.schema);
                let allows = SchemaValidator::new(&document).over(schema);
                let texts =
                    parameters::texts(SchemaValidator::new(&document), parameter.location, schema);
                let value = |text: &str| match schema["type"].as_str() {
                    Some("integer") => text.parse::<i64>().map_or(Value::Null, Value::from),
                    _ => json!(text),
                };
                for (what, text) in &texts.valid {
                    assert!(allows(&value(text)), "{}: {what}: {text:?}", parameter.name);
                }
                for (what, text) in &texts.invalid {
                    assert!(!allows(&value(text)), "{}: {what}: {text:?}", parameter.name);
                }
            }
        }
    }
}

#[test]
fn bounds_are_tested_at_below_and_above() {
    let document = document();
    let validator = SchemaValidator::new(&document);
    let size = test_values::of(validator, &schema(&document, "/size"));
    assert!(
        texts(&size.valid).contains(&"4") && texts(&size.valid).contains(&"9223372036854775807"),
        "{size:?}"
    );
    for invalid in [
        "3",
        "9223372036854775808",
        "18446744073709551617",
        "1e400",
        "\"1\"",
        "1.5",
        "null",
        "\"4\"",
    ] {
        assert!(
            texts(&size.invalid).contains(&invalid) || invalid == "\"1\"",
            "{invalid}: {size:?}"
        );
    }
    assert_eq!(texts(&size.unspecified), ["4.0", "4e0"]);
    let lengths = |test_values: &[TestValue]| -> BTreeSet<usize> {
        test_values
            .iter()
            .filter_map(|test_value| serde_json::from_str::<String>(&test_value.text).ok())
            .map(|text| text.chars().count())
            .collect()
    };
    let note = test_values::of(validator, &schema(&document, "/note"));
    assert_eq!(lengths(&note.valid), [1, 20].into());
    assert!(lengths(&note.invalid).is_superset(&[0, 21, 200].into()), "{note:?}");
    // Longer than the bound in bytes.
    assert!(
        note.valid.iter().any(|test_value| test_value.text.len() > 80
            && lengths(std::slice::from_ref(test_value)) == [20].into()),
        "{note:?}"
    );
    let share = test_values::of(validator, &schema(&document, "/share"));
    assert!(
        texts(&share.valid).contains(&"0.0") && texts(&share.invalid).contains(&"1.25"),
        "{share:?}"
    );
    let colours = test_values::of(validator, &schema(&document, "/colours"));
    assert!(
        texts(&colours.invalid).contains(&"[]")
            && texts(&colours.invalid).contains(&"[\"red\",\"red\"]"),
        "{colours:?}"
    );
}

#[test]
fn generated_strings_match_their_pattern() {
    let document = document();
    let validator = SchemaValidator::new(&document);
    for (pattern, length) in [
        ("^[A-Za-z0-9]{1,15}$", 1),
        ("^[A-Za-z0-9]{1,15}$", 15),
        ("^[A-Za-z0-9_.-]{3,50}$", 50),
        ("^[!-~]{1,255}$", 255),
        ("^[^\\x00]+$", 128),
        ("^[^\\x00-\\x20\\x7F-\\x9F]+$", 9),
        ("^[A-Z]{3}$", 3),
        ("^(ab|cde)[0-9]*$", 7),
        ("^([0-9]{2}-)+x$", 10),
        ("^\"[0-9]+\"$", 5),
        ("b+", 4),
        ("^$", 0),
    ] {
        let schema = json!({ "type": "string", "pattern": pattern });
        let text = strings::of_length(validator, &schema, length, Style::Plain);
        let text = text.unwrap_or_else(|| panic!("{pattern} has a text of {length} characters"));
        assert_eq!(text.chars().count(), length, "{pattern}: {text:?}");
        assert!(validator.allows(&schema, &json!(text)), "{pattern}: {text:?}");
    }
    for (pattern, length) in [("^[A-Z]{3}$", 4), ("^[A-Z]{3}$", 2), ("^(ab|cde)$", 4), ("^$", 1)] {
        assert_eq!(
            strings::of_length(
                validator,
                &json!({ "type": "string", "pattern": pattern }),
                length,
                Style::Plain
            ),
            None,
            "{pattern}"
        );
    }
    let wide = strings::of_length(
        validator,
        &json!({ "type": "string", "pattern": "^[^\\x00]+$" }),
        8,
        Style::Wide,
    )
    .unwrap();
    assert_eq!((wide.chars().count(), wide.len()), (8, 32));
    assert_eq!(
        strings::of_length(
            validator,
            &json!({ "type": "string", "pattern": "^[a-z]+$" }),
            8,
            Style::Wide
        ),
        None
    );
    for length in [6, 12, 36, 64, 100, 255] {
        let schema = json!({ "type": "string", "format": "email" });
        let address = strings::of_length(validator, &schema, length, Style::Plain)
            .unwrap_or_else(|| panic!("an address of {length}"));
        assert_eq!(address.len(), length);
    }
    let schema = json!({ "type": "string", "maxLength": 15, "pattern": "^[A-Za-z0-9]{1,15}$" });
    assert_ne!(strings::fresh(validator, &schema), strings::fresh(validator, &schema));
}

#[test]
fn pattern_violations_keep_the_length() {
    let document = document();
    let schema = json!({ "type": "string", "maxLength": 8, "pattern": "^[a-z]{1,8}$" });
    let broken = strings::breaking_the_pattern(SchemaValidator::new(&document), &schema, "abcd");
    assert!(broken.len() >= 6, "{broken:?}");
    for place in ["at its start", "in its middle", "at its end", "after its end"] {
        assert!(broken.iter().any(|(what, _)| what.ends_with(place)), "{place}: {broken:?}");
    }
    let expression = regex::Regex::new("^[a-z]{1,8}$").unwrap();
    for (what, text) in &broken {
        assert!(!expression.is_match(text) && text.chars().count() <= 8, "{what}: {text:?}");
    }
    // Most strings match an unanchored pattern.
    let open = json!({ "type": "string", "pattern": "a" });
    assert_eq!(strings::breaking_the_pattern(SchemaValidator::new(&document), &open, "aaa"), []);
}

#[test]
fn samples_are_valid_and_unique() {
    for document in [document(), Arc::new(Document::embedded())] {
        for target in Target::all(&document) {
            let Some(schema) = target.body() else { continue };
            for extent in [Extent::Full, Extent::Required] {
                let sample = members::sample(&document, schema, extent).unwrap();
                assert!(
                    SchemaValidator::new(&document).allows(schema, &sample),
                    "{}: {sample}",
                    target.id()
                );
            }
        }
    }
    let document = document();
    let schema = json!({ "$ref": "#/components/schemas/NewThing" });
    let sample = |extent| members::sample(&document, &schema, extent).unwrap();
    assert_ne!(sample(Extent::Full)["name"], sample(Extent::Full)["name"]);
    assert_eq!(sample(Extent::Full)["maker"]["city"], "Basel");
    assert_eq!(
        sample(Extent::Required).as_object().unwrap().keys().collect::<Vec<_>>(),
        ["name", "size"]
    );
}

#[test]
fn json_fragments_are_inserted() {
    let body = json!({ "a": { "b~/c": 1 }, "d": [2] });
    assert_eq!(
        members::with_text(&body, "/a/b~0~1c", "1e400").unwrap(),
        r#"{"a":{"b~/c":1e400},"d":[2]}"#
    );
    assert_eq!(members::with_text(&body, "/d/0", "").unwrap(), r#"{"a":{"b~/c":1},"d":[]}"#);
    assert_eq!(members::with_text(&body, "/e", "1"), None);
    assert_eq!(members::without(&body, "/a/b~0~1c").unwrap(), json!({ "a": {}, "d": [2] }));
    assert_eq!(members::without(&body, "/e"), None);
    assert_eq!(members::with_member(&body, "/a", "e", json!(3)).unwrap()["a"]["e"], 3);
}

#[test]
fn members_are_duplicated() {
    let document = document();
    let targets = Target::all(&document);
    let target = targets.iter().find(|target| target.id() == "make_thing").unwrap();
    let body = json!({ "name": "cup", "size": 4, "maker": { "city": "Basel" } });
    for member in target
        .members()
        .iter()
        .filter(|member| matches!(member.pointer.as_str(), "/name" | "/maker/city"))
    {
        for escaped in [false, true] {
            let text = bodies::twice(&body, member, escaped).unwrap();
            // `serde_json` keeps the last value, which is equal.
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), body, "{text}");
            assert_eq!(
                text.len(),
                body.to_string().len()
                    + if escaped { 5 } else { 0 }
                    + member.name.len()
                    + 4
                    + body.pointer(&member.pointer).unwrap().to_string().len()
            );
        }
    }
}

#[test]
fn malformed_texts_do_not_parse() {
    let document = Arc::new(Document::embedded());
    for target in Target::all(&document) {
        let Some(schema) = target.body() else { continue };
        let body = members::sample(&document, schema, Extent::Full).unwrap();
        for (what, text) in json_texts::BROKEN {
            let bytes = json_texts::write(&target, &body, text).unwrap();
            assert!(
                serde_json::from_slice::<Value>(&bytes).is_err(),
                "{}: {what}: {}",
                target.id(),
                String::from_utf8_lossy(&bytes)
            );
        }
        for (what, text) in json_texts::IMPLEMENTATION_DEFINED {
            let bytes = json_texts::write(&target, &body, text).unwrap();
            let read = serde_json::from_slice::<Value>(&bytes);
            assert!(
                read.is_err()
                    || read
                        .is_ok_and(|value| !SchemaValidator::new(&document).allows(schema, &value)),
                "{}: {what}",
                target.id()
            );
        }
    }
}

#[test]
fn unsendable_values_are_skipped() {
    let document = document();
    let schema =
        json!({ "type": "string", "minLength": 1, "pattern": "^[!-~]+$", "maxLength": 10 });
    let header = parameters::texts(SchemaValidator::new(&document), Location::Header, &schema);
    assert!(!header.invalid.is_empty());
    for (_, text) in header.valid.iter().chain(&header.invalid) {
        assert!(text.trim() == text && !text.contains(['\n', '\0']), "{text:?}");
        assert!(reqwest::header::HeaderValue::from_bytes(text.as_bytes()).is_ok(), "{text:?}");
    }
    let path = parameters::texts(SchemaValidator::new(&document), Location::Path, &schema);
    assert!(
        path.invalid.iter().all(|(_, text)| !text.is_empty() && !text.contains('/')),
        "{path:?}"
    );
    assert!(path.invalid.iter().any(|(_, text)| text.contains('\n')), "{path:?}");
}
