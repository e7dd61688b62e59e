//! One request over HTTP, as it was built and as it was answered.

mod curl;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use merch_contract::loopback::{is_loopback, without_proxy};
use reqwest::{
    Client, Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::document::{Document, Operation};

/// Bytes of an answer's body, at most: no answer of the document comes near.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Bytes of an answer's body that are shown.
const SHOWN: usize = 4 * 1024;

/// Sends requests to one server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    client: Client,
    base: Url,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: Method,
    /// With the query, without the prefix of the base URL.
    pub path: String,
    /// The whole address.
    pub url: String,
    /// As they are sent, in this order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` is no body.
    pub body: Option<Bytes>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchanged {
    /// What was sent.
    pub request: Request,
    /// The answer, or why there is none.
    pub answer: Result<Received, String>,
}

impl Transport {
    /// # Errors
    /// When this system has no certificates to know a server by.
    pub(crate) fn new(base: Url, timeout: Duration) -> Result<Self, String> {
        let mut builder = without_proxy(Client::builder(), &base)
            .user_agent(concat!("merch-contract-tests/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            // Servers close connections that are idle; one that is taken up at that very moment
            // would look like a fault of the server.
            .pool_idle_timeout(Duration::from_secs(2))
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" && is_loopback(&base) {
            // Reading the system's authorities takes longer than many a request. A proxy on the way
            // may need them.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            format!("this system's certificates cannot be used: {}", chain(&error))
        })?;
        Ok(Self { client, base })
    }

    /// The path of the base URL, without a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        self.base.path().trim_end_matches('/')
    }

    /// The address of a path of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// The address of a path of this server as it is sent, and the path as it is sent, without the
    /// prefix.
    ///
    /// # Errors
    /// When there is no such address.
    pub(crate) fn address(&self, path: &str) -> Result<(String, String), String> {
        let url = Url::parse(&self.url(path))
            .map_err(|error| format!("{path:?} is no path of an address: {error}"))?;
        let sent = url.path().strip_prefix(self.prefix()).unwrap_or_else(|| url.path());
        let sent = url.query().map_or_else(|| sent.to_owned(), |query| format!("{sent}?{query}"));
        Ok((url.into(), sent))
    }

    /// The path, without the prefix, that a `Location` in the answer to a request refers to.
    ///
    /// # Errors
    /// When it refers to another server, or cannot be read.
    pub(crate) fn locate(&self, request: &Request, location: &str) -> Result<String, String> {
        let expected = "expected a place of this server";
        let asked = Url::parse(&request.url).map_err(|error| error.to_string())?;
        let url = asked
            .join(location)
            .map_err(|error| format!("{expected}, got {location:?}: {error}"))?;
        if url.origin() != self.base.origin() {
            return Err(format!("{expected}, got {location:?}"));
        }
        // A server behind a proxy that takes a prefix away does not know of it.
        let path = url
            .path()
            .strip_prefix(self.prefix())
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or_else(|| url.path())
            .to_owned();
        Ok(url.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
    }

    /// Whether anybody is there.
    ///
    /// # Errors
    /// A sentence: what was expected, what came, what to do.
    pub(crate) async fn reach(&self, document: &Document) -> Result<(), String> {
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
            format!("{}: expected an implementation of the document at this address, got none ({error}): start it, or give its address with --url", self.base)
        })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Arc<Exchanged> {
        let answer = self.receive(&request).await;
        Arc::new(Exchanged { request, answer })
    }

    async fn receive(&self, request: &Request) -> Result<Received, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.append(name, value.clone());
        }
        let mut builder =
            self.client.request(request.method.clone(), &request.url).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.send().await.map_err(|error| chain(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| format!("{status}, but its body breaks off: {}", chain(&error)))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(format!("{status} with a body of more than {LONGEST_ANSWER} bytes"));
            }
        }
        Ok(Received { status, headers, body: body.freeze() })
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

    /// Whether HTTP lets anybody on the way refuse it unread: a path with U+0000 in it (RFC 3986
    /// §7.3), or a header twice that is no list (RFC 9110 §5.3).
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        path.contains("%00")
            || self.headers.iter().filter(|(name, _)| name == "authorization").count() > 1
    }

    /// The token of its `Authorization`, if it has one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A command to paste into a shell that sends the same.
    #[must_use]
    pub fn curl(&self) -> String {
        curl::command(self)
    }
}

impl Received {
    /// As it came, for people: a long body is shortened, and what a terminal would take for a
    /// command is escaped.
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
            let shown = &self.body[..self.body.len().min(SHOWN)];
            let _ = write!(text, "\n\n{}", printable(&String::from_utf8_lossy(shown)));
            if shown.len() < self.body.len() {
                let _ = write!(text, "\n… and {} more bytes", self.body.len() - shown.len());
            }
        }
        text
    }
}

impl Exchanged {
    /// The answer as it came, or why there is none.
    #[must_use]
    pub fn raw_answer(&self) -> String {
        match &self.answer {
            Ok(received) => received.raw(),
            Err(error) => format!("no answer: {error}"),
        }
    }
}

/// Without control characters but the line break and the tabulator.
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

/// An error with its causes; reqwest alone says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
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
