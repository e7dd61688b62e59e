//! Tests that the server implements the parts of the document that poem-openapi does not emit.

mod library;

use poem::http::Method;
use poem_contract::gaps::GAPS;
use serde_json::{Value, json};

use library::{server::*, *};

/// The gaps with a test below.
const TESTED: [&str; 5] = [
    "additionalProperties: false",
    "extensions",
    "examples outside of schemas",
    "links",
    "the order of tags",
];

#[test]
fn every_gap_has_a_test() {
    assert_eq!(GAPS.iter().map(|gap| gap.name).collect::<Vec<_>>(), TESTED);
    assert!(GAPS.iter().all(|gap| gap.why.len() > 50));
}

#[tokio::test]
async fn unknown_properties_of_closed_schemas_are_rejected() {
    let server = test_server();
    let closed = ["NewBook", "Loan", "Reader"];
    for (name, schema) in document()["components"]["schemas"].as_object().expect("schemas") {
        assert_eq!(
            schema.get("additionalProperties") == Some(&json!(false)),
            closed.contains(&name.as_str()),
            "{name}"
        );
    }
    let answer = server
        .send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            r#"{"title":"M","shelf":1,"type":"map","x-shelf":2}"#,
        )
        .await;
    assert_eq!(answer.json(), json!([["body", "/x-shelf", "unknown member"]]));
    let answer = server
        .lend(loan_with(json!({ "Days": 7, "to": { "email": "a@b.cd", "Email": null } })))
        .await;
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    // The types are closed too.
    assert!(serde_json::from_value::<Reader>(json!({ "email": "a@b.cd", "more": 1 })).is_err());
    // Responses are open: an older client must accept new members.
    let mut book = serde_json::to_value(book()).expect("JSON");
    book["more"] = json!(1);
    assert!(serde_json::from_value::<Book>(book).is_ok());
}

#[tokio::test]
async fn extensions_do_not_change_the_server() {
    let server = test_server();
    // `x-pagination` does not change the operation.
    assert_eq!(server.get("/books?limit=1").await.status, 200);
    assert_eq!(server.get("/books?x-pagination=1").await.status, 400);
    let mut without = document();
    without["paths"]["/books"]["get"].as_object_mut().expect("an operation").remove("x-pagination");
    without["info"].as_object_mut().expect("an object").remove("x-audience");
    without["components"]["schemas"]["NewBook"]["properties"]["shelf"]
        .as_object_mut()
        .expect("a schema")
        .remove("x-unit");
    let generate = |document: &Value| {
        poem_contract::generate(&document.to_string())
            .expect("a supported document")
            .replace("x-unit", "")
    };
    let (with, without) = (generate(&document()), generate(&without));
    // Validators contain the raw schema.
    let differing: Vec<&str> =
        with.lines().filter(|line| !without.contains(line.trim_end_matches(','))).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert!(differing[0].contains("metres"), "{differing:?}");
}

#[tokio::test]
async fn examples_outside_schemas_are_valid() {
    let server = test_server();
    let document = document();
    let at = |pointer: &str| {
        document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")).clone()
    };
    // Examples of requests are valid.
    let limit = at("/components/parameters/Limit/example");
    let genre = at("/paths/~1books/get/parameters/3/example");
    assert_eq!(
        server
            .get(&format!("/books?limit={limit}&genre={}", genre.as_str().expect("text")))
            .await
            .status,
        200
    );
    let id = at("/paths/~1books~1{book_id}/parameters/0/example");
    let tag = at("/paths/~1books~1{book_id}/get/parameters/0/example");
    assert_eq!(
        server
            .send(
                Method::GET,
                &format!("/books/{}", id.as_str().expect("text")),
                &[("if-none-match", tag.as_str().expect("text"))],
                ()
            )
            .await
            .status,
        200
    );
    let loan = at(
        "/paths/~1shelves~1{shelf}~1{genre}~1loans/put/requestBody/content/application~1json/examples/short/value",
    );
    assert_eq!(server.lend(loan.to_string()).await.status, 204);
    // The server can send the examples of responses.
    let example = at("/paths/~1books/post/responses/201/content/application~1json/example");
    let etag = at("/paths/~1books/post/responses/201/headers/ETag/example");
    let book: Book = serde_json::from_value(example.clone()).expect("the type holds it");
    *server.library.add.lock().expect("a lock") = Some(AddBookResponse::Created {
        body: book.into(),
        location: "/books/1".to_owned(),
        etag: etag.as_str().expect("text").to_owned(),
    });
    let answer = server
        .send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            r#"{"title":"M","shelf":1,"type":"map"}"#,
        )
        .await;
    assert_eq!(
        (answer.status, answer.json(), answer.header("etag")),
        (201, example, etag.as_str())
    );
}

#[tokio::test]
async fn links_resolve_to_operations_and_values() {
    let server = test_server();
    let links = &document()["paths"]["/books"]["post"]["responses"]["201"]["links"];
    let mut added = book();
    added.id = "0198c0de-7e57-7000-8000-00000000abcd".parse().expect("an id");
    *server.library.add.lock().expect("a lock") = Some(AddBookResponse::Created {
        body: added.into(),
        location: "/books/1".to_owned(),
        etag: "\"1\"".to_owned(),
    });
    let sent = json!({ "title": "Momo", "shelf": 1, "type": "book" });
    let add = [("authorization", "Bearer x"), ("content-type", "application/json")];
    let answer = server.send(Method::POST, "/books", &add, sent.to_string()).await;
    // Evaluates a runtime expression.
    let value = |expression: &Value| match expression.as_str().and_then(|text| text.split_once('#'))
    {
        Some(("$response.body", pointer)) => {
            answer.json().pointer(pointer).expect("in the answer").clone()
        }
        Some(("$request.body", pointer)) => sent.pointer(pointer).expect("in the request").clone(),
        Some((other, _)) => panic!("no link here contains {other}"),
        None => {
            expression.as_str().and_then(|text| text.strip_prefix("$response.header.")).map_or_else(
                || expression.clone(),
                |name| answer.header(&name.to_ascii_lowercase()).expect("in the answer").into(),
            )
        }
    };
    let parameters = &links["Look"]["parameters"];
    let (id, etag) = (value(&parameters["book_id"]), value(&parameters["header.If-None-Match"]));
    let path = format!("/books/{}", id.as_str().expect("text"));
    let looked = server
        .send(Method::GET, &path, &[("if-none-match", etag.as_str().expect("text"))], ())
        .await;
    assert!([200, 304].contains(&looked.status), "{}", looked.status);
    let body: serde_json::Map<String, Value> = links["Another"]["requestBody"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(member, expression)| (member.clone(), value(expression)))
        .collect();
    assert_eq!(
        server.send(Method::POST, "/books", &add, Value::Object(body).to_string()).await.status,
        201
    );
}

#[tokio::test]
async fn tag_order_does_not_change_routing() {
    let order = |document: &Value| {
        document["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| tag["name"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let emitted: Value = serde_json::from_str(&spec_json::<Library>()).expect("JSON");
    assert_eq!(
        (order(&document()), order(&emitted)),
        (
            vec!["Reading room".to_owned(), "Loans".to_owned()],
            vec!["Loans".to_owned(), "Reading room".to_owned()]
        )
    );
    let server = test_server();
    assert_eq!(server.get("/books").await.status, 200);
    assert_eq!(server.lend(loan().to_string()).await.status, 204);
}
