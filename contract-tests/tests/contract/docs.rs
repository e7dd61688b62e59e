//! Pages: Swagger UI, Scalar, the document and the list of problems. `tests/browser/` opens them.

use contract_tests::document::Document;
use merch_contract::OPENAPI_YAML;
use merch_test_store::{Database, TestStore};
use reqwest::Method;
use serde_json::Value;

/// Allows only the store's own files, and images inside the style sheet.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Scalar writes its style sheet into the page.
const REFERENCE_CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' \
                             'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action \
                             'self'; frame-ancestors 'none'";

fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let start = format!("{name}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn docs_page_has_no_external_or_inline_resources() {
    let store = TestStore::start(Database::Sqlite).await;
    for (path, csp) in [
        ("/docs", CSP),
        ("/docs/", CSP),
        ("/reference", REFERENCE_CSP),
        ("/reference/", REFERENCE_CSP),
        ("/problems", CSP),
    ] {
        let page = store.get(path).await.expect(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("content-security-policy"), csp);
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        let lower = text.to_lowercase();
        for inline in [
            "<style",
            " style=",
            " onload=",
            " onclick=",
            "javascript:",
            "<script>",
            "http://",
            "https://",
            "\"//",
        ] {
            assert!(!lower.contains(inline), "{path} has {inline}");
        }
        let loaded: Vec<&str> =
            attributes(&text, "src").into_iter().chain(attributes(&text, "href")).collect();
        assert!(!loaded.is_empty());
        for file in loaded.into_iter().filter(|file| !file.starts_with('#')) {
            assert!(file.starts_with('/'), "{path} loads {file}");
            let answer = store.get(file.split('#').next().unwrap()).await.expect(200);
            let wanted = match file.rsplit('.').next().unwrap() {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                "yaml" => "application/yaml",
                "json" => "application/json",
                _ => "text/html; charset=utf-8",
            };
            assert_eq!(
                (answer.header("content-type"), answer.header("x-content-type-options")),
                (wanted, "nosniff"),
                "{file}"
            );
        }
    }
    for script in ["/docs/swagger-initializer.js", "/reference/scalar-initializer.js"] {
        let text = String::from_utf8(store.get(script).await.expect(200).body.to_vec()).unwrap();
        assert!(text.contains("\"/openapi.yaml\""), "{script} shows the document: {text}");
        assert!(!text.contains("https://"), "and nothing of another host: {text}");
    }
    store.finish().await;
}

#[tokio::test]
async fn large_files_follow_accept_encoding() {
    let store = TestStore::start(Database::Sqlite).await;
    for (path, inside) in [
        ("/docs/swagger-ui.css", ".swagger-ui"),
        ("/docs/swagger-ui-bundle.js", "SwaggerUIBundle"),
        ("/reference/scalar.js", "createApiReference"),
    ] {
        let plain = store.get(path).await.expect(200);
        assert_eq!(
            (plain.headers.get("content-encoding"), plain.header("vary")),
            (None, "accept-encoding"),
            "{path}"
        );
        assert!(String::from_utf8(plain.body.to_vec()).unwrap().contains(inside), "{path}");
        let packed = store.get(path).header("accept-encoding", "gzip, deflate").await.expect(200);
        assert_eq!(
            (packed.header("content-encoding"), packed.header("vary")),
            ("gzip", "accept-encoding"),
            "{path}"
        );
        assert!(
            packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() * 3 < plain.body.len(),
            "{path}"
        );
        // Each encoding has its own tag.
        let (of_plain, of_packed) = (plain.header("etag"), packed.header("etag"));
        assert_ne!(of_plain, of_packed);
        store.get(path).header("if-none-match", of_plain).await.expect(304);
        store
            .get(path)
            .header("accept-encoding", "gzip")
            .header("if-none-match", of_packed)
            .await
            .expect(304);
        store
            .get(path)
            .header("accept-encoding", "gzip")
            .header("if-none-match", of_plain)
            .await
            .expect(200);
    }
    store.finish().await;
}

#[tokio::test]
async fn served_document_equals_the_file() {
    let store = TestStore::start(Database::Sqlite).await;
    let yaml = store.get("/openapi.yaml").await.expect(200);
    assert_eq!(yaml.body, OPENAPI_YAML);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let json = store.get("/openapi.json").await.expect(200);
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.json(), serde_norway::from_str::<Value>(OPENAPI_YAML).unwrap());

    // Cached, but revalidated.
    for page in ["/openapi.yaml", "/openapi.json", "/docs", "/reference", "/problems"] {
        let etag = store.get(page).await.expect(200).header("etag").to_owned();
        store.get(page).header("if-none-match", &etag).await.expect(304);
        assert!(store.call(Method::HEAD, page).await.expect(200).body.is_empty());
    }
    store.finish().await;
}

#[tokio::test]
async fn problem_types_link_to_their_explanation() {
    let store = TestStore::start(Database::Sqlite).await;
    let page = String::from_utf8(store.get("/problems").await.expect(200).body.to_vec()).unwrap();
    let codes = Document::strict().codes;
    assert_eq!(codes.len(), 24, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("id=\"{code}\"")), "{code}");
    }
    store.finish().await;
}
