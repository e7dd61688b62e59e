//! Tests the pages: `openapi.yaml`, the documentation, the problems.

use reqwest::Method;
use serde_json::Value;

use crate::support::{Api, TestResponse};

const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_documents_match_the_file() {
    let api = Api::start().await;
    let yaml = api.get("/openapi.yaml").await;
    assert_eq!((yaml.status, yaml.header("content-type")), (200, Some("application/yaml")));
    assert_eq!(yaml.body, merch_contract::OPENAPI_YAML.as_bytes());
    let json = api.get("/openapi.json").await;
    assert_eq!((json.status, json.header("content-type")), (200, Some("application/json")));
    let from_yaml: Value = serde_norway::from_slice(&yaml.body).unwrap();
    assert_eq!(json.json(), from_yaml);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_references_are_served_locally() {
    let api = Api::start().await;
    for path in ["/docs", "/docs/", "/problems"] {
        let page = api.get(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
        assert_eq!(page.header("content-security-policy"), Some(CSP));
        let html = String::from_utf8(page.body).unwrap();
        let mut references = 0;
        for reference in html.split(['"']).filter(|part| part.starts_with('/')) {
            assert_eq!(api.get(reference).await.status, 200, "{reference} on {path}");
            references += 1;
        }
        assert!(references >= 2, "{path}");
    }
    let script = api.get("/docs/swagger-ui-bundle.js").await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(script.body.len() > 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_support_etags_and_head() {
    let api = Api::start().await;
    for path in [
        "/docs",
        "/docs/swagger-ui.css",
        "/reference",
        "/openapi.yaml",
        "/openapi.json",
        "/problems",
    ] {
        let page = api.get(path).await;
        let etag = page.header("etag").unwrap();
        let again =
            TestResponse::of(api.request(Method::GET, path).header("if-none-match", etag)).await;
        assert_eq!(
            (again.status, again.body.len(), again.header("etag")),
            (304, 0, Some(etag)),
            "{path}"
        );
        let head = TestResponse::of(api.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(
            head.header("content-length"),
            Some(page.body.len().to_string().as_str()),
            "{path}"
        );
    }
}
