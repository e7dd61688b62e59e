//! Reading documents, and errors for invalid ones.

use serde_json::json;

use super::*;

fn small() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Small", "version": "1.2.3" },
        "paths": {
            "/things/{thing_id}": {
                "parameters": [{ "name": "thing_id", "in": "path", "required": true, "schema": { "type": "integer" }, "example": 7 }],
                "get": {
                    "operationId": "get_thing",
                    "tags": ["Things"],
                    "responses": {
                        "200": {
                            "description": "The thing.",
                            "headers": { "ETag": { "required": true, "schema": { "type": "string" } } },
                            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } }
                        },
                        "404": { "description": "Nothing. `code` is `thing_not_found`." }
                    }
                }
            }
        },
        "components": { "schemas": { "Thing": { "type": "object", "properties": { "name": { "type": "string", "example": "x" } } } } }
    })
}

fn modified(pointer: &str, to: Option<Value>) -> String {
    let mut document = small();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let members = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match to {
        Some(to) => drop(members.insert(name.to_owned(), to)),
        None => assert!(members.remove(name).is_some(), "nothing is at {pointer}"),
    }
    document.to_string()
}

#[test]
fn embedded_document_is_read() {
    let document = Document::embedded();
    assert_eq!(document.title().0, "SUSTech Merch Store");
    assert_eq!(document.operations().len(), 14);
    assert_eq!(
        document.tags().into_iter().collect::<Vec<_>>(),
        ["Dialog", "OrderManager", "ProductManager", "UserManager"]
    );

    let place_order = document.operation("place_order").unwrap();
    assert_eq!(
        (place_order.method.as_str(), place_order.path.as_str(), place_order.secured),
        ("POST", "/orders", true)
    );
    assert!(!document.operation("log_in").unwrap().secured);
    let key = place_order.parameter(Location::Header, "idempotency-key").unwrap();
    assert!(!key.required);
    assert_eq!(key.example, Some(json!("0198c0de-7e57-7000-8000-0000000000aa")));
    let body = place_order.request_body.as_ref().unwrap();
    assert_eq!((body.media_type.as_str(), body.required), ("application/json", true));
    assert_eq!(document.resolve(&body.schema)["required"], json!(["product_id", "quantity"]));
    assert_eq!(
        body.examples.last(),
        Some(&("schema".to_owned(), json!({ "product_id": 1, "quantity": 2 })))
    );

    let get_order = document.operation("get_order").unwrap();
    let names: Vec<&str> =
        get_order.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["order_id", "If-None-Match"], "those of the path item come first");
}

#[test]
fn codes_are_read_from_descriptions() {
    let document = Document::embedded();
    let codes = |operation: &str, status: u16| -> Vec<String> {
        document.operation(operation).unwrap().responses[&status].codes.iter().cloned().collect()
    };
    assert_eq!(
        codes("place_order", 400),
        ["invalid_request"],
        "and not `errors`, of which the sentence speaks next"
    );
    assert_eq!(codes("place_order", 401), ["token_invalid", "token_missing"]);
    assert_eq!(codes("register", 409), ["email_taken", "sid_taken", "username_taken"]);
    assert_eq!(codes("place_order", 201), Vec::<String>::new());
    assert_eq!(document.codes.len(), 24, "{:?}", document.codes);
    for operation in document.operations() {
        for (status, response) in operation.responses.iter().filter(|(status, _)| **status >= 400) {
            assert!(!response.codes.is_empty(), "{} {status} names no code", operation.id);
            assert!(
                response.codes.is_subset(&document.codes),
                "{} {status}: {:?}",
                operation.id,
                response.codes
            );
        }
    }
}

#[test]
fn json_and_unquoted_statuses_are_read() {
    let document = Document::read(&small().to_string()).unwrap();
    assert_eq!(
        document.declared(),
        [("get_thing".to_owned(), 200), ("get_thing".to_owned(), 404)].into()
    );
    let yaml = "openapi: 3.0.0\ninfo: {title: t, version: '1'}\n\
                paths:\n  /:\n    get:\n      operationId: a\n      responses:\n        200: \
                {description: d}\n";
    assert_eq!(Document::read(yaml).unwrap().declared(), [("a".to_owned(), 200)].into());
}

#[test]
fn invalid_documents_are_located() {
    let get = "/paths/~1things~1{thing_id}/get";
    for (text, pointer, fault) in [
        ("{".to_owned(), String::new(), "expected YAML or JSON"),
        ("hello".to_owned(), String::new(), "expected an OpenAPI 3.0 document"),
        (modified("/openapi", Some(json!("3.1.0"))), String::new(), "got one of version 3.1.0"),
        (modified("/paths", None), String::new(), "expected a member `paths`"),
        (modified("/paths", Some(json!({}))), "/paths".to_owned(), "at least one operation"),
        (
            modified("/paths", Some(json!([]))),
            "/paths".to_owned(),
            "expected an object, got a list",
        ),
        (
            modified(&format!("{get}/operationId"), None),
            get.to_owned(),
            "expected a member `operationId`",
        ),
        (
            modified(&format!("{get}/operationId"), Some(json!(1))),
            format!("{get}/operationId"),
            "expected a string, got a number",
        ),
        (
            modified(&format!("{get}/responses/default"), Some(json!({}))),
            format!("{get}/responses/default"),
            "expected a status code",
        ),
        (
            modified(&format!("{get}/responses/404/description"), None),
            format!("{get}/responses/404"),
            "expected a member `description`",
        ),
        (
            modified("/paths/~1things~1{thing_id}/parameters", Some(json!([]))),
            get.to_owned(),
            "expected a declared path parameter \"thing_id\"",
        ),
        (
            modified("/paths/~1things~1{thing_id}/parameters/0/in", Some(json!("body"))),
            "/paths/~1things~1{thing_id}/parameters/0/in".to_owned(),
            "expected path, query, header or cookie",
        ),
        (
            modified(&format!("{get}/responses/404"), Some(json!({ "$ref": "#/nowhere" }))),
            format!("{get}/responses/404"),
            "refers to nothing",
        ),
        (
            modified(&format!("{get}/responses/404"), Some(json!({ "$ref": "other.yaml#/x" }))),
            format!("{get}/responses/404"),
            "expected a reference into this document",
        ),
        (
            modified(
                &format!("{get}/responses/404"),
                Some(json!({ "$ref": "#/components/schemas/Round" })),
            )
            .replace(
                "\"Thing\":",
                "\"Round\":{\"$ref\":\"#/components/schemas/Round\"},\"Thing\":",
            ),
            "/components/schemas/Round".to_owned(),
            "got a cycle",
        ),
        (
            modified("/components/schemas/Thing", Some(json!({ "type": "unheard of" }))),
            format!("{get}/responses/200/content/application~1json"),
            "expected a schema, but",
        ),
    ] {
        let error = Document::read(&text).expect_err(&text);
        assert!(error.fault.contains(fault), "{error}, expected {fault:?}");
        assert_eq!(error.pointer, pointer, "{error}");
    }
    let error = Document::read(&modified(&format!("{get}/operationId"), None)).unwrap_err();
    assert_eq!(error.to_string(), format!("{get}: expected a member `operationId`, got none"));
}

#[test]
fn duplicate_operation_ids_are_refused() {
    let mut document = small();
    document["paths"]["/things"] = json!({ "get": { "operationId": "get_thing", "responses": { "200": { "description": "d" } } } });
    let error = Document::read(&document.to_string()).unwrap_err();
    assert!(error.fault.contains("a unique operationId"), "{error}");
}

#[test]
fn literal_paths_precede_templates() {
    let mut document = small();
    document["paths"]["/things/best"] = json!({ "post": { "operationId": "vote", "responses": { "200": { "description": "d" } } } });
    let document = Document::read(&document.to_string()).unwrap();
    let id = |method: &str, path: &str| {
        document.operation_of(method, path).map(|operation| operation.id.as_str())
    };
    assert_eq!(id("POST", "/things/best"), Some("vote"));
    assert_eq!(id("GET", "/things/best"), None);
    assert_eq!(id("GET", "/things/7?x=/"), Some("get_thing"));
    assert_eq!(id("HEAD", "/things/7"), Some("get_thing"));
    assert_eq!(id("GET", "/things/"), None);
    assert_eq!(id("GET", "/things/7/8"), None);
}

#[test]
fn undeclared_members_follow_the_policy() {
    let thing = json!({ "name": "x", "colour": "red" });
    let schema = json!({ "$ref": "#/components/schemas/Thing" });
    for (members, faults) in [(UndeclaredMembers::AsSchema, 0), (UndeclaredMembers::Forbidden, 1)] {
        let document = Document::read_with(&small().to_string(), members).unwrap();
        assert_eq!(document.validate(&schema, &thing).unwrap().len(), faults, "{members:?}");
    }
}
