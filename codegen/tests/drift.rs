//! Tests that the emitted document equals its source, and that `compare` detects every difference.

mod library;

use poem_contract::drift::compare;
use serde_json::{Value, json};

use library::{Library, document, server};

fn emitted() -> Value {
    serde_json::from_str(&server::spec_json::<Library>()).expect("poem-openapi emits JSON")
}

#[test]
fn emitted_document_equals_its_source() {
    let differences: Vec<String> =
        compare(&document(), &emitted()).iter().map(ToString::to_string).collect();
    assert_eq!(differences, Vec::<String>::new());
}

/// A pointer and its new value; `None` removes the member.
type Change = (&'static str, Option<Value>);

fn changed(mut document: Value, (pointer, value): &Change) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}")), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(key, value.clone())),
        (Value::Object(members), None) => {
            drop(members.remove(&key).unwrap_or_else(|| panic!("nothing at {pointer}")))
        }
        (Value::Array(items), Some(value)) => {
            items.insert(key.parse().expect("an index"), value.clone())
        }
        (Value::Array(items), None) => drop(items.remove(key.parse().expect("an index"))),
        (other, _) => panic!("{parent} is {other}"),
    }
    document
}

/// Changes of the contract's meaning, each with a part of the pointer of its difference.
fn contract_changes() -> Vec<(Change, &'static str)> {
    vec![
        (("/openapi", Some(json!("3.1.0"))), "/openapi"),
        (("/info/title", Some(json!("x"))), "/info/title"),
        (("/info/version", Some(json!("x"))), "/info/version"),
        (("/info/description", None), "/info/description"),
        (("/info/termsOfService", None), "/info/termsOfService"),
        (("/info/contact/email", Some(json!("x"))), "/info/contact/email"),
        (("/info/license", None), "/info/license"),
        (("/servers/0/url", Some(json!("/v1"))), "/servers/0/url"),
        (("/servers/0", Some(json!({ "url": "/v1" }))), "/servers"),
        (("/externalDocs", None), "/externalDocs"),
        (("/tags/0/description", Some(json!("x"))), "/tags/byName/Reading room/description"),
        (
            ("/tags/0/externalDocs/description", None),
            "/tags/byName/Reading room/externalDocs/description",
        ),
        (("/tags/0", Some(json!({ "name": "x" }))), "/tags/byName/x"),
        (("/security", Some(json!([]))), "/paths/~1books/post/security"),
        (("/paths/~1books/get", None), "/paths/~1books/get"),
        (("/paths/~1new", Some(json!({ "get": { "responses": {} } }))), "/paths/~1new"),
        (("/paths/~1books/delete", Some(json!({ "responses": {} }))), "/paths/~1books/delete"),
        (("/paths/~1books/get/operationId", Some(json!("x"))), "/paths/~1books/get/operationId"),
        (("/paths/~1books/get/summary", Some(json!("x"))), "/paths/~1books/get/summary"),
        (
            ("/paths/~1books/get/description", Some(json!("A page at a time."))),
            "/paths/~1books/get/description",
        ),
        (("/paths/~1books/get/externalDocs", None), "/paths/~1books/get/externalDocs"),
        (("/paths/~1books/get/deprecated", Some(json!(true))), "/paths/~1books/get/deprecated"),
        (("/paths/~1shelves~1{shelf}~1{genre}~1loans/put/deprecated", None), "/put/deprecated"),
        (("/paths/~1books/get/tags/0", None), "/paths/~1books/get/tags"),
        (
            ("/paths/~1books/get/security", Some(json!([{ "readerCard": [] }]))),
            "/paths/~1books/get/security",
        ),
        (("/paths/~1books/get/security", None), "/paths/~1books/get/security"),
        (("/paths/~1books/post/security", Some(json!([]))), "/paths/~1books/post/security"),
        (("/paths/~1books/get/parameters/0", None), "/paths/~1books/get/parameters/query limit"),
        (
            (
                "/paths/~1books/get/parameters/0",
                Some(json!({ "name": "x", "in": "query", "schema": { "type": "string" } })),
            ),
            "/parameters/query x",
        ),
        (("/paths/~1books/get/parameters/1/name", Some(json!("Since"))), "/parameters/query Since"),
        (("/paths/~1books/get/parameters/1/in", Some(json!("header"))), "/parameters/header since"),
        (
            ("/paths/~1books/get/parameters/1/description", None),
            "/parameters/query since/description",
        ),
        (
            ("/paths/~1books/get/parameters/1/required", Some(json!(true))),
            "/parameters/query since/required",
        ),
        (
            ("/paths/~1books/get/parameters/1/schema/format", None),
            "/parameters/query since/schema/format",
        ),
        (
            ("/paths/~1books/get/parameters/1/explode", Some(json!(false))),
            "/parameters/query since/explode",
        ),
        (
            ("/paths/~1books/get/parameters/1/style", Some(json!("pipeDelimited"))),
            "/parameters/query since/style",
        ),
        (
            ("/paths/~1books/get/parameters/2/deprecated", None),
            "/parameters/query shelf/deprecated",
        ),
        (
            ("/paths/~1books/get/parameters/2/schema/minimum", Some(json!(1))),
            "/parameters/query shelf/schema/minimum",
        ),
        (
            (
                "/paths/~1books/get/parameters/3/schema/$ref",
                Some(json!("#/components/schemas/Title")),
            ),
            "/parameters/query genre/schema/$ref",
        ),
        (
            ("/paths/~1books/get/parameters/4/schema/enum/0", None),
            "/parameters/query sort/schema/enum",
        ),
        (
            ("/paths/~1books/get/parameters/4/schema/default", Some(json!("type"))),
            "/parameters/query sort/schema/default",
        ),
        (
            ("/paths/~1books~1{book_id}/parameters/0", None),
            "/paths/~1books~1{book_id}/get/parameters/path book_id",
        ),
        (
            ("/paths/~1books~1{book_id}/parameters/0/description", Some(json!("x"))),
            "/parameters/path book_id/description",
        ),
        (
            ("/components/parameters/Limit/schema/maximum", Some(json!(99))),
            "/parameters/query limit/schema/maximum",
        ),
        (
            ("/components/parameters/Limit/schema/maximum", Some(json!(100.5))),
            "/parameters/query limit/schema/maximum",
        ),
        (
            ("/components/parameters/Limit/schema/format", Some(json!("int64"))),
            "/parameters/query limit/schema/format",
        ),
        (
            ("/components/parameters/Limit/description", Some(json!("x"))),
            "/parameters/query limit/description",
        ),
        (
            ("/components/requestBodies/NewBook/description", Some(json!("x"))),
            "/paths/~1books/post/requestBody/description",
        ),
        (
            ("/components/requestBodies/NewBook/required", Some(json!(false))),
            "/paths/~1books/post/requestBody/required",
        ),
        (
            (
                "/components/requestBodies/NewBook/content/application~1json/schema/$ref",
                Some(json!("#/components/schemas/Book")),
            ),
            "/requestBody/content/application~1json/schema/$ref",
        ),
        (
            ("/components/requestBodies/NewBook/content/text~1plain", Some(json!({}))),
            "/requestBody/content/text~1plain",
        ),
        (("/paths/~1books/post/requestBody", None), "/paths/~1books/post/requestBody"),
        (("/paths/~1books/post/responses/413", None), "/paths/~1books/post/responses/413"),
        (
            ("/paths/~1books/post/responses/500", Some(json!({ "description": "x" }))),
            "/paths/~1books/post/responses/500",
        ),
        (
            ("/paths/~1books/post/responses/default", Some(json!({ "description": "x" }))),
            "/paths/~1books/post/responses/default",
        ),
        (
            ("/paths/~1books/post/responses/201/description", Some(json!("x"))),
            "/responses/201/description",
        ),
        (("/paths/~1books/post/responses/201/content", None), "/responses/201/content"),
        (("/paths/~1books/post/responses/201/headers/ETag", None), "/responses/201/headers/etag"),
        (
            (
                "/paths/~1books/post/responses/201/headers/X",
                Some(json!({ "schema": { "type": "string" } })),
            ),
            "/responses/201/headers/x",
        ),
        (
            ("/paths/~1books/post/responses/201/headers/ETag/required", None),
            "/responses/201/headers/etag/required",
        ),
        (
            ("/paths/~1books/post/responses/201/headers/ETag/description", None),
            "/responses/201/headers/etag/description",
        ),
        (
            ("/paths/~1books/post/responses/201/headers/ETag/schema/pattern", Some(json!("x"))),
            "/responses/201/headers/etag/schema/pattern",
        ),
        (
            ("/components/headers/Location/schema/example", None),
            "/responses/201/headers/location/schema/example",
        ),
        (
            ("/components/responses/Invalid/description", Some(json!("x"))),
            "/paths/~1books/post/responses/400/description",
        ),
        (
            ("/components/responses/NoCard/headers/WWW-Authenticate", None),
            "/paths/~1books/post/responses/401/headers/www-authenticate",
        ),
        (
            ("/components/securitySchemes/readerCard/scheme", Some(json!("basic"))),
            "/components/securitySchemes/readerCard/scheme",
        ),
        (
            ("/components/securitySchemes/readerCard/bearerFormat", Some(json!("JWT"))),
            "/components/securitySchemes/readerCard/bearerFormat",
        ),
        (
            ("/components/securitySchemes/readerCard/description", None),
            "/components/securitySchemes/readerCard/description",
        ),
        (
            ("/components/schemas/More", Some(json!({ "type": "object" }))),
            "/components/schemas/More",
        ),
        (("/components/schemas/Book", None), "/components/schemas/Book"),
        (("/components/schemas/Book/required/0", None), "/components/schemas/Book/required"),
        (
            ("/components/schemas/Book/example/id", Some(json!("x"))),
            "/components/schemas/Book/example/id",
        ),
        (
            ("/components/schemas/Book/description", Some(json!("x"))),
            "/components/schemas/Book/description",
        ),
        (
            ("/components/schemas/Book/properties/title", None),
            "/components/schemas/Book/properties/title",
        ),
        (
            ("/components/schemas/Book/properties/x-more", Some(json!({ "type": "string" }))),
            "/components/schemas/Book/properties/x-more",
        ),
        (
            ("/components/schemas/Book/properties/lent_until/nullable", None),
            "/components/schemas/Book/properties/lent_until/nullable",
        ),
        (
            ("/components/schemas/Book/properties/lent_until/example", None),
            "/components/schemas/Book/properties/lent_until/example",
        ),
        (
            ("/components/schemas/Book/properties/shelf/format", Some(json!("int32"))),
            "/components/schemas/Book/properties/shelf/format",
        ),
        (
            ("/components/schemas/Book/properties/type/type", Some(json!("integer"))),
            "/components/schemas/Book/properties/type/type",
        ),
        (
            ("/components/schemas/Book/properties/type/readOnly", Some(json!(true))),
            "/components/schemas/Book/properties/type/readOnly",
        ),
        (
            ("/components/schemas/Book/additionalProperties", Some(json!({ "type": "string" }))),
            "/components/schemas/Book/additionalProperties",
        ),
        (
            ("/components/schemas/Book/additionalProperties", Some(json!(true))),
            "/components/schemas/Book/additionalProperties",
        ),
        (
            (
                "/components/schemas/BookPage/properties/items/items/$ref",
                Some(json!("#/components/schemas/Title")),
            ),
            "/properties/items/items/$ref",
        ),
        (
            ("/components/schemas/NewBook/externalDocs", None),
            "/components/schemas/NewBook/externalDocs",
        ),
        (
            ("/components/schemas/NewBook/properties/link/deprecated", None),
            "/properties/link/deprecated",
        ),
        (
            ("/components/schemas/NewBook/properties/shelf/minimum", None),
            "/properties/shelf/minimum",
        ),
        (
            ("/components/schemas/Loan/minProperties", Some(json!(3))),
            "/components/schemas/Loan/minProperties",
        ),
        (
            ("/components/schemas/Loan/properties/days/exclusiveMinimum", None),
            "/properties/days/exclusiveMinimum",
        ),
        (
            ("/components/schemas/Loan/properties/days/maximum", Some(json!(27))),
            "/properties/days/maximum",
        ),
        (
            ("/components/schemas/Loan/properties/days/multipleOf", None),
            "/properties/days/multipleOf",
        ),
        (("/components/schemas/Loan/properties/pin/format", None), "/properties/pin/format"),
        (
            ("/components/schemas/Loan/properties/pin/minLength", Some(json!(5))),
            "/properties/pin/minLength",
        ),
        (("/components/schemas/Loan/properties/pin/maxLength", None), "/properties/pin/maxLength"),
        (
            ("/components/schemas/Reader/properties/cards/uniqueItems", None),
            "/properties/cards/uniqueItems",
        ),
        (
            ("/components/schemas/Reader/properties/cards/minItems", Some(json!(2))),
            "/properties/cards/minItems",
        ),
        (
            ("/components/schemas/Reader/properties/cards/maxItems", None),
            "/properties/cards/maxItems",
        ),
        (
            ("/components/schemas/Reader/properties/tags/items/pattern", Some(json!("x"))),
            "/properties/tags/items/pattern",
        ),
        (("/components/schemas/Genre/enum/3", Some(json!("x"))), "/components/schemas/Genre/enum"),
        (("/components/schemas/Title/title", Some(json!("x"))), "/components/schemas/Title/title"),
        (("/components/links", Some(json!({ "x": {} }))), "/components/links"),
        (("/paths/~1books/summary", Some(json!("x"))), "/paths/~1books/summary"),
    ]
}

#[test]
fn every_contract_change_is_a_difference() {
    let emitted = emitted();
    for (change, place) in contract_changes() {
        let differences = compare(&changed(document(), &change), &emitted);
        assert!(
            differences.iter().any(|difference| difference.pointer.contains(place)),
            "{change:?} gives {differences:?}"
        );
    }
}

#[test]
fn every_emitted_change_is_a_difference() {
    let emitted = emitted();
    let document = document();
    // Replace each leaf of the emitted document.
    let mut pointers = Vec::new();
    leaves(&emitted, String::new(), &mut pointers);
    assert!(pointers.len() > 300, "{}", pointers.len());
    for pointer in pointers {
        // The tests below change these, where a wrong type equals the default.
        if pointer == "/openapi"
            || pointer.ends_with("/explode")
            || pointer.ends_with("/deprecated")
            || pointer.ends_with("/required")
        {
            continue;
        }
        let mut other = emitted.clone();
        *other.pointer_mut(&pointer).expect("an existing pointer") = json!("something else");
        assert!(
            !compare(&document, &other).is_empty(),
            "{pointer}: expected a difference after the replacement"
        );
    }
    for (pointer, value) in [
        ("/openapi", json!("3.1.0")),
        ("/paths/~1books/get/parameters/0/explode", json!(false)),
        ("/paths/~1books/get/parameters/0/deprecated", json!(true)),
        ("/paths/~1books/get/parameters/0/required", json!(true)),
        ("/paths/~1books~1{book_id}/get/parameters/0/required", json!(false)),
        ("/paths/~1books/post/responses/201/headers/ETag/required", json!(false)),
        ("/paths/~1books/post/requestBody/required", json!(false)),
        // Gaps apply to the contract only.
        ("/components/schemas/Book/additionalProperties", json!(false)),
        ("/info/x-made-up", json!(1)),
        ("/paths/~1books/get/parameters/0/example", json!(1)),
        ("/paths/~1books/post/requestBody/content/application~1json/example", json!(1)),
    ] {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let mut other = emitted.clone();
        other.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"))[key] = value;
        assert!(!compare(&document, &other).is_empty(), "{pointer}");
    }
}

fn leaves(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            leaves(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), pointers)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| leaves(value, format!("{at}/{index}"), pointers)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => pointers.push(at),
    }
}

#[test]
fn equivalent_spellings_are_no_difference() {
    let emitted = emitted();
    for change in [
        ("/openapi", Some(json!("3.0.1"))),
        ("/paths/~1books/get/deprecated", Some(json!(false))),
        ("/paths/~1books/get/parameters/1/required", Some(json!(false))),
        ("/paths/~1books/get/parameters/1/explode", Some(json!(true))),
        ("/paths/~1books/get/parameters/1/style", Some(json!("form"))),
        ("/paths/~1books~1{book_id}/get/parameters/0/name", Some(json!("IF-NONE-MATCH"))),
        ("/paths/~1books/post/security", Some(json!([{ "readerCard": [] }]))),
        ("/components/parameters/Limit/schema/maximum", Some(json!(100.0))),
        ("/components/schemas/Genre/enum", Some(json!(["poetry", "non-fiction", "prose"]))),
        ("/components/schemas/Loan/required", Some(json!(["to", "note", "pin", "days"]))),
        ("/components/schemas/Book/properties/id/nullable", Some(json!(true))), // beside a `$ref`, where it has no effect
        ("/components/securitySchemes/readerCard/scheme", Some(json!("Bearer"))),
        ("/components/schemas/Genre/description", Some(json!("What kind of book.\n"))),
    ] {
        assert_eq!(compare(&changed(document(), &change), &emitted), [], "{change:?}");
    }
    assert_eq!(compare(&json!({}), &json!({ "servers": [{ "url": "/" }] })), []);
}

#[test]
fn difference_shows_pointer_and_both_values() {
    let change = ("/components/parameters/Limit/schema/maximum", Some(json!(99)));
    let differences = compare(&changed(document(), &change), &emitted());
    assert_eq!(
        differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/paths/~1books/get/parameters/query limit/schema/maximum: the contract says 99, the \
          server emits 100"]
    );
}
