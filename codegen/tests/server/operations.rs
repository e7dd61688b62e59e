//! Tests the values that operations receive, their responses, and rejections.

use poem::{Body, http::Method};
use serde_json::{Value, json};

use crate::{
    faults::locations,
    library::{server::*, *},
    minimal,
};

#[tokio::test]
async fn operations_receive_sent_values_and_defaults() {
    let server = test_server();
    assert_eq!(server.get("/books").await.status, 200);
    assert_eq!(server.calls(), ["(20, None, None, None, Title, None, false)"]);
    let answer = server
        .get("/books?limit=7&since=2026-11-22T08:00:00.5%2B08:00&shelf=9223372036854775807&genre=non-fiction&sort=by-age&type=x&available=true")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        server.calls(),
        ["(7, Some(2026-11-22 8:00:00.5 +08:00:00), Some(9223372036854775807), Some(NonFiction), \
          ByAge, Some(\"x\"), true)"]
    );

    let id = "01234567-89ab-7cde-8f01-23456789abcd";
    assert_eq!(
        server
            .send(
                Method::GET,
                &format!("/books/{id}"),
                &[("if-none-match", "\"1\""), ("If-None-Match", "W/\"2\"")],
                ()
            )
            .await
            .status,
        200
    );
    assert_eq!(server.calls(), [format!("({id}, Some(\"\\\"1\\\", W/\\\"2\\\"\"))")]);

    let body = loan_with(
        json!({ "weight": -2147483648, "due": "2026-11-22T08:00:00Z", "silent": true, "note": "é✓", "to": { "email": "a@b.cd", "cards": [id], "tags": ["x"] } }),
    );
    let answer = server
        .lend_at(
            "/shelves/2147483647/poetry/loans?reader=%C3%89mile+Z",
            &[("X-DESK", "8"), ("receipt-key", "!~")],
            body,
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let calls = server.calls();
    assert!(
        calls[0].starts_with(
            "(ReaderCard(Token([redacted])), Poetry, 2147483647, \"Émile Z\", Some(8), \
             Some(\"!~\"), Loan { days: 14, pin: \"[redacted]\""
        ),
        "{calls:?}"
    );
    assert!(
        calls[0].contains("weight: Some(-2147483648)")
            && calls[0].contains("silent: Some(true)")
            && calls[0].contains("Some(\"é✓\")"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn every_declared_response_is_written() {
    let server = test_server();
    let problem = || Problem { code: "no".to_owned(), faults: vec![] }.into();

    let answer = server.get("/books").await;
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("x-total")),
        (200, Some("application/json"), None)
    );
    assert_eq!(
        answer.json(),
        json!({ "items": [{ "id": "00000000-0000-0000-0000-000000000001", "title": "Momo", "genre": "non-fiction", "shelf": i64::MAX, "added_at": "1970-01-01T00:00:00Z", "lent_until": null, "type": "book" }], "next_page": null })
    );
    *server.library.list.lock().expect("a lock") = Some(ListBooksResponse::Ok {
        body: BookPage { items: vec![], next_page: Some("2".to_owned()) }.into(),
        x_total: Some(3),
    });
    let answer = server.get("/books").await;
    assert_eq!(
        (answer.header("x-total"), answer.json()),
        (Some("3"), json!({ "items": [], "next_page": "2" }))
    );
    *server.library.list.lock().expect("a lock") =
        Some(ListBooksResponse::BadRequest { body: problem() });
    let answer = server.get("/books").await;
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.json()),
        (400, Some("application/problem+json"), json!({ "code": "no", "faults": [] }))
    );

    let add = || {
        server.send(
            Method::POST,
            "/books",
            &[("authorization", "Bearer x"), ("content-type", "application/json")],
            r#"{"title":"M","shelf":0,"type":"map"}"#,
        )
    };
    let answer = add().await;
    assert_eq!(
        (answer.status, answer.header("location"), answer.header("etag")),
        (201, Some("/books/1"), Some("\"1\""))
    );
    for (response, status) in [
        (AddBookResponse::BadRequest { body: problem() }, 400),
        (AddBookResponse::PayloadTooLarge { body: problem() }, 413),
        (AddBookResponse::UnsupportedMediaType { body: problem() }, 415),
        (
            AddBookResponse::Unauthorized {
                body: problem(),
                www_authenticate: "Bearer".to_owned(),
            },
            401,
        ),
    ] {
        *server.library.add.lock().expect("a lock") = Some(response);
        assert_eq!(add().await.status, status);
    }
    assert_eq!(add().await.header("www-authenticate"), Some("Bearer"));

    *server.library.get.lock().expect("a lock") =
        Some(GetBookResponse::NotModified { etag: "\"2\"".to_owned() });
    let answer = server.get("/books/01234567-89ab-7cde-8f01-23456789abcd").await;
    assert_eq!(
        (answer.status, answer.header("etag"), answer.header("content-type"), answer.text.as_str()),
        (304, Some("\"2\""), None, "")
    );
    // An operation's 404 is passed on.
    *server.library.get.lock().expect("a lock") =
        Some(GetBookResponse::NotFound { body: problem() });
    let answer = server.get("/books/01234567-89ab-7cde-8f01-23456789abcd").await;
    assert_eq!((answer.status, answer.json()), (404, json!({ "code": "no", "faults": [] })));

    assert_eq!(server.lend(loan().to_string()).await.status, 204);
    *server.library.lend.lock().expect("a lock") =
        Some(LendResponse::ServiceUnavailable { retry_after: 30 });
    let answer = server.lend(loan().to_string()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_rejected() {
    let server = test_server();
    for path in [
        "/",
        "/book",
        "/books/",
        "/books//",
        "//books",
        "/books/1/2",
        "/shelves/1/loans",
        "/%62ooks",
        "/BOOKS",
        "/openapi.json",
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!("unknown route")), "{path}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/books", json!(["GET", "HEAD", "POST"])),
        (Method::OPTIONS, "/books", json!(["GET", "HEAD", "POST"])),
        (Method::PUT, "/books/01234567-89ab-7cde-8f01-23456789abcd", json!(["GET", "HEAD"])),
        // 405 precedes 400: the invalid UUID does not matter.
        (Method::POST, "/books/x", json!(["GET", "HEAD"])),
        (Method::GET, "/shelves/1/prose/loans", json!(["PUT"])),
        (Method::HEAD, "/shelves/1/prose/loans", json!(["PUT"])),
    ] {
        let answer = server.send(method.clone(), path, &[], ()).await;
        assert_eq!((answer.status, answer.json()), (405, allowed), "{method} {path}");
    }
    let answer = server.send(Method::HEAD, "/books", &[], ()).await;
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
async fn rejections_are_ordered_401_415_413_400() {
    let server = test_server();
    let too_long = "x".repeat(LIMIT + 1);
    let uri = "/shelves/0/prose/loans";
    let answer =
        server.send(Method::PUT, uri, &[("content-type", "text/plain")], too_long.clone()).await;
    assert_eq!((answer.status, answer.json()), (401, json!("missing")));
    for (value, reason) in
        [("Basic eDp5", "wrong scheme"), ("Bearer", "malformed"), ("Bearer a b", "malformed")]
    {
        let answer = server.send(Method::PUT, uri, &[("authorization", value)], ()).await;
        assert_eq!((answer.status, answer.json()), (401, json!(reason)), "{value}");
    }
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(server.send(Method::PUT, uri, &twice, ()).await.json(), json!("repeated"));

    let card = ("authorization", "bearer card");
    for media_type in [
        None,
        Some("text/plain"),
        Some("application/jsonp"),
        Some("application/json; charset=latin1"),
    ] {
        let headers: Vec<_> =
            [card].into_iter().chain(media_type.map(|value| ("content-type", value))).collect();
        let answer = server.send(Method::PUT, uri, &headers, too_long.clone()).await;
        assert_eq!(
            (answer.status, answer.json()),
            (415, json!("application/json")),
            "{media_type:?}"
        );
    }
    let two = [card, ("content-type", "application/json"), ("content-type", "application/json")];
    assert_eq!(server.send(Method::PUT, uri, &two, loan().to_string()).await.status, 415);

    let answer = server.lend_at(uri, &[("content-encoding", "gzip")], too_long.clone()).await;
    assert_eq!((answer.status, answer.json()), (415, json!("identity")));

    let answer = server.lend_at(uri, &[], too_long).await;
    assert_eq!((answer.status, answer.json()), (413, json!(LIMIT)));
    assert_eq!(locations(&server.lend_at(uri, &[], "{}").await).len(), 7);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn early_rejections_do_not_read_the_body() {
    let server = test_server();
    let untouched = || {
        Body::from_bytes_stream(futures_util::stream::poll_fn(
            |_| -> std::task::Poll<Option<Result<Vec<u8>, std::io::Error>>> {
                panic!("the body was read")
            },
        ))
    };
    assert_eq!(
        server
            .send(
                Method::PUT,
                "/shelves/1/prose/loans",
                &[("content-type", "application/json")],
                untouched()
            )
            .await
            .status,
        401
    );
    assert_eq!(
        server
            .send(
                Method::PUT,
                "/shelves/1/prose/loans",
                &[("authorization", "Bearer x")],
                untouched()
            )
            .await
            .status,
        415
    );
    let length = (LIMIT + 1).to_string();
    assert_eq!(
        server
            .lend_at("/shelves/1/prose/loans", &[("content-length", &length)], untouched())
            .await
            .status,
        413
    );
    assert_eq!(
        server
            .lend_at(
                "/shelves/1/prose/loans",
                &[("content-length", "99999999999999999999")],
                untouched()
            )
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn body_limit_applies_with_and_without_content_length() {
    let server = test_server();
    let padded = |length: usize| format!("{:length$}", loan().to_string());
    assert_eq!(server.lend(padded(LIMIT)).await.status, 204);
    assert_eq!(server.lend(padded(LIMIT + 1)).await.status, 413);
    let chunked = |text: String| {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            text.as_bytes().chunks(7).map(|chunk| Ok(chunk.to_vec())).collect();
        Body::from_bytes_stream(futures_util::stream::iter(chunks))
    };
    assert_eq!(server.lend(chunked(padded(LIMIT))).await.status, 204);
    assert_eq!(server.lend(chunked(padded(LIMIT + 1))).await.status, 413);
    let broken =
        futures_util::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("gone"))]);
    assert_eq!(locations(&server.lend(Body::from_bytes_stream(broken)).await), ["body"]);
}

#[tokio::test]
async fn valid_values_fit_the_rust_types() {
    let server = test_server();
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
        let answer = server.lend(loan_with(json!({ "due": time }))).await;
        // Either is correct, but not a server error.
        assert!([204, 400].contains(&answer.status), "{time}: {}", answer.text);
        assert!(!answer.text.contains("can hold"), "{time}: {}", answer.text);
    }
    for uuid in ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"] {
        assert_eq!(server.get(&format!("/books/{uuid}")).await.status, 200);
    }
    for number in [i64::from(i32::MIN), -1, 0, i64::from(i32::MAX)] {
        assert_eq!(server.lend(loan_with(json!({ "weight": number }))).await.status, 204);
    }
    let add = async |shelf: &str| {
        server
            .send(
                Method::POST,
                "/books",
                &[("authorization", "Bearer x"), ("content-type", "application/json")],
                format!(r#"{{"title":"M","shelf":{shelf},"type":"map"}}"#),
            )
            .await
            .status
    };
    assert_eq!(
        (
            add("9223372036854775807").await,
            add("9223372036854775808").await,
            add("18446744073709551616").await,
            add("1e3").await
        ),
        (201, 400, 400, 400)
    );
}

#[tokio::test]
async fn minimal_document_is_served_and_emitted() {
    use poem::{Endpoint as _, Request};

    let limits = poem_contract_runtime::Limits { body_bytes: 0 };
    let endpoint = minimal::server::api(
        std::sync::Arc::new(minimal::Pong),
        std::sync::Arc::new(DebugRejections),
        limits,
    );
    // An operation without a body does not read it.
    let request = |method: Method, path: &str| {
        Request::builder().method(method).uri_str(path).body("ignored")
    };
    assert_eq!(endpoint.get_response(request(Method::POST, "/ping?x=1")).await.status(), 204);
    assert_eq!(endpoint.get_response(request(Method::HEAD, "/ping")).await.status(), 405);
    assert_eq!(endpoint.get_response(request(Method::POST, "/")).await.status(), 404);
    let document: Value =
        serde_norway::from_str(include_str!("../golden/minimal.yaml")).expect("YAML");
    let emitted =
        serde_json::from_str(&minimal::server::spec_json::<minimal::Pong>()).expect("JSON");
    assert_eq!(poem_contract::drift::compare(&document, &emitted), []);
}
