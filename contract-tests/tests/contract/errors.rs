//! Rules that all responses share, and requests outside of operations.

use merch_test_store::{TestStore, TestUser, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

/// Every operation with a body: method, path, valid body.
fn with_body(user: &TestUser<'_>) -> Vec<(Method, String, Value)> {
    vec![
        (
            Method::POST,
            "/users".to_owned(),
            json!({ "sid": "1", "username": "unregistered", "email": "a@example.com", "password": "8 chars!" }),
        ),
        (
            Method::POST,
            "/login".to_owned(),
            json!({ "username": "unregistered", "password": "8 chars!" }),
        ),
        (Method::PATCH, user.path(), json!({})),
        (
            Method::PUT,
            format!("{}/password", user.path()),
            json!({ "current_password": "x", "new_password": "8 chars!" }),
        ),
        (Method::POST, "/orders".to_owned(), json!({ "product_id": 1, "quantity": 1 })),
    ]
}

on_both_databases! {
    async fn unknown_paths_are_404(store: &TestStore) {
        for path in [
            "/nowhere",
            "/users/",
            "/orders/a/b/c",
            "/products/1/",
            "//",
            "/Users",
            "/orders%2f1",
            "/docs/nowhere",
            "/%",
            "/openapi.yml",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                // Routing does not depend on the method or the caller.
                store.call(method, path).await.problem(404, "route_not_found");
            }
        }
    }

    async fn undeclared_methods_are_405(store: &TestStore) {
        let id = uuid::Uuid::now_v7();
        for (path, allow) in [
            ("/".to_owned(), "GET, HEAD"),
            ("/users".to_owned(), "POST"),
            ("/login".to_owned(), "POST"),
            ("/logout".to_owned(), "POST"),
            (format!("/users/{id}"), "DELETE, GET, HEAD, PATCH"),
            (format!("/users/{id}/password"), "PUT"),
            ("/products".to_owned(), "GET, HEAD"),
            ("/products/1".to_owned(), "GET, HEAD"),
            ("/orders".to_owned(), "GET, HEAD, POST"),
            (format!("/orders/{id}"), "GET, HEAD"),
            (format!("/orders/{id}/cancel"), "POST"),
            ("/docs".to_owned(), "GET, HEAD"),
            ("/openapi.yaml".to_owned(), "GET, HEAD"),
        ] {
            let allowed: Vec<&str> = allow.split(", ").collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                if allowed.contains(&method) {
                    continue;
                }
                // Routing does not depend on a token.
                let answer = store.call(method.parse().unwrap(), &path).await;
                answer.problem(405, "method_not_allowed");
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            }
        }
    }

    async fn oversized_bodies_are_413(store: &TestStore) {
        let alice = store.user().await;
        let limit = store.options().body_limit;
        for (method, path, body) in with_body(&alice) {
            let padding = " ".repeat(limit + 1 - body.to_string().len());
            let answer = alice
                .call(method.clone(), &path)
                .body("application/json", format!("{body}{padding}"))
                .await;
            assert!(
                answer.problem(413, "body_too_large")["detail"]
                    .as_str()
                    .unwrap()
                    .contains(&limit.to_string())
            );
            // The server does not read the rest, so the connection cannot be reused.
            assert_eq!(answer.header("connection"), "close");
            // The limit also applies without a declared length.
            let chunks = (0..limit / 1000 + 1).map(|_| Ok::<_, std::io::Error>(" ".repeat(1000)));
            let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
            alice
                .call(method, &path)
                .body("application/json", chunked)
                .await
                .problem(413, "body_too_large");
        }
        // The limit itself is allowed.
        let body = json!({ "product_id": 1, "quantity": 4 }).to_string();
        let padding = " ".repeat(limit - body.len());
        assert_eq!(
            alice
                .post("/orders")
                .body("application/json", format!("{body}{padding}"))
                .await
                .faults(),
            ["body /quantity"]
        );
    }

    async fn other_media_types_are_415(store: &TestStore) {
        let alice = store.user().await;
        for (method, path, body) in with_body(&alice) {
            for content_type in [
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/jsonx",
                "application/problem+json",
                "json",
                "application/*",
            ] {
                alice
                    .call(method.clone(), &path)
                    .body(content_type, body.to_string())
                    .await
                    .problem(415, "unsupported_media_type");
            }
            alice
                .call(method.clone(), &path)
                .untyped_body(body.to_string())
                .await
                .problem(415, "unsupported_media_type");
        }
        for content_type in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/json;charset=\"UTF-8\"",
        ] {
            let answer = alice
                .post("/orders")
                .body(content_type, json!({ "product_id": 1, "quantity": 4 }).to_string())
                .await;
            assert_eq!(answer.faults(), ["body /quantity"], "{content_type}");
        }
    }

    async fn malformed_json_is_400(store: &TestStore) {
        let alice = store.user().await;
        for (method, path, _) in with_body(&alice) {
            for body in [
                "",
                " ",
                "{",
                "{]",
                "nul",
                "{\"a\":1,}",
                "{'a':1}",
                "{\"a\":1} x",
                "\u{feff}{}",
                "{\"a\":NaN}",
                "[1",
                "\"\u{1}\"",
            ] {
                assert_eq!(
                    alice
                        .call(method.clone(), &path)
                        .body("application/json", body.to_owned())
                        .await
                        .faults(),
                    ["body "],
                    "{body:.40}"
                );
            }
            assert_eq!(
                alice
                    .call(method.clone(), &path)
                    .body("application/json", b"{\"a\":\"\xff\"}".to_vec())
                    .await
                    .faults(),
                ["body "]
            );
        }
        // Too deep to parse; the fault names the position.
        let deep =
            alice.post("/orders").body("application/json", "[".repeat(10_000)).await.faults();
        assert!(deep.len() == 1 && deep[0].starts_with("body /0/0"), "{deep:?}");
    }

    async fn duplicate_members_are_400(store: &TestStore) {
        let alice = store.user().await;
        let body = r#"{ "product_id": 1, "quantity": 1, "quantity": 1, "product_id": 2 }"#;
        let faults = alice.post("/orders").body("application/json", body).await.faults();
        assert_eq!(faults, ["body /product_id", "body /quantity"]);
        // An escaped name is the same member.
        let escaped = r#"{ "product_id": 1, "quantity": 1, "quantit\u0079": 3 }"#;
        assert_eq!(
            alice.post("/orders").body("application/json", escaped).await.faults(),
            ["body /quantity"]
        );
        assert_eq!(store.sql_integer("SELECT count(*) FROM orders").await, 0);
    }

    async fn fault_pointers_are_escaped(store: &TestStore) {
        let alice = store.user().await;
        let body = json!({ "product_id": 1, "quantity": 1, "a/b": 1, "c~d": 1, "": 1 });
        assert_eq!(
            alice.post("/orders").json(&body).await.faults(),
            ["body /", "body /a~1b", "body /c~0d"]
        );
    }

    async fn faults_of_all_parts_are_reported_together(store: &TestStore) {
        let alice = store.user().await;
        let call =
            alice.post("/orders").header("idempotency-key", "a b").json(&json!({ "quantity": 9 }));
        assert_eq!(
            call.await.faults(),
            ["body /product_id", "body /quantity", "header /Idempotency-Key"]
        );
        let call = alice
            .call(Method::PATCH, "/users/unregistered")
            .json(&json!({ "username": "", "x": 1 }));
        assert_eq!(call.await.faults(), ["body /username", "body /x", "path /user_id"]);
    }

    async fn problems_do_not_echo_input(store: &TestStore) {
        let alice = store.user().await;
        let secret = "s3cr3t-hunter2";
        let calls = vec![
            alice.post("/orders").json(&json!({ "product_id": secret, "quantity": [secret], "x": secret })),
            alice.post("/orders").body("application/json", format!("{{\"product_id\": {secret}}}")),
            alice.post("/orders").header("idempotency-key", format!("{secret} x")).json(&json!({})),
            alice.get(format!("/orders?status={secret}&limit={secret}&page_token={secret}")),
            alice.get("/orders").header("if-none-match", secret),
            alice.get(alice.path()).header("if-none-match", secret),
            alice.call(Method::PUT, format!("{}/password", alice.path())).json(&json!({ "current_password": secret, "new_password": "short" })),
            alice.log_in(secret),
            store.post("/login").json(&json!({ "username": format!("{secret} "), "password": "x" })),
            store.get("/orders").header("authorization", format!("Bearer {secret}")),
            store.post("/users").json(&json!({ "sid": "1", "username": "unregistered", "email": format!("{secret}@"), "password": "short" })),
        ];
        for call in calls {
            let answer = call.await;
            let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            assert!(!text.contains(secret), "{answer}");
        }
        store.expect_events(["log_in_failed", "token_refused"]);
    }

    async fn request_ids(store: &TestStore) {
        let longest = "x".repeat(128);
        for taken in ["a", "0198c0de-7e57-7000-8000-00000000000f", "A.b_c:d-9", longest.as_str()] {
            assert_eq!(
                store.get("/").header("x-request-id", taken).await.header("x-request-id"),
                taken
            );
            let problem = store
                .get("/products/999")
                .header("x-request-id", taken)
                .await
                .problem(404, "product_not_found");
            assert_eq!(problem["request_id"], taken);
        }
        let too_long = "x".repeat(129);
        for other in ["", "a b", "a,b", "<script>", "\u{e9}", too_long.as_str()] {
            let id = store
                .get("/")
                .header("x-request-id", other)
                .await
                .header("x-request-id")
                .to_owned();
            assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 7, "{other:?}");
        }
        let id = store
            .get("/")
            .header("x-request-id", "a")
            .header("x-request-id", "b")
            .await
            .header("x-request-id")
            .to_owned();
        assert!(id.parse::<uuid::Uuid>().is_ok());
        assert_ne!(
            store.get("/").await.header("x-request-id"),
            store.get("/").await.header("x-request-id")
        );
    }

    #[with(|options| options.header_limit = 2048)]
    async fn oversized_headers_are_431(store: &TestStore) {
        store.get("/").header("x-padding", "x".repeat(1500)).await.expect(200);
        store
            .get("/")
            .header("x-padding", "x".repeat(2048))
            .await
            .problem(431, "headers_too_large");
        store
            .get(format!("/products?page_token={}", "x".repeat(2048)))
            .await
            .problem(431, "headers_too_large");
        store
            .get("/nowhere")
            .header("x-padding", "x".repeat(2048))
            .await
            .problem(431, "headers_too_large");
    }

    async fn head_returns_get_headers_without_a_body(store: &TestStore) {
        let alice = store.user().await;
        for path in [
            "/".to_owned(),
            "/products".to_owned(),
            "/products/1".to_owned(),
            alice.path(),
            "/orders".to_owned(),
            "/docs".to_owned(),
        ] {
            let (get, head) = (
                alice.get(&path).await.expect(200),
                alice.call(Method::HEAD, &path).await.expect(200),
            );
            assert_eq!(
                (head.body.len(), head.header("content-type")),
                (0, get.header("content-type")),
                "{path}"
            );
            assert_eq!(head.headers.get("etag"), get.headers.get("etag"), "{path}");
        }
        assert_eq!(alice.call(Method::HEAD, "/products/999").await.status, 404);
        assert_eq!(store.call(Method::HEAD, "/orders").await.status, 401);
        store.expect_events(["token_refused"]);
    }

    async fn user_responses_are_not_cached(store: &TestStore) {
        let alice = store.user().await;
        for call in [
            alice.get(alice.path()),
            alice.get("/orders"),
            alice.log_in(TestUser::PASSWORD),
            store.get("/nowhere"),
        ] {
            let answer = call.await;
            assert_eq!(answer.header("cache-control"), "no-store", "{answer}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
        // The catalogue is cacheable with revalidation.
        assert_eq!(store.get("/products/1").await.header("cache-control"), "no-cache");
        store.expect_events(["user_logged_in"]);
    }

    async fn missing_database_is_503(store: &TestStore) {
        let alice = store.user().await;
        store.stop_db().await;
        let id = uuid::Uuid::now_v7();
        for (method, path, body) in with_body(&alice) {
            let answer = alice.call(method, path).json(&body).await;
            answer.problem(503, "unavailable");
            answer.header("retry-after");
        }
        for (method, path) in [
            (Method::POST, "/logout".to_owned()),
            (Method::GET, alice.path()),
            (Method::DELETE, alice.path()),
            (Method::GET, "/orders".to_owned()),
            (Method::GET, format!("/orders/{id}")),
            (Method::POST, format!("/orders/{id}/cancel")),
        ] {
            let answer = alice.call(method, path).await;
            answer.problem(503, "unavailable");
            answer.header("retry-after");
        }
    }
}

/// Requests that no HTTP client sends.
mod raw {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    /// Sends bytes and reads until the server closes.
    async fn exchange(store: &TestStore, request: &str) -> String {
        let mut stream =
            TcpStream::connect(store.url().strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(merch_test_store::TIMEOUT, stream.read_to_end(&mut answer))
            .await
            .expect("the server closes the connection")
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    on_both_databases! {
        async fn malformed_http_is_400_and_closes_the_connection(store: &TestStore) {
            for request in [
                "nonsense\r\n\r\n",
                "GET / HTTP/9.9\r\n\r\n",
                "GET  HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
            ] {
                let answer = exchange(store, request).await;
                assert!(
                    answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
                    "{request:?}: {answer}"
                );
            }
        }

        async fn truncated_bodies_change_nothing(store: &TestStore) {
            let alice = store.user().await;
            let body = r#"{ "product_id": 1, "quantity": 1 }"#;
            let request = format!(
                "POST /orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
                 content-type: application/json\r\ncontent-length: 1000\r\n\r\n{body}",
                alice.token
            );
            let mut stream =
                TcpStream::connect(store.url().strip_prefix("http://").unwrap()).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(!String::from_utf8_lossy(&answer).contains(" 201 "));
            assert_eq!(store.sql_integer("SELECT count(*) FROM orders").await, 0);
        }
    }
}
