//! Requests of scripts from other origins. `contract-tests/tests/browser/cors.rs` tests with a real
//! browser.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{Api, TestResponse};

const SHOP: &str = "https://shop.example";
const OTHER: &str = "https://other.example";
const EXPOSED: &str = "ETag, Location, Retry-After, X-Request-Id";
/// All CORS headers of a response.
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

fn varies(response: &TestResponse) -> bool {
    response.headers.get_all("vary").iter().any(|value| value == "Origin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_of_an_allowed_origin_succeeds_on_every_path() {
    let api = api("https://first.example,https://shop.example:443").await;
    for (path, method) in
        [("/orders", "POST"), ("/users/x", "PATCH"), ("/nowhere", "GET"), ("/docs", "GET")]
    {
        let response = TestResponse::of(preflight(&api, path, SHOP, method)).await;
        assert_eq!((response.status, response.body.len()), (204, 0), "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some(SHOP));
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(response.header("access-control-max-age"), Some("7200"));
        let list = |name| response.header(name).unwrap().to_lowercase();
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
        assert!(varies(&response));
    }
    // Without `Access-Control-Request-Method` it is an OPTIONS request, which the path does not
    // support.
    let response =
        TestResponse::of(api.request(Method::OPTIONS, "/orders").header("origin", SHOP)).await;
    response.assert_problem(405, "method_not_allowed");
    assert_eq!(response.header("access-control-allow-origin"), Some(SHOP));
    for origin in [
        OTHER,
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil",
        "null",
    ] {
        let response = TestResponse::of(preflight(&api, "/orders", origin, "POST")).await;
        response.assert_problem(405, "method_not_allowed");
        assert!(ALL.iter().all(|name| response.header(name).is_none()), "{origin}: {response:?}");
        assert!(varies(&response));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_origin_can_read_every_response() {
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
        // The store's own pages and other programs work as before.
        for origin in [Some(SHOP), Some(OTHER), None] {
            let request = request.try_clone().unwrap();
            let request = match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            let response = TestResponse::of(request).await;
            assert_eq!(response.status, status, "{origin:?}");
            let allowed = (origin == Some(SHOP)).then_some(SHOP);
            assert_eq!(response.header("access-control-allow-origin"), allowed, "{status}");
            let exposed = allowed.map(|_| EXPOSED);
            assert_eq!(response.header("access-control-expose-headers"), exposed, "{status}");
            let credentials = allowed.map(|_| "true");
            assert_eq!(
                response.header("access-control-allow-credentials"),
                credentials,
                "{status}"
            );
            assert!(varies(&response), "{status} {origin:?}");
            assert_eq!(
                response.headers.get_all("access-control-allow-origin").iter().count(),
                usize::from(allowed.is_some())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowed_origin_can_read_a_rate_limited_log_in() {
    let once = merch_api::Rate::new(1.try_into().unwrap(), Duration::from_secs(60));
    let api = Api::start_with(|config| {
        config.cors_origins = SHOP.parse().unwrap();
        config.log_ins_per_address = once;
    })
    .await;
    let body = json!({"username": "alice", "password": "wrong"});
    api.db.has_user(uuid::Uuid::now_v7(), "right");
    let log_in = || api.request(Method::POST, "/login").header("origin", SHOP).json(&body);
    TestResponse::of(log_in()).await.assert_problem(401, "invalid_credentials");
    let response = TestResponse::of(log_in()).await;
    response.assert_problem(429, "too_many_attempts");
    assert_eq!(response.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(response.header("access-control-expose-headers"), Some(EXPOSED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcard_allows_origins_without_credentials() {
    let api = api("*").await;
    let response = TestResponse::of(preflight(&api, "/orders", OTHER, "POST")).await;
    assert_eq!((response.status, response.header("access-control-allow-origin")), (204, Some("*")));
    let response =
        TestResponse::of(api.request(Method::GET, "/orders").header("origin", "null")).await;
    response.assert_problem(401, "token_missing");
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-expose-headers"), Some(EXPOSED));
    assert_eq!(response.header("access-control-allow-credentials"), None);
    assert!(!varies(&response), "the response is the same for every origin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cross_origin_requests_are_denied_by_default() {
    let api = Api::start().await;
    let response = TestResponse::of(preflight(&api, "/products", OTHER, "GET")).await;
    response.assert_problem(405, "method_not_allowed");
    for response in
        [response, TestResponse::of(api.request(Method::GET, "/").header("origin", OTHER)).await]
    {
        assert!(
            ALL.iter().all(|name| response.header(name).is_none()) && !varies(&response),
            "{response:?}"
        );
    }
}
