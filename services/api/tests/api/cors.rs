//! Requests of scripts on other origins, as browsers send them. A browser's own view of it is
//! `contract-tests/tests/browser/cors.rs`.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{Answer, Api};

const SHOP: &str = "https://shop.example";
const OTHER: &str = "https://other.example";
const EXPOSED: &str = "ETag, Location, Retry-After, X-Request-Id";
/// Every header of CORS that an answer can have.
const ALL: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
];

async fn api(origins: &str) -> Api {
    Api::start_with(|config| {
        config.cors_origins = origins.parse().unwrap();
        config.body_limit = 100;
        config.request_timeout = Duration::from_millis(500);
        config.call_deadline = Duration::from_millis(400);
    })
    .await
}

fn preflight(api: &Api, path: &str, origin: &str, method: &str) -> RequestBuilder {
    api.request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,content-type,idempotency-key")
}

fn varies(answer: &Answer) -> bool {
    answer.headers.get_all("vary").iter().any(|value| value == "Origin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_of_an_allowed_origin_is_answered_for_every_path() {
    let api = api("https://first.example,https://shop.example:443").await;
    for (path, method) in
        [("/orders", "POST"), ("/users/x", "PATCH"), ("/nowhere", "GET"), ("/docs", "GET")]
    {
        let answer = Answer::of(preflight(&api, path, SHOP, method)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-max-age"), Some("7200"));
        let list = |name| answer.header(name).unwrap().to_lowercase();
        for method in ["get", "head", "post", "put", "patch", "delete"] {
            assert!(list("access-control-allow-methods").split(", ").any(|one| one == method));
        }
        for name in [
            "authorization",
            "content-type",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "x-request-id",
            "traceparent",
        ] {
            assert!(
                list("access-control-allow-headers").split(", ").any(|one| one == name),
                "{name}"
            );
        }
        assert!(varies(&answer));
    }
    // Without the question it is a method that the path does not have.
    let answer = Answer::of(api.request(Method::OPTIONS, "/orders").header("origin", SHOP)).await;
    answer.assert_problem(405, "method_not_allowed");
    assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
    // Another origin learns nothing, and neither does one that differs in a letter.
    for origin in [
        OTHER,
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil",
        "null",
    ] {
        let answer = Answer::of(preflight(&api, "/orders", origin, "POST")).await;
        answer.assert_problem(405, "method_not_allowed");
        assert!(ALL.iter().all(|name| answer.header(name).is_none()), "{origin}: {answer:?}");
        assert!(varies(&answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_can_be_read_by_an_allowed_origin() {
    let api = api(SHOP).await;
    let large = json!({"username": "alice", "password": "x".repeat(100)});
    api.db.get_product.hangs();
    let get = |path: &str| api.request(Method::GET, path);
    for (request, status) in [
        (get("/"), 200),
        (get("/docs"), 200),
        (get("/openapi.json"), 200),
        (get("/products/zero"), 400),
        (get("/").header("host", "a, b"), 400),
        (get("/orders"), 401),
        (get("/nowhere"), 404),
        (api.request(Method::DELETE, "/products/1"), 405),
        (api.request(Method::POST, "/login").json(&large), 413),
        (api.request(Method::POST, "/login").body("x"), 415),
        (get("/").header("x-large", "x".repeat(20_000)), 431),
        (get("/products"), 500),
        (get("/products/1"), 503),
    ] {
        // The store's own pages and other programs are served as ever.
        for origin in [Some(SHOP), Some(OTHER), None] {
            let request = request.try_clone().unwrap();
            let request = match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            let answer = Answer::of(request).await;
            assert_eq!(answer.status, status, "{origin:?}");
            let allowed = (origin == Some(SHOP)).then_some(SHOP);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{status}");
            let exposed = allowed.map(|_| EXPOSED);
            assert_eq!(answer.header("access-control-expose-headers"), exposed, "{status}");
            let credentials = allowed.map(|_| "true");
            assert_eq!(answer.header("access-control-allow-credentials"), credentials, "{status}");
            assert!(varies(&answer), "{status} {origin:?}");
            // Nothing that another origin may have is in a cache by accident.
            assert_eq!(
                answer.headers.get_all("access-control-allow-origin").iter().count(),
                usize::from(allowed.is_some())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_log_in_can_be_read_by_an_allowed_origin() {
    let once = merch_api::Rate::new(1.try_into().unwrap(), Duration::from_secs(60));
    let api = Api::start_with(|config| {
        config.cors_origins = SHOP.parse().unwrap();
        config.log_ins_per_address = once;
    })
    .await;
    let body = json!({"username": "alice", "password": "wrong"});
    api.db.knows(uuid::Uuid::now_v7(), "right");
    let log_in = || api.request(Method::POST, "/login").header("origin", SHOP).json(&body);
    Answer::of(log_in()).await.assert_problem(401, "invalid_credentials");
    let answer = Answer::of(log_in()).await;
    answer.assert_problem(429, "too_many_attempts");
    assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(answer.header("access-control-expose-headers"), Some(EXPOSED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_origin_is_allowed_without_credentials() {
    let api = api("*").await;
    let answer = Answer::of(preflight(&api, "/orders", OTHER, "POST")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    let answer = Answer::of(api.request(Method::GET, "/orders").header("origin", "null")).await;
    answer.assert_problem(401, "token_missing");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-expose-headers"), Some(EXPOSED));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(!varies(&answer), "the answer is the same for every origin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_no_other_origin_is_allowed() {
    let api = Api::start().await;
    let answer = Answer::of(preflight(&api, "/products", OTHER, "GET")).await;
    answer.assert_problem(405, "method_not_allowed");
    for answer in [answer, Answer::of(api.request(Method::GET, "/").header("origin", OTHER)).await]
    {
        assert!(
            ALL.iter().all(|name| answer.header(name).is_none()) && !varies(&answer),
            "{answer:?}"
        );
    }
}
