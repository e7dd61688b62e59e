//! The security headers of every kind of response, and the `Host` of requests.

use std::collections::BTreeMap;

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Api, TestResponse, product, within};

/// The headers of every response.
const ALL_RESPONSES: [(&str, &str); 4] = [
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];
/// A response that is not a page.
const NOT_A_PAGE: [(&str, &str); 1] = [(
    "content-security-policy",
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)];
const PAGE: [(&str, &str); 2] = [
    (
        "content-security-policy",
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
];
const REFERENCE: [(&str, &str); 2] = [
    (
        "content-security-policy",
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
];
const NO_STORE: (&str, &str) = ("cache-control", "no-store");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");
const MAX_AGE: (&str, &str) = ("cache-control", "public, max-age=3600");

/// Returns the differences between the headers and the expected ones.
fn differences(
    headers: &reqwest::header::HeaderMap,
    expected: &BTreeMap<&str, &str>,
) -> Vec<String> {
    let differs = |(name, value): (&&str, &&str)| {
        let got: Vec<_> = headers.get_all(*name).iter().map(|got| got.to_str().unwrap()).collect();
        (got != [*value]).then(|| format!("{name}: expected {value:?}, got {got:?}"))
    };
    expected.iter().filter_map(differs).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_have_security_headers() {
    let api = Api::start_with(|config| config.body_limit = 100).await;
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
    let large = json!({"username": "alice", "password": "x".repeat(100)});
    let get = |path: &str| api.request(Method::GET, path);
    let not_a_page = |caching| [&NOT_A_PAGE[..], &[caching]].concat();
    for (what, request, status, expected) in [
        ("a page", get("/docs"), 200, [&PAGE[..], &[NO_CACHE]].concat()),
        ("an unchanged page", get("/docs").header("if-none-match", "*"), 304, PAGE.into()),
        ("a list of problems", get("/problems"), 200, PAGE.into()),
        ("a script", get("/docs/swagger-ui-bundle.js"), 200, [&PAGE[..], &[MAX_AGE]].concat()),
        ("the reference", get("/reference"), 200, REFERENCE.into()),
        ("the document", get("/openapi.json"), 200, PAGE.into()),
        ("JSON", get("/"), 200, not_a_page(NO_STORE)),
        ("cacheable JSON", get("/products/1"), 200, not_a_page(NO_CACHE)),
        ("a head", api.request(Method::HEAD, "/products/1"), 200, not_a_page(NO_CACHE)),
        (
            "an unchanged product",
            get("/products/1").header("if-none-match", "*"),
            304,
            not_a_page(NO_CACHE),
        ),
        ("a fault", get("/products/zero"), 400, not_a_page(NO_CACHE)),
        ("no token", get("/orders"), 401, not_a_page(NO_STORE)),
        ("an unknown path", get("/nowhere"), 404, not_a_page(NO_STORE)),
        ("a wrong method", api.request(Method::DELETE, "/products/1"), 405, not_a_page(NO_STORE)),
        ("a page's wrong method", api.request(Method::POST, "/docs"), 405, not_a_page(NO_STORE)),
        (
            "a large body",
            api.request(Method::POST, "/login").json(&large),
            413,
            not_a_page(NO_STORE),
        ),
        ("another type", api.request(Method::POST, "/login").body("x"), 415, not_a_page(NO_STORE)),
        (
            "large headers",
            get("/").header("x-large", "x".repeat(20_000)),
            431,
            not_a_page(NO_STORE),
        ),
        (
            "an unread head",
            get("/").header("x-large", "x".repeat(60_000)),
            431,
            not_a_page(NO_STORE),
        ),
        ("a bug", get("/products"), 500, not_a_page(NO_STORE)),
    ] {
        let response = TestResponse::of(request).await;
        assert_eq!(response.status, status, "{what}");
        let expected: BTreeMap<_, _> = ALL_RESPONSES.into_iter().chain(expected).collect();
        assert_eq!(differences(&response.headers, &expected), Vec::<String>::new(), "{what}");
        // The check detects each missing header.
        for name in expected.keys() {
            let mut fewer = response.headers.clone();
            fewer.remove(*name);
            assert_eq!(differences(&fewer, &expected).len(), 1, "{name} of {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_need_exactly_one_valid_host() {
    let api = Api::start().await;
    for (version, hosts, status) in [
        ("1.1", "host: shop.example\r\n", 200),
        ("1.1", "HOST: [::1]:8080\r\n", 200),
        ("1.0", "", 200),
        ("1.0", "host: shop.example\r\n", 200),
        ("1.1", "", 400),
        ("1.1", "host:\r\n", 400),
        ("1.1", "host: a\r\nhost: a\r\n", 400),
        ("1.1", "host: a\r\nhost: b\r\n", 400),
        ("1.1", "host: a, b\r\n", 400),
        ("1.1", "host: user@a\r\n", 400),
        ("1.1", "host: a/docs\r\n", 400),
        ("1.1", "host: a:http\r\n", 400),
        ("1.1", "x-forwarded-host: a\r\n", 400),
        ("1.0", "host: a\r\nhost: b\r\n", 400),
    ] {
        // An absolute target does not replace the header (RFC 9112 §3.2.2).
        for target in ["/", "/nowhere/at/all", "/docs", "http://shop.example/"] {
            let mut stream = TcpStream::connect(api.address).await.unwrap();
            let request =
                format!("GET {target} HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            within("a response", stream.read_to_end(&mut bytes)).await.unwrap();
            let response = String::from_utf8_lossy(&bytes);
            let status = match status {
                200 if target.contains("nowhere") => 404,
                // It must have the host of the header.
                200 if target.starts_with("http")
                    && !hosts.is_empty()
                    && !hosts.ends_with(" shop.example\r\n") =>
                {
                    400
                }
                status => status,
            };
            let start = format!("HTTP/{version} {status} ");
            assert!(response.starts_with(&start), "{version} {target} {hosts:?}: {response}");
            if status == 400 {
                let problem: serde_json::Value =
                    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
                assert_eq!(problem["code"], "invalid_request");
                let fault = &problem["errors"][0];
                assert_eq!((&fault["in"], &fault["pointer"]), (&"header".into(), &"/host".into()));
            }
        }
    }
}
