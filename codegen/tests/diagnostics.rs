//! Tests that each unsupported construct is reported at its pointer.

use poem_contract::generate;
use serde_json::{Value, json};

/// A supported document, which each row of `diagnostics.txt` changes.
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

fn expand(pointer: &str) -> String {
    pointer.replace("OPERATION", OPERATION).replace("THING", THING)
}

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
fn base_document_compiles() {
    generate(&document().to_string()).expect("no diagnostic");
}

#[test]
fn unsupported_constructs_are_reported_at_their_pointer() {
    let mut failures = Vec::new();
    let rows = include_str!("diagnostics.txt").lines().filter(|line| !line.starts_with('#'));
    for row in rows {
        let [target, value, pointer, message] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("expected four columns: {row}")
        };
        let value = (value != "-")
            .then(|| serde_json::from_str(value).unwrap_or_else(|error| panic!("{row}: {error}")));
        let mut document = document();
        put(&mut document, target, value);
        let pointer = expand(pointer);
        match generate(&document.to_string()) {
            Ok(_) => failures.push(format!("{row}: no diagnostic")),
            Err(error)
                if error.diagnostics.iter().any(|diagnostic| {
                    diagnostic.pointer == pointer && diagnostic.message.contains(message)
                }) => {}
            Err(error) => {
                failures.push(format!("{row}: expected {pointer}: … {message} …, got\n{error}"))
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn all_diagnostics_are_reported_one_per_line() {
    let mut document = document();
    put(&mut document, "OPERATION/callbacks", Some(json!({ "x": { "/y": {} } })));
    put(&mut document, "THING/properties/name/pattern", Some(json!("(")));
    put(&mut document, "OPERATION/tags", None);
    let error = generate(&document.to_string()).expect_err("three diagnostics");
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), error.diagnostics.len());
    for pointer in [
        format!("{THING}/properties/name/pattern: "),
        format!("{OPERATION}/callbacks: "),
        format!("{OPERATION}/tags: "),
    ] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(&pointer)).count(), 1, "{error}");
    }
}

#[test]
fn invalid_documents_are_reported() {
    for (text, reason) in [
        ("", "OpenAPI"),
        ("a: b: c", "neither YAML nor JSON"),
        ("[]", "OpenAPI"),
        ("openapi: 3.0.3\nopenapi: 3.0.3\n", "duplicate"),
        (
            "openapi: 3.0.3\ninfo: !secret {title: T, version: '1'}\npaths: {}\n",
            "YAML tags are not supported",
        ),
        ("openapi: 3.0.3\n? [a]\n: b\n", "is not a string"),
    ] {
        let error = generate(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text:?} gives: {error}");
    }
    // YAML distinguishes the keys `200` and `"200"`, OpenAPI does not.
    let repeated = "openapi: 3.0.3\ninfo: {title: T, version: '1'}\n\
                    paths: \
                    {/x: {get: {responses: {200: {description: a}, '200': {description: b}}}}}\n";
    let error = generate(repeated).expect_err("two keys");
    assert!(
        error
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.pointer == "/paths/~1x/get/responses/200"
                && diagnostic.message.contains("repeated")),
        "{error}"
    );
}
