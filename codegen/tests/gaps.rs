//! What the document says and poem-openapi does not emit: the server behaves by it all the same.

mod library;

use poem::http::Method;
use poem_contract::gaps::GAPS;
use serde_json::{Value, json};

use library::{server::*, *};

/// The tests below, by the entry that each is for. An entry more is a test more.
const TESTED: [&str; 5] = [
    "additionalProperties: false",
    "extensions",
    "examples outside of schemas",
    "links",
    "the order of tags",
];

#[test]
fn the_list_is_closed_and_every_entry_has_its_test() {
    assert_eq!(GAPS.iter().map(|gap| gap.name).collect::<Vec<_>>(), TESTED);
    assert!(GAPS.iter().all(|gap| gap.why.len() > 50));
}

#[tokio::test]
async fn closed_schemas_are_closed() {
    let desk = desk();
    let closed = ["NewBook", "Loan", "Reader"];
    for (name, schema) in document()["components"]["schemas"].as_object().expect("schemas") {
        assert_eq!(
            schema.get("additionalProperties") == Some(&json!(false)),
            closed.contains(&name.as_str()),
            "{name}"
        );
    }
    let answer = desk
        .send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            r#"{"title":"M","shelf":1,"type":"map","x-shelf":2}"#,
        )
        .await;
    assert_eq!(answer.json(), json!([["body", "/x-shelf", "this member is not known here"]]));
    let answer = desk
        .lend(loan_with(json!({ "Days": 7, "to": { "email": "a@b.cd", "Email": null } })))
        .await;
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    // The types say so, too.
    assert!(serde_json::from_value::<Reader>(json!({ "email": "a@b.cd", "more": 1 })).is_err());
    // Responses are open: a client that knows less than the server goes on working.
    let mut book = serde_json::to_value(book()).expect("JSON");
    book["more"] = json!(1);
    assert!(serde_json::from_value::<Book>(book).is_ok());
}

#[tokio::test]
async fn extensions_change_nothing() {
    let desk = desk();
    // With `x-pagination` and without: the same requests, the same answers.
    assert_eq!(desk.get("/books?limit=1").await.status, 200);
    assert_eq!(desk.get("/books?x-pagination=1").await.status, 400);
    let mut without = document();
    without["paths"]["/books"]["get"].as_object_mut().expect("an operation").remove("x-pagination");
    without["info"].as_object_mut().expect("an object").remove("x-audience");
    without["components"]["schemas"]["NewBook"]["properties"]["shelf"]
        .as_object_mut()
        .expect("a schema")
        .remove("x-unit");
    let generate = |document: &Value| {
        poem_contract::generate(&document.to_string())
            .expect("it is supported")
            .replace("x-unit", "")
    };
    let (with, without) = (generate(&document()), generate(&without));
    // What validates keeps the schema as it stands; all else is the same.
    let differing: Vec<&str> =
        with.lines().filter(|line| !without.contains(line.trim_end_matches(','))).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert!(differing[0].contains("metres"), "{differing:?}");
}

#[tokio::test]
async fn examples_outside_of_schemas_are_true() {
    let desk = desk();
    let document = document();
    let at = |pointer: &str| {
        document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")).clone()
    };
    // Those of requests are accepted.
    let limit = at("/components/parameters/Limit/example");
    let genre = at("/paths/~1books/get/parameters/3/example");
    assert_eq!(
        desk.get(&format!("/books?limit={limit}&genre={}", genre.as_str().expect("text")))
            .await
            .status,
        200
    );
    let id = at("/paths/~1books~1{book_id}/parameters/0/example");
    let tag = at("/paths/~1books~1{book_id}/get/parameters/0/example");
    assert_eq!(
        desk.send(
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
    assert_eq!(desk.lend(loan.to_string()).await.status, 204);
    // Those of responses can be answered, word for word.
    let example = at("/paths/~1books/post/responses/201/content/application~1json/example");
    let etag = at("/paths/~1books/post/responses/201/headers/ETag/example");
    let book: Book = serde_json::from_value(example.clone()).expect("the type holds it");
    *desk.library.add.lock().expect("a lock") = Some(AddBookResponse::Created {
        body: book,
        location: "/books/1".to_owned(),
        etag: etag.as_str().expect("text").to_owned(),
    });
    let answer = desk
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
async fn links_lead_where_they_say() {
    let desk = desk();
    let links = &document()["paths"]["/books"]["post"]["responses"]["201"]["links"];
    let mut added = book();
    added.id = "0198c0de-7e57-7000-8000-00000000abcd".parse().expect("an id");
    *desk.library.add.lock().expect("a lock") = Some(AddBookResponse::Created {
        body: added,
        location: "/books/1".to_owned(),
        etag: "\"1\"".to_owned(),
    });
    let sent = json!({ "title": "Momo", "shelf": 1, "type": "book" });
    let add = [("authorization", "Bearer x"), ("content-type", "application/json")];
    let answer = desk.send(Method::POST, "/books", &add, sent.to_string()).await;
    // What an expression names is in the exchange, and what it gives is taken where the link leads.
    let value = |expression: &Value| match expression.as_str().and_then(|text| text.split_once('#'))
    {
        Some(("$response.body", pointer)) => {
            answer.json().pointer(pointer).expect("in the answer").clone()
        }
        Some(("$request.body", pointer)) => sent.pointer(pointer).expect("in the request").clone(),
        Some((other, _)) => panic!("{other} is in no link here"),
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
    let looked =
        desk.send(Method::GET, &path, &[("if-none-match", etag.as_str().expect("text"))], ()).await;
    assert!([200, 304].contains(&looked.status), "{}", looked.status);
    let body: serde_json::Map<String, Value> = links["Another"]["requestBody"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(member, expression)| (member.clone(), value(expression)))
        .collect();
    assert_eq!(
        desk.send(Method::POST, "/books", &add, Value::Object(body).to_string()).await.status,
        201
    );
}

#[tokio::test]
async fn the_order_of_tags_is_for_readers() {
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
    // Whichever comes first, the operations of both are served.
    let desk = desk();
    assert_eq!(desk.get("/books").await.status, 200);
    assert_eq!(desk.lend(loan().to_string()).await.status, 204);
}
