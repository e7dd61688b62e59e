//! HTTP requests and their responses.

mod curl;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use merch_contract::loopback::{is_loopback, without_proxy};
use reqwest::{
    Client, Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::document::{Document, Operation};

const MAX_BODY: usize = 8 * 1024 * 1024;

/// Bytes of a body that reports show.
const MAX_SHOWN: usize = 4 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Transport {
    client: Client,
    base: Url,
}

/// A request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: Method,
    /// With the query, without the prefix of the base URL.
    pub path: String,
    /// The whole URL.
    pub url: String,
    /// Headers, in the order in which they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` if there is no body.
    pub body: Option<Bytes>,
}

/// A response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A request and its result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedExchange {
    /// The request.
    pub request: Request,
    /// The response, or why there is no response.
    pub answer: Result<RawResponse, String>,
}

impl Transport {
    /// # Errors
    /// If the system's certificates cannot be read.
    pub(crate) fn new(base: Url, timeout: Duration) -> Result<Self, String> {
        let mut builder = without_proxy(Client::builder(), &base)
            .user_agent(concat!("merch-contract-tests/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            // Shorter than the idle timeout of servers: a reused connection that closes would look
            // like a fault.
            .pool_idle_timeout(Duration::from_secs(2))
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" && is_loopback(&base) {
            // Reading the system's certificates takes longer than many requests. A proxy may need
            // them.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            format!("failed to load the system's certificates: {}", error_chain(&error))
        })?;
        Ok(Self { client, base })
    }

    /// The path of the base URL, without a trailing slash.
    pub(crate) fn prefix(&self) -> &str {
        self.base.path().trim_end_matches('/')
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// The URL of a path, and the path as sent, without the prefix.
    ///
    /// # Errors
    /// If the URL is invalid.
    pub(crate) fn address(&self, path: &str) -> Result<(String, String), String> {
        let url = Url::parse(&self.url(path))
            .map_err(|error| format!("expected a path of a URL, got {path:?}: {error}"))?;
        let sent = url.path().strip_prefix(self.prefix()).unwrap_or_else(|| url.path());
        let sent = url.query().map_or_else(|| sent.to_owned(), |query| format!("{sent}?{query}"));
        Ok((url.into(), sent))
    }

    /// The path, without the prefix, that a `Location` refers to.
    ///
    /// # Errors
    /// If it refers to another server or is invalid.
    pub(crate) fn resolve_location(
        &self,
        request: &Request,
        location: &str,
    ) -> Result<String, String> {
        let expected = "expected a URL of this server";
        let base = Url::parse(&request.url).map_err(|error| error.to_string())?;
        let url = base
            .join(location)
            .map_err(|error| format!("{expected}, got {location:?}: {error}"))?;
        if url.origin() != self.base.origin() {
            return Err(format!("{expected}, got {location:?}"));
        }
        // A server behind a proxy that strips the prefix does not see it.
        let path = url
            .path()
            .strip_prefix(self.prefix())
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or_else(|| url.path())
            .to_owned();
        Ok(url.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
    }

    /// Checks that a server answers.
    ///
    /// # Errors
    /// What was expected, what happened, and what to do.
    pub(crate) async fn check_reachable(&self, document: &Document) -> Result<(), String> {
        let plain = |operation: &&Operation| {
            operation.method == Method::GET && !operation.path.contains('{')
        };
        let path =
            document.operations().iter().find(plain).map_or("/", |operation| &operation.path);
        let (path, url) = (path.to_owned(), self.url(path));
        let exchange = self
            .send(Request { method: Method::GET, path, url, headers: Vec::new(), body: None })
            .await;
        let answer = exchange.answer.as_ref();
        answer.map(|_| ()).map_err(|error| {
            format!(
                "{}: expected a running store, got no response ({error}): start it, or set its \
                 address with --url",
                self.base
            )
        })
    }

    pub(crate) async fn send(&self, request: Request) -> Arc<RecordedExchange> {
        let answer = self.receive(&request).await;
        Arc::new(RecordedExchange { request, answer })
    }

    async fn receive(&self, request: &Request) -> Result<RawResponse, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.append(name, value.clone());
        }
        let mut builder =
            self.client.request(request.method.clone(), &request.url).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.send().await.map_err(|error| error_chain(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| format!("{status} with a truncated body: {}", error_chain(&error)))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                return Err(format!("{status} with a body of more than {MAX_BODY} bytes"));
            }
        }
        Ok(RawResponse { status, headers, body: body.freeze() })
    }
}

impl Request {
    /// The first value of a header, if it is ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.as_str().eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.to_str().ok())
    }

    /// Whether intermediaries may refuse it: U+0000 in the path (RFC 3986 §7.3), or a repeated
    /// header that is not a list (RFC 9110 §5.3).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        path.contains("%00")
            || self.headers.iter().filter(|(name, _)| name == "authorization").count() > 1
    }

    /// The bearer token, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A shell command that sends the same request.
    #[must_use]
    pub fn curl(&self) -> String {
        curl::command(self)
    }
}

impl RawResponse {
    /// The response as text: long bodies are truncated, control characters escaped.
    #[must_use]
    pub fn raw(&self) -> String {
        let reason = reqwest::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {reason}", self.status).trim_end().to_owned();
        for (name, value) in &self.headers {
            let _ =
                write!(text, "\n{name}: {}", printable(&String::from_utf8_lossy(value.as_bytes()))); // writing to a String cannot fail
        }
        if !self.body.is_empty() {
            let shown = &self.body[..self.body.len().min(MAX_SHOWN)];
            let _ = write!(text, "\n\n{}", printable(&String::from_utf8_lossy(shown)));
            if shown.len() < self.body.len() {
                let _ = write!(text, "\n… and {} more bytes", self.body.len() - shown.len());
            }
        }
        text
    }
}

impl RecordedExchange {
    /// The response as text, or why there is no response.
    #[must_use]
    pub fn raw_answer(&self) -> String {
        match &self.answer {
            Ok(received) => received.raw(),
            Err(error) => format!("no answer: {error}"),
        }
    }
}

/// Escapes control characters except line breaks and tabs.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// An error with its causes; reqwest shows only the outermost.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}"); // writing to a String cannot fail
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
