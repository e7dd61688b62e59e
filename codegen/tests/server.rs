//! The golden library, driven over HTTP: every rejection and every response.

mod library;
mod minimal;

use library::{server::*, *};
use poem::{Body, http::Method};
use serde_json::{Value, json};

fn faults(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 400, "{}", answer.text);
    let faults = answer.json();
    faults
        .as_array()
        .expect("faults")
        .iter()
        .map(|fault| {
            (
                format!("{}{}", fault[0].as_str().expect("a place"), fault[1].as_str().expect("a pointer")),
                fault[2].as_str().expect("a detail").to_owned(),
            )
        })
        .collect()
}

fn places(answer: &Answer) -> Vec<String> {
    let mut places: Vec<String> = faults(answer).into_iter().map(|(place, _)| place).collect();
    places.sort();
    places
}

#[tokio::test]
async fn gives_operations_what_was_sent_and_defaults_for_what_was_not() {
    let desk = desk();
    assert_eq!(desk.get("/books").await.status, 200);
    assert_eq!(desk.calls(), ["(20, None, None, None, Title, None, false)"]);
    let answer = desk
        .get("/books?limit=7&since=2026-11-22T08:00:00.5%2B08:00&shelf=9223372036854775807&genre=non-fiction&sort=by-age&type=x&available=true")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        desk.calls(),
        ["(7, Some(2026-11-22 8:00:00.5 +08:00:00), Some(9223372036854775807), Some(NonFiction), ByAge, Some(\"x\"), true)"]
    );

    let id = "01234567-89ab-7cde-8f01-23456789abcd";
    assert_eq!(
        desk.send(Method::GET, &format!("/books/{id}"), &[("if-none-match", "\"1\""), ("If-None-Match", "W/\"2\"")], ()).await.status,
        200
    );
    assert_eq!(desk.calls(), [format!("({id}, Some(\"\\\"1\\\", W/\\\"2\\\"\"))")]);

    let body = loan_with(
        json!({ "weight": -2147483648, "due": "2026-11-22T08:00:00Z", "silent": true, "note": "é✓", "to": { "email": "a@b.cd", "cards": [id], "tags": ["x"] } }),
    );
    let answer =
        desk.lend_at("/shelves/2147483647/poetry/loans?reader=%C3%89mile+Z", &[("X-DESK", "8"), ("receipt-key", "!~")], body).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let calls = desk.calls();
    assert!(
        calls[0].starts_with(
            "(ReaderCard(Token([redacted])), Poetry, 2147483647, \"Émile Z\", Some(8), Some(\"!~\"), Loan { days: 14, pin: \"[redacted]\""
        ),
        "{calls:?}"
    );
    assert!(
        calls[0].contains("weight: Some(-2147483648)") && calls[0].contains("silent: Some(true)") && calls[0].contains("Some(\"é✓\")"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn answers_in_every_declared_way() {
    let desk = desk();
    let problem = || Problem { code: "no".to_owned(), faults: vec![] };

    let answer = desk.get("/books").await;
    assert_eq!((answer.status, answer.header("content-type"), answer.header("x-total")), (200, Some("application/json"), None));
    assert_eq!(
        answer.json(),
        json!({ "items": [{ "id": "00000000-0000-0000-0000-000000000001", "title": "Momo", "genre": "non-fiction", "shelf": i64::MAX, "added_at": "1970-01-01T00:00:00Z", "lent_until": null, "type": "book" }], "next_page": null })
    );
    *desk.library.list.lock().expect("a lock") =
        Some(ListBooksResponse::Ok { body: BookPage { items: vec![], next_page: Some("2".to_owned()) }, x_total: Some(3) });
    let answer = desk.get("/books").await;
    assert_eq!((answer.header("x-total"), answer.json()), (Some("3"), json!({ "items": [], "next_page": "2" })));
    *desk.library.list.lock().expect("a lock") = Some(ListBooksResponse::BadRequest { body: problem() });
    let answer = desk.get("/books").await;
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.json()),
        (400, Some("application/problem+json"), json!({ "code": "no", "faults": [] }))
    );

    let add = || {
        desk.send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            r#"{"title":"M","shelf":0,"type":"map"}"#,
        )
    };
    let answer = add().await;
    assert_eq!((answer.status, answer.header("location"), answer.header("etag")), (201, Some("/books/1"), Some("\"1\"")));
    for (response, status) in [
        (AddBookResponse::BadRequest { body: problem() }, 400),
        (AddBookResponse::PayloadTooLarge { body: problem() }, 413),
        (AddBookResponse::UnsupportedMediaType { body: problem() }, 415),
        (AddBookResponse::Unauthorized { body: problem(), www_authenticate: "Bearer".to_owned() }, 401),
    ] {
        *desk.library.add.lock().expect("a lock") = Some(response);
        assert_eq!(add().await.status, status);
    }
    assert_eq!(add().await.header("www-authenticate"), Some("Bearer"));

    *desk.library.get.lock().expect("a lock") = Some(GetBookResponse::NotModified { etag: "\"2\"".to_owned() });
    let answer = desk.get("/books/01234567-89ab-7cde-8f01-23456789abcd").await;
    assert_eq!((answer.status, answer.header("etag"), answer.header("content-type"), answer.text.as_str()), (304, Some("\"2\""), None, ""));
    // A 404 of an operation stays what the operation made of it.
    *desk.library.get.lock().expect("a lock") = Some(GetBookResponse::NotFound { body: problem() });
    let answer = desk.get("/books/01234567-89ab-7cde-8f01-23456789abcd").await;
    assert_eq!((answer.status, answer.json()), (404, json!({ "code": "no", "faults": [] })));

    assert_eq!(desk.lend(loan().to_string()).await.status, 204);
    *desk.library.lend.lock().expect("a lock") = Some(LendResponse::ServiceUnavailable { retry_after: 30 });
    let answer = desk.lend(loan().to_string()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
}

#[tokio::test]
async fn knows_its_routes_and_methods() {
    let desk = desk();
    for path in ["/", "/book", "/books/", "/books//", "//books", "/books/1/2", "/shelves/1/loans", "/%62ooks", "/BOOKS", "/openapi.json"] {
        let answer = desk.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!("unknown route")), "{path}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/books", json!(["GET", "HEAD", "POST"])),
        (Method::OPTIONS, "/books", json!(["GET", "HEAD", "POST"])),
        (Method::PUT, "/books/01234567-89ab-7cde-8f01-23456789abcd", json!(["GET", "HEAD"])),
        // 405 comes before 400: that this is no UUID does not matter.
        (Method::POST, "/books/x", json!(["GET", "HEAD"])),
        (Method::GET, "/shelves/1/prose/loans", json!(["PUT"])),
        (Method::HEAD, "/shelves/1/prose/loans", json!(["PUT"])),
    ] {
        let answer = desk.send(method.clone(), path, &[], ()).await;
        assert_eq!((answer.status, answer.json()), (405, allowed), "{method} {path}");
    }
    let answer = desk.send(Method::HEAD, "/books", &[], ()).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        ROUTES,
        [
            ("GET", "/books", "listBooks"),
            ("POST", "/books", "add_book"),
            ("GET", "/books/{book_id}", "get_book"),
            ("PUT", "/shelves/{shelf}/{genre}/loans", "lend")
        ]
    );
}

#[tokio::test]
async fn rejects_in_the_order_401_415_413_400() {
    let desk = desk();
    let too_long = "x".repeat(LIMIT + 1);
    let uri = "/shelves/0/prose/loans";
    let answer = desk.send(Method::PUT, uri, &[("content-type", "text/plain")], too_long.clone()).await;
    assert_eq!((answer.status, answer.json()), (401, json!("missing")));
    for (value, reason) in [("Basic eDp5", "wrong scheme"), ("Bearer", "malformed"), ("Bearer a b", "malformed")] {
        let answer = desk.send(Method::PUT, uri, &[("authorization", value)], ()).await;
        assert_eq!((answer.status, answer.json()), (401, json!(reason)), "{value}");
    }
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(desk.send(Method::PUT, uri, &twice, ()).await.json(), json!("repeated"));

    let card = ("authorization", "bearer card");
    for media_type in [None, Some("text/plain"), Some("application/jsonp"), Some("application/json; charset=latin1")] {
        let headers: Vec<_> = [card].into_iter().chain(media_type.map(|value| ("content-type", value))).collect();
        let answer = desk.send(Method::PUT, uri, &headers, too_long.clone()).await;
        assert_eq!((answer.status, answer.json()), (415, json!("application/json")), "{media_type:?}");
    }
    let two = [card, ("content-type", "application/json"), ("content-type", "application/json")];
    assert_eq!(desk.send(Method::PUT, uri, &two, loan().to_string()).await.status, 415);

    let answer = desk.lend_at(uri, &[("content-encoding", "gzip")], too_long.clone()).await;
    assert_eq!((answer.status, answer.json()), (415, json!("identity")));

    let answer = desk.lend_at(uri, &[], too_long).await;
    assert_eq!((answer.status, answer.json()), (413, json!(LIMIT)));
    assert_eq!(places(&desk.lend_at(uri, &[], "{}").await).len(), 7);
    assert!(desk.calls().is_empty());
}

#[tokio::test]
async fn a_401_reads_nothing_of_the_body_and_a_declared_length_neither() {
    let desk = desk();
    let untouched = || {
        Body::from_bytes_stream(futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Vec<u8>, std::io::Error>>> {
            panic!("the body was read")
        }))
    };
    assert_eq!(desk.send(Method::PUT, "/shelves/1/prose/loans", &[("content-type", "application/json")], untouched()).await.status, 401);
    assert_eq!(desk.send(Method::PUT, "/shelves/1/prose/loans", &[("authorization", "Bearer x")], untouched()).await.status, 415);
    let length = (LIMIT + 1).to_string();
    assert_eq!(desk.lend_at("/shelves/1/prose/loans", &[("content-length", &length)], untouched()).await.status, 413);
    assert_eq!(desk.lend_at("/shelves/1/prose/loans", &[("content-length", "99999999999999999999")], untouched()).await.status, 413);
}

#[tokio::test]
async fn reads_bodies_up_to_the_bound_whether_or_not_they_say_how_long_they_are() {
    let desk = desk();
    let padded = |length: usize| format!("{:length$}", loan().to_string());
    assert_eq!(desk.lend(padded(LIMIT)).await.status, 204);
    assert_eq!(desk.lend(padded(LIMIT + 1)).await.status, 413);
    let chunked = |text: String| {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> = text.as_bytes().chunks(7).map(|chunk| Ok(chunk.to_vec())).collect();
        Body::from_bytes_stream(futures_util::stream::iter(chunks))
    };
    assert_eq!(desk.lend(chunked(padded(LIMIT))).await.status, 204);
    assert_eq!(desk.lend(chunked(padded(LIMIT + 1))).await.status, 413);
    let broken = futures_util::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("gone"))]);
    assert_eq!(places(&desk.lend(Body::from_bytes_stream(broken)).await), ["body"]);
}

#[tokio::test]
async fn names_every_fault_of_a_request_at_once() {
    let desk = desk();
    let body = r#"{"days":0,"days":7,"pin":"123","note":"12345678901","to":{"email":"no","cards":[],"tags":["A","toolong"],"x":1},"weight":2147483648,"due":"yesterday","silent":1,"a/b~c":null}"#;
    let answer = desk
        .lend_at(
            "/shelves/zero/drama/loans?reader=m&reader=n&colour=red&colour=blue",
            &[("x-desk", "9"), ("receipt-key", "a b"), ("receipt-key", "c")],
            body,
        )
        .await;
    assert_eq!(
        places(&answer),
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
    assert!(desk.calls().is_empty());
}

#[tokio::test]
async fn says_what_was_expected() {
    let desk = desk();
    let detail = async |changes: Value| {
        let found = faults(&desk.lend(loan_with(changes)).await);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    for (changes, place, expected) in [
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
        (json!({ "due": "2026-11-22 08:00" }), "body/due", "expected a date and time by RFC 3339, such as 2026-01-31T12:00:00Z"),
        (json!({ "to": [] }), "body/to", "expected an object"),
        (json!({ "to": {} }), "body/to/email", "this member is missing"),
        (json!({ "to": { "email": "Momo <momo@example.org>" } }), "body/to/email", "expected an email address"),
        (
            json!({ "to": { "email": "a@b.cd", "cards": ["{01234567-89ab-7cde-8f01-23456789abcd}"] } }),
            "body/to/cards/0",
            "expected a UUID, such as 01234567-89ab-7cde-8f01-23456789abcd",
        ),
        (json!({ "to": { "email": "a@b.cd", "tags": ["x", 1] } }), "body/to/tags/1", "expected a string"),
        (json!({ "to": { "email": "a@b.cd", "tags": ["a1"] } }), "body/to/tags/0", "expected text of the form ^[a-z]+$"),
        (json!({ "colour": "red" }), "body/colour", "this member is not known here"),
    ] {
        let (at, what) = detail(changes.clone()).await;
        assert_eq!((at.as_str(), what.as_str()), (place, expected), "{changes}");
    }
    let one = "01234567-89ab-7cde-8f01-23456789abcd";
    let (_, what) = detail(json!({ "to": { "email": "a@b.cd", "cards": [one, one] } })).await;
    assert_eq!(what, "expected items that differ from each other");
    let found = faults(&desk.lend("{}").await);
    assert!(found.contains(&("body/pin".to_owned(), "this member is missing".to_owned())), "{found:?}");
    assert!(found.contains(&("body".to_owned(), "expected at least 4 members".to_owned())), "{found:?}");
    let found = faults(
        &desk
            .send(
                Method::POST,
                "/books",
                &[("authorization", "Bearer x"), ("content-type", "application/json")],
                r#"{"title":"M","shelf":9223372036854775808,"type":"globe","genre":"Prose"}"#,
            )
            .await,
    );
    assert!(found.contains(&("body/type".to_owned(), "expected one of \"book\", \"map\"".to_owned())), "{found:?}");
    assert!(found.contains(&("body/shelf".to_owned(), "expected at most 9223372036854775807".to_owned())), "{found:?}");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test]
async fn says_what_was_expected_of_parameters() {
    let desk = desk();
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
        ("limit=1&limit=1", vec![("query/limit", "this parameter is repeated")]),
        ("limit=1&lim%69t=1", vec![("query/limit", "this parameter is repeated")]),
        ("limit=%zz", vec![("query/limit", "expected UTF-8, percent-encoded where needed")]),
        ("limit=%f", vec![("query/limit", "expected UTF-8, percent-encoded where needed")]),
        ("sort=%ff", vec![("query/sort", "expected UTF-8, percent-encoded where needed")]),
        ("sort=Title", vec![("query/sort", "expected one of \"title\", \"by-age\", \"type\"")]),
        ("genre=", vec![("query/genre", "expected one of \"prose\", \"poetry\", \"non-fiction\"")]),
        ("available=1", vec![("query/available", "expected true or false")]),
        ("since=2026-11-22", vec![("query/since", "expected a date and time by RFC 3339, such as 2026-01-31T12:00:00Z")]),
        ("Limit=1", vec![("query/Limit", "this parameter is not known here")]),
        ("x=1&y=2", vec![("query/x", "this parameter is not known here"), ("query/y", "this parameter is not known here")]),
        ("%zz=1", vec![("query/%zz", "this parameter is not known here")]),
        ("a/b=1", vec![("query/a~1b", "this parameter is not known here")]),
    ] {
        let found = faults(&desk.get(&format!("/books?{query}")).await);
        let found: Vec<(&str, &str)> = found.iter().map(|(place, detail)| (place.as_str(), detail.as_str())).collect();
        assert_eq!(found, expected, "{query}");
    }
    assert_eq!(desk.get("/books?&limit=1&&").await.status, 200);

    for path in [
        "/books/1",
        "/books/0123456789ab7cde8f0123456789abcd",
        "/books/%7B01234567-89ab-7cde-8f01-23456789abcd%7D",
        "/books/%zz",
        "/books/%ff",
    ] {
        assert_eq!(places(&desk.get(path).await), ["path/book_id"], "{path}");
    }
    assert_eq!(desk.get("/books/01234567%2D89ab-7cde-8f01-23456789abcd").await.status, 200);
    // An operation without query parameters does not look at the query.
    assert_eq!(desk.get("/books/01234567-89ab-7cde-8f01-23456789abcd?utm_source=x&%zz").await.status, 200);

    let uri = "/shelves/1/prose/loans?reader=Momo";
    for (headers, place) in [
        (vec![("x-desk", "9")], "header/X-Desk"),
        (vec![("x-desk", "")], "header/X-Desk"),
        (vec![("x-desk", "1"), ("x-desk", "1")], "header/X-Desk"),
        (vec![("receipt-key", "")], "header/Receipt-Key"),
        (vec![("receipt-key", "a b")], "header/Receipt-Key"),
        (vec![("receipt-key", "é")], "header/Receipt-Key"),
    ] {
        let found = places(&desk.lend_at(uri, &headers, loan().to_string()).await);
        assert!(found.iter().all(|found| found == place) && !found.is_empty(), "{headers:?}: {found:?}");
    }
    let found = faults(&desk.lend_at("/shelves/1/prose/loans", &[], loan().to_string()).await);
    assert_eq!(found, [("query/reader".to_owned(), "this parameter is missing".to_owned())]);
    assert!(!desk.calls().is_empty());
}

#[tokio::test]
async fn refuses_what_is_no_json() {
    let desk = desk();
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
        assert_eq!(places(&desk.lend(body).await), ["body"], "{body:?}");
    }
    let answer = desk.lend(b"{\"pin\":\"\xff\"}".to_vec()).await;
    assert_eq!(faults(&answer), [("body".to_owned(), "expected JSON in UTF-8; byte 8 is not UTF-8".to_owned())]);
    for body in ["null", "1", "\"x\"", "[]", "true"] {
        assert_eq!(faults(&desk.lend(body).await), [("body".to_owned(), "expected an object".to_owned())], "{body}");
    }
    let deep = format!("{{\"days\":{}{}}}", "[".repeat(400), "]".repeat(400));
    let found = faults(&desk.lend(deep).await);
    assert_eq!(found.len(), 1);
    assert!(found[0].0.starts_with("body/days/0/0") && found[0].1.starts_with("expected at most 64"), "{found:?}");
}

#[tokio::test]
async fn refuses_repeated_keys_at_any_depth() {
    let desk = desk();
    for (body, place) in [
        (r#"{"days":7,"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd"}}"#, "body/days"),
        (r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd","email":"a@b.cd"}}"#, "body/to/email"),
        (r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd","em\u0061il":"a@b.cd"}}"#, "body/to/email"),
    ] {
        assert_eq!(faults(&desk.lend(body).await), [(place.to_owned(), "this member is repeated".to_owned())], "{body}");
    }
    let found =
        places(&desk.lend(r#"{"days":7,"pin":"4711","note":null,"to":{"email":"a@b.cd"},"x":[{"y":1,"y":1,"y":{"z":1,"z":1}}]}"#).await);
    // Of a member that is not known no more is said than that.
    assert_eq!(found, ["body/x"]);
    assert!(desk.calls().is_empty());
}

#[tokio::test]
async fn never_shows_a_value() {
    let desk = desk();
    let secret = "hunter2hunter2";
    for body in [
        format!(
            r#"{{"days":"{secret}","pin":"{secret}","note":"{secret}","to":"{secret}","weight":"{secret}","due":"{secret}","silent":"{secret}","x":"{secret}"}}"#
        ),
        format!(r#"{{"pin":"{secret}","pin":"{secret}"}}"#),
        format!(r#"{{"pin":"{secret}"#),
        format!(r#"{{"pin":{secret}}}"#),
        format!(r#"{{"to":{{"email":"{secret}","cards":["{secret}"],"tags":["{secret}","{secret}"]}}}}"#),
        format!("\"{secret}\""),
        format!("[\"{secret}\"] {secret}"),
        secret.to_owned(),
    ] {
        let uri = format!("/shelves/{secret}/{secret}/loans?reader={secret}&reader={secret}&colour={secret}");
        let answer = desk.lend_at(&uri, &[("x-desk", secret), ("receipt-key", secret)], body.clone()).await;
        assert_eq!(answer.status, 400);
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
    let answer =
        desk.get(&format!("/books?limit={secret}&since={secret}&shelf={secret}&genre={secret}&sort={secret}&available={secret}")).await;
    assert_eq!(places(&answer).len(), 6);
    assert!(!answer.text.contains(secret), "{}", answer.text);
    assert!(!desk.get(&format!("/books/{secret}")).await.text.contains(secret));
}

#[tokio::test]
async fn what_the_schema_accepts_the_types_can_hold() {
    let desk = desk();
    let times = [
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2026-06-30T23:59:60Z",
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00+23:59",
        "2026-01-01T00:00:00.123456789123Z",
        "2026-01-01T00:00:00-00:00",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00+23:59",
    ];
    for time in times {
        let answer = desk.lend(loan_with(json!({ "due": time }))).await;
        // Refused or held, but never a fault of the server.
        assert!([204, 400].contains(&answer.status), "{time}: {}", answer.text);
        assert!(!answer.text.contains("can hold"), "{time}: {}", answer.text);
    }
    for uuid in ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"] {
        assert_eq!(desk.get(&format!("/books/{uuid}")).await.status, 200);
    }
    for number in [i64::from(i32::MIN), -1, 0, i64::from(i32::MAX)] {
        assert_eq!(desk.lend(loan_with(json!({ "weight": number }))).await.status, 204);
    }
    let add = async |shelf: &str| {
        desk.send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            format!(r#"{{"title":"M","shelf":{shelf},"type":"map"}}"#),
        )
        .await
        .status
    };
    assert_eq!(
        (add("9223372036854775807").await, add("9223372036854775808").await, add("18446744073709551616").await, add("1e3").await),
        (201, 400, 400, 400)
    );
}

#[tokio::test]
async fn the_least_document_is_served_and_emitted_too() {
    use poem::{Endpoint as _, Request};

    let limits = poem_contract_runtime::Limits { body_bytes: 0 };
    let endpoint = minimal::server::api(std::sync::Arc::new(minimal::Pong), std::sync::Arc::new(Shown), limits);
    // An operation without a body does not read one, whatever comes.
    let request = |method: Method, path: &str| Request::builder().method(method).uri_str(path).body("ignored");
    assert_eq!(endpoint.get_response(request(Method::POST, "/ping?x=1")).await.status(), 204);
    assert_eq!(endpoint.get_response(request(Method::HEAD, "/ping")).await.status(), 405);
    assert_eq!(endpoint.get_response(request(Method::POST, "/")).await.status(), 404);
    let document: Value = serde_norway::from_str(include_str!("golden/minimal.yaml")).expect("YAML");
    let emitted = serde_json::from_str(&minimal::server::spec_json::<minimal::Pong>()).expect("JSON");
    assert_eq!(poem_contract::drift::compare(&document, &emitted), []);
}
