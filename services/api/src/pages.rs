//! Serves the documentation: Swagger UI, Scalar, the document itself, and the list of problems. The
//! binary contains all files.

mod content;
mod problems;

use std::collections::BTreeMap;

use merch_contract::OPENAPI_YAML;
use poem::{
    Body, Endpoint, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use poem_contract_runtime::{Rejection, RejectionHandler as _};

use self::content::Content;
use crate::{etag, http::ProblemRejections};

/// The page of a response, for the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageName(pub(crate) &'static str);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Allows nothing inline and nothing from another host. Swagger UI's style sheet contains its icons
/// as `data:` URLs.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                   base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Allows inline styles, because Scalar writes its style sheet into the page.
const REFERENCE_CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' \
                             'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action \
                             'self'; frame-ancestors 'none'";

/// Clients may store the response and must revalidate it, which the entity tag makes cheap.
const REVALIDATE: &str = "no-cache";
/// For the files of Swagger UI and Scalar, which change only with their releases.
const CACHE_ONE_HOUR: &str = "public, max-age=3600";

/// Includes a file of the directory `pages`.
macro_rules! own {
    ($file:literal) => {
        Content::plain(include_bytes!(concat!("pages/", $file)))
    };
}

/// Includes a file that build.rs has extracted from a crate.
macro_rules! built {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file))
    };
}

/// One file.
struct Page {
    name: &'static str,
    content_type: &'static str,
    cache_control: &'static str,
    content: Content,
    /// The entity tag without quotes. Each encoding of the content has its own tag.
    digest: String,
}

/// Serves all pages, by path, and passes other paths to `next`.
pub(crate) struct Pages<E> {
    pages: BTreeMap<&'static str, Page>,
    next: E,
}

impl<E: Endpoint<Output = Response>> Pages<E> {
    pub(crate) fn before(next: E) -> Self {
        let files = [
            ("/docs", HTML, REVALIDATE, own!("docs.html")),
            ("/docs/", HTML, REVALIDATE, own!("docs.html")),
            ("/docs/page.css", CSS, REVALIDATE, own!("page.css")),
            ("/docs/docs.css", CSS, REVALIDATE, own!("docs.css")),
            ("/docs/swagger-plugins.js", SCRIPT, REVALIDATE, own!("swagger-plugins.js")),
            ("/docs/swagger-initializer.js", SCRIPT, REVALIDATE, own!("swagger-initializer.js")),
            (
                "/docs/swagger-ui.css",
                CSS,
                CACHE_ONE_HOUR,
                Content::gzip(built!("swagger-ui.css.gz")),
            ),
            (
                "/docs/swagger-ui-bundle.js",
                SCRIPT,
                CACHE_ONE_HOUR,
                Content::gzip(built!("swagger-ui-bundle.js.gz")),
            ),
            (
                "/docs/swagger-ui-license.txt",
                TEXT,
                CACHE_ONE_HOUR,
                Content::plain(built!("LICENSE")),
            ),
            ("/docs/favicon.svg", "image/svg+xml", CACHE_ONE_HOUR, own!("favicon.svg")),
            ("/reference", HTML, REVALIDATE, own!("reference.html")),
            ("/reference/", HTML, REVALIDATE, own!("reference.html")),
            ("/reference/reference.css", CSS, REVALIDATE, own!("reference.css")),
            ("/reference/scalar-initializer.js", SCRIPT, REVALIDATE, own!("scalar-initializer.js")),
            ("/reference/scalar.js", SCRIPT, CACHE_ONE_HOUR, Content::gzip(built!("scalar.js.gz"))),
            ("/reference/license.txt", TEXT, CACHE_ONE_HOUR, own!("scalar-license.txt")),
            (
                "/openapi.yaml",
                "application/yaml",
                REVALIDATE,
                Content::plain(OPENAPI_YAML.as_bytes()),
            ),
            (
                "/openapi.json",
                "application/json",
                REVALIDATE,
                Content::Plain(openapi_json().into()),
            ),
            ("/problems", HTML, REVALIDATE, Content::Plain(problems::html().into())),
        ];
        let pages = files.map(|(name, content_type, cache_control, content)| {
            let digest = content.digest();
            (name, Page { name, content_type, cache_control, content, digest })
        });
        Self { pages: pages.into(), next }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Pages<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(page) = self.pages.get(request.uri().path()) else {
            return self.next.call(request).await;
        };
        let mut response = if request.method() == Method::GET || request.method() == Method::HEAD {
            page.response(&request)
        } else {
            ProblemRejections.respond(Rejection::MethodNotAllowed { allowed: vec!["GET", "HEAD"] })
        };
        response.set_data(PageName(page.name));
        Ok(response)
    }
}

impl Page {
    fn response(&self, request: &Request) -> Response {
        let form = self.content.form(request.header("accept-encoding"));
        let etag = format!("\"{}{}\"", self.digest, if form.gzip { "-gzip" } else { "" });
        // An invalid condition is ignored: a browser is better served with the page than with an
        // error.
        let known =
            etag::matches_if_none_match(request.header("if-none-match"), &etag).unwrap_or(false);
        let csp = if self.name.starts_with("/reference") { REFERENCE_CSP } else { CSP };
        let mut response = Response::builder()
            .header(header::ETAG, etag)
            .header(header::CACHE_CONTROL, self.cache_control)
            .header(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(csp))
            .header(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        if self.content.varies() {
            response = response.header(header::VARY, "accept-encoding");
        }
        if known {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        if form.gzip {
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        response.header(header::CONTENT_TYPE, self.content_type).body(Body::from_bytes(form.body))
    }
}

/// Returns the document as JSON, with its members in the order of the document.
fn openapi_json() -> Vec<u8> {
    let document: serde_json::Value = serde_norway::from_str(OPENAPI_YAML)
        .expect("the code was generated from this document, so it can be read");
    serde_json::to_vec_pretty(&document)
        .expect("what was read as a JSON value can be written as one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_order_of_the_document() {
        let text = String::from_utf8(openapi_json()).unwrap();
        let (info, paths, components) = (
            text.find("\"info\"").unwrap(),
            text.find("\"paths\"").unwrap(),
            text.find("\"components\"").unwrap(),
        );
        assert!(
            text.starts_with("{\n  \"openapi\": \"3.0.3\"") && info < paths && paths < components
        );
        let (json, yaml): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&text).unwrap(), serde_norway::from_str(OPENAPI_YAML).unwrap());
        assert_eq!(json, yaml);
    }

    #[test]
    fn page_has_no_inline_or_external_resources() {
        for text in [
            include_str!("pages/docs.html"),
            include_str!("pages/reference.html"),
            &problems::html(),
        ] {
            for forbidden in ["<style", " style=", " onload", " onclick", "<script>", "http:", "//"]
            {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
        for script in [
            include_str!("pages/swagger-initializer.js"),
            include_str!("pages/swagger-plugins.js"),
            include_str!("pages/scalar-initializer.js"),
        ] {
            assert!(!script.contains("https://") && !script.contains("innerHTML"));
        }
    }
}
