//! What cannot be compiled is refused, by its pointer and with a reason. Nothing is dropped without
//! a word.

use poem_contract::generate;
use serde_json::{Value, json};

/// A document that is compiled, for each row to break.
fn document() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "T", "version": "1" },
        "tags": [{ "name": "Things" }],
        "paths": {
            "/things/{id}": {
                "put": {
                    "tags": ["Things"],
                    "operationId": "put_thing",
                    "summary": "Put",
                    "security": [{ "token": [] }],
                    "parameters": [
                        { "name": "id", "in": "path", "required": true, "schema": { "type": "integer", "format": "int32" } },
                        { "name": "q", "in": "query", "schema": { "type": "integer", "format": "int32", "minimum": 1, "default": 2 } }
                    ],
                    "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } } },
                    "responses": {
                        "200": {
                            "description": "Done.",
                            "headers": { "ETag": { "required": true, "schema": { "type": "string" } } },
                            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } }
                        },
                        "304": { "description": "The same." },
                        "400": { "$ref": "#/components/responses/Bad" }
                    }
                }
            }
        },
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": { "Bad": { "description": "Bad." } },
            "schemas": {
                "Thing": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name"],
                    "properties": {
                        "name": { "type": "string", "pattern": "^[a-z]+$" },
                        "size": { "type": "integer", "format": "int64" },
                        "tags": { "type": "array", "items": { "type": "string" } }
                    }
                }
            }
        }
    })
}

const OPERATION: &str = "/paths/~1things~1{id}/put";
const THING: &str = "/components/schemas/Thing";

/// `OPERATION…` and `THING…` in full.
fn expand(pointer: &str) -> String {
    pointer.replace("OPERATION", OPERATION).replace("THING", THING)
}

/// Puts a value at a pointer, or takes away what is there.
fn put(document: &mut Value, pointer: &str, value: Option<Value>) {
    let pointer = expand(pointer);
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}")), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(key, value)),
        (Value::Object(members), None) => drop(members.remove(&key)),
        (Value::Array(items), Some(value)) => items.insert(key.parse().expect("an index"), value),
        (Value::Array(items), None) => drop(items.remove(key.parse().expect("an index"))),
        (other, _) => panic!("{parent} is {other}"),
    }
}

#[test]
fn the_document_itself_is_compiled() {
    generate(&document().to_string()).expect("no refusal");
}

#[test]
fn what_cannot_be_compiled_is_refused_where_it_stands() {
    let mut wrong = Vec::new();
    let rows = include_str!("refusals.txt").lines().filter(|line| !line.starts_with('#'));
    for row in rows {
        let [place, value, pointer, reason] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a row: {row}")
        };
        let value = (value != "-")
            .then(|| serde_json::from_str(value).unwrap_or_else(|error| panic!("{row}: {error}")));
        let mut document = document();
        put(&mut document, place, value);
        let pointer = expand(pointer);
        match generate(&document.to_string()) {
            Ok(_) => wrong.push(format!("{row} is compiled")),
            Err(error)
                if error.refusals.iter().any(|refusal| {
                    refusal.pointer == pointer && refusal.reason.contains(reason)
                }) => {}
            Err(error) => {
                wrong.push(format!("{row} gives, instead of {pointer}: … {reason} …\n{error}"))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_refusals_come_at_once_one_a_line() {
    let mut document = document();
    put(&mut document, "OPERATION/callbacks", Some(json!({ "x": { "/y": {} } })));
    put(&mut document, "THING/properties/name/pattern", Some(json!("(")));
    put(&mut document, "OPERATION/tags", None);
    let error = generate(&document.to_string()).expect_err("three refusals");
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), error.refusals.len());
    for pointer in [
        format!("{THING}/properties/name/pattern: "),
        format!("{OPERATION}/callbacks: "),
        format!("{OPERATION}/tags: "),
    ] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(&pointer)).count(), 1, "{error}");
    }
}

#[test]
fn text_that_is_no_document_is_refused() {
    for (text, reason) in [
        ("", "OpenAPI"),
        ("a: b: c", "neither YAML nor JSON"),
        ("[]", "OpenAPI"),
        ("openapi: 3.0.3\nopenapi: 3.0.3\n", "duplicate"),
        (
            "openapi: 3.0.3\ninfo: !secret {title: T, version: '1'}\npaths: {}\n",
            "tags are not part of OpenAPI",
        ),
        ("openapi: 3.0.3\n? [a]\n: b\n", "is not text"),
    ] {
        let error = generate(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text:?} gives: {error}");
    }
    // `1:` and `"1":` are two keys for YAML and one for OpenAPI.
    let twice = "openapi: 3.0.3\ninfo: {title: T, version: '1'}\npaths: {/x: {get: {responses: {200: {description: a}, '200': {description: b}}}}}\n";
    let error = generate(twice).expect_err("two keys");
    assert!(
        error.refusals.iter().any(|refusal| refusal.pointer == "/paths/~1x/get/responses/200"
            && refusal.reason.contains("twice")),
        "{error}"
    );
}
