//! What people read: the documentation to try out, the document itself, and the list of problems. All of it is in the binary.

mod problems;

use std::collections::BTreeMap;

use bytes::Bytes;
use merch_contract::OPENAPI_YAML;
use poem::{
    Body, Endpoint, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use poem_contract_runtime::{Rejection, Rejections as _};
use sha2::{Digest as _, Sha256};

use crate::{etag, http::Answers};

/// Left with the answer of a page, for the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageName(pub(crate) &'static str);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Nothing inline and nothing from another host. Swagger UI's style sheet has its small pictures inside, as `data:`.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:";

/// May be kept, and has to be asked about each time: the entity tag makes that cheap.
const ASK: &str = "no-cache";
/// The files of Swagger UI change only with a release of it.
const KEEP: &str = "public, max-age=3600";

/// One file.
struct Page {
    name: &'static str,
    content_type: &'static str,
    cache_control: &'static str,
    etag: String,
    /// Shared by all answers: a download holds no copy of its own.
    body: Bytes,
}

/// All pages, by path; whatever has another path goes to `next`.
pub(crate) struct Pages<E> {
    pages: BTreeMap<&'static str, Page>,
    next: E,
}

impl<E: Endpoint<Output = Response>> Pages<E> {
    pub(crate) fn before(next: E) -> Self {
        let docs = include_bytes!("pages/docs.html").as_slice();
        let files: [(&str, &str, &str, Bytes); 11] = [
            ("/docs", HTML, ASK, Bytes::from_static(docs)),
            ("/docs/", HTML, ASK, Bytes::from_static(docs)),
            ("/docs/page.css", CSS, ASK, Bytes::from_static(include_bytes!("pages/page.css"))),
            ("/docs/swagger-initializer.js", SCRIPT, ASK, Bytes::from_static(include_bytes!("pages/swagger-initializer.js"))),
            ("/docs/swagger-ui.css", CSS, KEEP, Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css")))),
            (
                "/docs/swagger-ui-bundle.js",
                SCRIPT,
                KEEP,
                Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js"))),
            ),
            (
                "/docs/favicon-32x32.png",
                "image/png",
                KEEP,
                Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/favicon-32x32.png"))),
            ),
            ("/docs/swagger-ui-license.txt", TEXT, KEEP, Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/LICENSE")))),
            ("/openapi.yaml", "application/yaml", ASK, Bytes::from_static(OPENAPI_YAML.as_bytes())),
            ("/openapi.json", "application/json", ASK, openapi_json().into()),
            ("/problems", HTML, ASK, problems::html().into()),
        ];
        let pages = files.into_iter().map(|(path, content_type, cache_control, body)| {
            let digest = Sha256::digest(&body);
            let etag = format!("\"{}\"", digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            (path, Page { name: path, content_type, cache_control, etag, body })
        });
        Self { pages: pages.collect(), next }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Pages<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(page) = self.pages.get(request.uri().path()) else { return self.next.call(request).await };
        let mut response = if request.method() == Method::GET || request.method() == Method::HEAD {
            page.response(&request)
        } else {
            Answers.respond(Rejection::MethodNotAllowed { allowed: vec!["GET", "HEAD"] })
        };
        response.set_data(PageName(page.name));
        Ok(response)
    }
}

impl Page {
    fn response(&self, request: &Request) -> Response {
        // A condition that cannot be read is none: a browser is better served with the page than with an error.
        let known = etag::none_match_holds(request.header("if-none-match"), &self.etag).unwrap_or(false);
        let response = Response::builder()
            .header(header::ETAG, &self.etag)
            .header(header::CACHE_CONTROL, self.cache_control)
            .header(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP))
            .header(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        if known {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.header(header::CONTENT_TYPE, self.content_type).body(Body::from_bytes(self.body.clone()))
    }
}

/// The document as JSON, its members in the document's order.
fn openapi_json() -> Vec<u8> {
    let document: serde_json::Value =
        serde_norway::from_str(OPENAPI_YAML).expect("the code was generated from this document, so it can be read");
    serde_json::to_vec_pretty(&document).expect("what was read as a JSON value can be written as one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_document_in_its_order() {
        let text = String::from_utf8(openapi_json()).unwrap();
        let (info, paths, components) =
            (text.find("\"info\"").unwrap(), text.find("\"paths\"").unwrap(), text.find("\"components\"").unwrap());
        assert!(text.starts_with("{\n  \"openapi\": \"3.0.3\"") && info < paths && paths < components);
        let (json, yaml): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&text).unwrap(), serde_norway::from_str(OPENAPI_YAML).unwrap());
        assert_eq!(json, yaml);
    }

    #[test]
    fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
        for text in [include_str!("pages/docs.html"), &problems::html()] {
            for forbidden in ["<style", " style=", " onload", " onclick", "<script>", "http:", "//"] {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
        assert!(!include_str!("pages/swagger-initializer.js").contains("//cdn"));
    }
}
