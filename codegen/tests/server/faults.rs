//! Tests the faults of invalid requests.

use poem::http::Method;
use serde_json::{Value, json};

use crate::library::*;

fn faults(answer: &TestResponse) -> Vec<(String, String)> {
    assert_eq!(answer.status, 400, "{}", answer.text);
    let faults = answer.json();
    faults
        .as_array()
        .expect("faults")
        .iter()
        .map(|fault| {
            (
                format!(
                    "{}{}",
                    fault[0].as_str().expect("a location"),
                    fault[1].as_str().expect("a pointer")
                ),
                fault[2].as_str().expect("a detail").to_owned(),
            )
        })
        .collect()
}

pub(crate) fn locations(answer: &TestResponse) -> Vec<String> {
    let mut locations: Vec<String> =
        faults(answer).into_iter().map(|(location, _)| location).collect();
    locations.sort();
    locations
}

#[tokio::test]
async fn all_faults_of_a_request_are_listed() {
    let server = test_server();
    let body = r#"{"days":0,"days":7,"pin":"123","note":"12345678901","to":{"email":"no","cards":[],"tags":["A","toolong"],"x":1},"weight":2147483648,"due":"yesterday","silent":1,"a/b~c":null}"#;
    let answer = server
        .lend_at(
            "/shelves/zero/drama/loans?reader=m&reader=n&colour=red&colour=blue",
            &[("x-desk", "9"), ("receipt-key", "a b"), ("receipt-key", "c")],
            body,
        )
        .await;
    assert_eq!(
        locations(&answer),
        [
            "body/a~1b~0c",
            "body/days",
            "body/days",
            "body/due",
            "body/note",
            "body/pin",
            "body/silent",
            "body/to/cards",
            "body/to/email",
            "body/to/tags/0",
            "body/to/tags/1",
            "body/to/x",
            "body/weight",
            "header/Receipt-Key",
            "header/X-Desk",
            "path/genre",
            "path/shelf",
            "query/colour",
            "query/reader"
        ]
        .map(str::to_owned)
        .to_vec(),
        "{}",
        answer.text
    );
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn body_faults_state_the_expected_value() {
    let server = test_server();
    let detail = async |changes: Value| {
        let found = faults(&server.lend(loan_with(changes)).await);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    for (changes, location, expected) in [
        (json!({ "days": 35 }), "body/days", "expected at most 28"),
        (json!({ "days": 0 }), "body/days", "expected more than 0"),
        (json!({ "days": 8 }), "body/days", "expected a multiple of 7"),
        (json!({ "days": 7.0 }), "body/days", "expected an integer"),
        (json!({ "weight": 7.5 }), "body/weight", "expected an integer"),
        (json!({ "days": "7" }), "body/days", "expected an integer"),
        (json!({ "days": null }), "body/days", "expected an integer"),
        (json!({ "weight": null }), "body/weight", "expected an integer"),
        (json!({ "weight": 2_147_483_648_i64 }), "body/weight", "expected at most 2147483647"),
        (json!({ "weight": -2_147_483_649_i64 }), "body/weight", "expected at least -2147483648"),
        (json!({ "pin": "123456789" }), "body/pin", "expected at most 8 characters"),
        (json!({ "note": "12345678901" }), "body/note", "expected at most 10 characters"),
        (json!({ "note": 1 }), "body/note", "expected null or a string"),
        (json!({ "silent": "true" }), "body/silent", "expected a boolean"),
        (
            json!({ "due": "2026-11-22 08:00" }),
            "body/due",
            "expected a date and time by RFC 3339, such as 2026-01-31T12:00:00Z",
        ),
        (json!({ "to": [] }), "body/to", "expected an object"),
        (json!({ "to": {} }), "body/to/email", "missing member"),
        (
            json!({ "to": { "email": "Momo <momo@example.org>" } }),
            "body/to/email",
            "expected an email address",
        ),
        (
            json!({ "to": { "email": "a@b.cd", "cards": ["{01234567-89ab-7cde-8f01-23456789abcd}"] } }),
            "body/to/cards/0",
            "expected a UUID, such as 01234567-89ab-7cde-8f01-23456789abcd",
        ),
        (
            json!({ "to": { "email": "a@b.cd", "tags": ["x", 1] } }),
            "body/to/tags/1",
            "expected a string",
        ),
        (
            json!({ "to": { "email": "a@b.cd", "tags": ["a1"] } }),
            "body/to/tags/0",
            "expected text of the form ^[a-z]+$",
        ),
        (json!({ "colour": "red" }), "body/colour", "unknown member"),
    ] {
        let (at, what) = detail(changes.clone()).await;
        assert_eq!((at.as_str(), what.as_str()), (location, expected), "{changes}");
    }
    let one = "01234567-89ab-7cde-8f01-23456789abcd";
    let (_, what) = detail(json!({ "to": { "email": "a@b.cd", "cards": [one, one] } })).await;
    assert_eq!(what, "expected unique items");
    let found = faults(&server.lend("{}").await);
    assert!(found.contains(&("body/pin".to_owned(), "missing member".to_owned())), "{found:?}");
    assert!(
        found.contains(&("body".to_owned(), "expected at least 4 members".to_owned())),
        "{found:?}"
    );
    let found = faults(
        &server
            .send(
                Method::POST,
                "/books",
                &[("authorization", "Bearer x"), ("content-type", "application/json")],
                r#"{"title":"M","shelf":9223372036854775808,"type":"globe","genre":"Prose"}"#,
            )
            .await,
    );
    assert!(
        found.contains(&("body/type".to_owned(), "expected one of \"book\", \"map\"".to_owned())),
        "{found:?}"
    );
    assert!(
        found.contains(&(
            "body/shelf".to_owned(),
            "expected at most 9223372036854775807".to_owned()
        )),
        "{found:?}"
    );
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test]
async fn parameter_faults_state_the_expected_value() {
    let server = test_server();
    for (query, expected) in [
        ("limit=0", vec![("query/limit", "expected at least 1")]),
        ("limit=101", vec![("query/limit", "expected at most 100")]),
        ("limit=", vec![("query/limit", "expected an integer")]),
        ("limit", vec![("query/limit", "expected an integer")]),
        ("limit=1.0", vec![("query/limit", "expected an integer")]),
        ("limit=1e1", vec![("query/limit", "expected an integer")]),
        ("limit=%2B1", vec![("query/limit", "expected an integer")]),
        ("limit=01", vec![("query/limit", "expected an integer")]),
        ("limit=99999999999999999999", vec![("query/limit", "expected an integer")]),
        ("limit=1&limit=1", vec![("query/limit", "repeated parameter")]),
        ("limit=1&lim%69t=1", vec![("query/limit", "repeated parameter")]),
        ("limit=%zz", vec![("query/limit", "expected UTF-8, percent-encoded where needed")]),
        ("limit=%f", vec![("query/limit", "expected UTF-8, percent-encoded where needed")]),
        ("sort=%ff", vec![("query/sort", "expected UTF-8, percent-encoded where needed")]),
        ("sort=Title", vec![("query/sort", "expected one of \"title\", \"by-age\", \"type\"")]),
        ("genre=", vec![("query/genre", "expected one of \"prose\", \"poetry\", \"non-fiction\"")]),
        ("available=1", vec![("query/available", "expected true or false")]),
        (
            "since=2026-11-22",
            vec![(
                "query/since",
                "expected a date and time by RFC 3339, such as 2026-01-31T12:00:00Z",
            )],
        ),
        ("Limit=1", vec![("query/Limit", "unknown parameter")]),
        ("x=1&y=2", vec![("query/x", "unknown parameter"), ("query/y", "unknown parameter")]),
        ("%zz=1", vec![("query/%zz", "unknown parameter")]),
        ("a/b=1", vec![("query/a~1b", "unknown parameter")]),
    ] {
        let found = faults(&server.get(&format!("/books?{query}")).await);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(location, detail)| (location.as_str(), detail.as_str())).collect();
        assert_eq!(found, expected, "{query}");
    }
    assert_eq!(server.get("/books?&limit=1&&").await.status, 200);

    for path in [
        "/books/1",
        "/books/0123456789ab7cde8f0123456789abcd",
        "/books/%7B01234567-89ab-7cde-8f01-23456789abcd%7D",
        "/books/%zz",
        "/books/%ff",
    ] {
        assert_eq!(locations(&server.get(path).await), ["path/book_id"], "{path}");
    }
    assert_eq!(server.get("/books/01234567%2D89ab-7cde-8f01-23456789abcd").await.status, 200);
    // An operation without query parameters ignores the query.
    assert_eq!(
        server.get("/books/01234567-89ab-7cde-8f01-23456789abcd?utm_source=x&%zz").await.status,
        200
    );

    let uri = "/shelves/1/prose/loans?reader=Momo";
    for (headers, location) in [
        (vec![("x-desk", "9")], "header/X-Desk"),
        (vec![("x-desk", "")], "header/X-Desk"),
        (vec![("x-desk", "1"), ("x-desk", "1")], "header/X-Desk"),
        (vec![("receipt-key", "")], "header/Receipt-Key"),
        (vec![("receipt-key", "a b")], "header/Receipt-Key"),
        (vec![("receipt-key", "é")], "header/Receipt-Key"),
    ] {
        let found = locations(&server.lend_at(uri, &headers, loan().to_string()).await);
        assert!(
            found.iter().all(|found| found == location) && !found.is_empty(),
            "{headers:?}: {found:?}"
        );
    }
    let found = faults(&server.lend_at("/shelves/1/prose/loans", &[], loan().to_string()).await);
    assert_eq!(found, [("query/reader".to_owned(), "missing parameter".to_owned())]);
    assert!(!server.calls().is_empty());
}

#[tokio::test]
async fn malformed_json_is_rejected() {
    let server = test_server();
    for body in [
        "",
        " ",
        "nonsense",
        "{",
        "{}{}",
        "{} x",
        "{'days':1}",
        "{\"days\":1,}",
        "[1,]",
        "{\"days\":01}",
        "{\"days\":NaN}",
        "{\"days\":1e999}",
        "\u{feff}{}",
        "{\"days\":\"\\ud800\"}",
        "{\"days\":\"\n\"}",
        "// c\n{}",
    ] {
        assert_eq!(locations(&server.lend(body).await), ["body"], "{body:?}");
    }
    let answer = server.lend(b"{\"pin\":\"\xff\"}".to_vec()).await;
    assert_eq!(
        faults(&answer),
        [("body".to_owned(), "expected JSON in UTF-8; byte 8 is not UTF-8".to_owned())]
    );
    for body in ["null", "1", "\"x\"", "[]", "true"] {
        assert_eq!(
            faults(&server.lend(body).await),
            [("body".to_owned(), "expected an object".to_owned())],
            "{body}"
        );
    }
    let deep = format!("{{\"days\":{}{}}}", "[".repeat(400), "]".repeat(400));
    let found = faults(&server.lend(deep).await);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].0.starts_with("body/days/0/0") && found[0].1.starts_with("expected at most 64"),
        "{found:?}"
    );
}

#[tokio::test]
async fn repeated_keys_are_rejected_at_any_depth() {
    let server = test_server();
    for (body, location) in [
        (r#"{"days":7,"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd"}}"#, "body/days"),
        (
            r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd","email":"a@b.cd"}}"#,
            "body/to/email",
        ),
        (
            r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd","em\u0061il":"a@b.cd"}}"#,
            "body/to/email",
        ),
    ] {
        assert_eq!(
            faults(&server.lend(body).await),
            [(location.to_owned(), "repeated member".to_owned())],
            "{body}"
        );
    }
    let found =
        locations(&server.lend(r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd"},"x":[{"y":1,"y":1,"y":{"z":1,"z":1}}]}"#).await);
    // The contents of an unknown member are not validated.
    assert_eq!(found, ["body/x"]);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn faults_never_show_a_sent_value() {
    let server = test_server();
    let secret = "hunter2hunter2";
    for body in [
        format!(
            r#"{{"days":"{secret}","pin":"{secret}","note":"{secret}","to":"{secret}","weight":"{secret}","due":"{secret}","silent":"{secret}","x":"{secret}"}}"#
        ),
        format!(r#"{{"pin":"{secret}","pin":"{secret}"}}"#),
        format!(r#"{{"pin":"{secret}"#),
        format!(r#"{{"pin":{secret}}}"#),
        format!(
            r#"{{"to":{{"email":"{secret}","cards":["{secret}"],"tags":["{secret}","{secret}"]}}}}"#
        ),
        format!("\"{secret}\""),
        format!("[\"{secret}\"] {secret}"),
        secret.to_owned(),
    ] {
        let uri = format!(
            "/shelves/{secret}/{secret}/loans?reader={secret}&reader={secret}&colour={secret}"
        );
        let answer = server
            .lend_at(&uri, &[("x-desk", secret), ("receipt-key", secret)], body.clone())
            .await;
        assert_eq!(answer.status, 400);
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
    let answer =
        server.get(&format!("/books?limit={secret}&since={secret}&shelf={secret}&genre={secret}&sort={secret}&available={secret}")).await;
    assert_eq!(locations(&answer).len(), 6);
    assert!(!answer.text.contains(secret), "{}", answer.text);
    assert!(!server.get(&format!("/books/{secret}")).await.text.contains(secret));
}
