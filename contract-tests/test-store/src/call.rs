//! Requests, valid or not, and responses, which must conform to the contract.

use std::{
    fmt::Write as _,
    future::{Future, IntoFuture},
    pin::Pin,
};

use bytes::Bytes;
use contract_tests::contract::{self, Exchange};
use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

/// A request. `.await` sends it and checks the response against `openapi.yaml`.
#[derive(Debug)]
#[must_use = "a request is not sent before it is awaited"]
pub struct Call {
    method: Method,
    path: String,
    request: RequestBuilder,
}

impl Call {
    pub(crate) fn new(http: &reqwest::Client, base: &str, method: Method, path: String) -> Self {
        let request = http.request(method.clone(), format!("{base}{path}"));
        Self { method, path, request }
    }

    /// Adds a header.
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName, Error: std::fmt::Debug>,
        value: impl AsRef<[u8]>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.append(
            name.try_into().expect("the name of a header"),
            HeaderValue::from_bytes(value.as_ref()).expect("the value of a header"),
        );
        // `RequestBuilder::headers` replaces, `header` appends.
        for (name, value) in headers {
            self.request =
                self.request.header(name.expect("one value, so the name is there"), value);
        }
        self
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets a body of any type.
    pub fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header(CONTENT_TYPE, content_type).body(body);
        self
    }

    /// Sets a body without a content type.
    pub fn untyped_body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    async fn send(self) -> Answer {
        let response = self
            .request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{} {}: {error:?}", self.method, self.path));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response
            .bytes()
            .await
            .unwrap_or_else(|error| panic!("{} {}: {error:?}", self.method, self.path));
        let answer = Answer { method: self.method, path: self.path, status, headers, body };
        let faults = contract::check(&answer.exchange());
        assert!(
            faults.is_empty(),
            "the response does not conform to openapi.yaml:\n- {}\n{answer}",
            faults.join("\n- ")
        );
        answer
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A response that conforms to `openapi.yaml`.
#[derive(Clone, Debug)]
pub struct Answer {
    method: Method,
    path: String,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

impl Answer {
    /// Asserts the status.
    ///
    /// # Panics
    /// If the status differs; the message contains the whole response.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "expected {status}:\n{self}");
        self
    }

    /// Asserts a problem with this status and code, and returns it.
    ///
    /// # Panics
    /// If the response differs; the message contains all of it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = if self.status == status { self.json() } else { Value::Null };
        assert!(body["code"] == code, "expected {status} {code}:\n{self}");
        body
    }

    /// Returns the distinct faults of a 400, sorted, each as `part pointer`: `body /quantity`.
    ///
    /// # Panics
    /// If the response is not a 400 `invalid_request`.
    #[track_caller]
    pub fn faults(&self) -> Vec<String> {
        let problem = self.problem(400, "invalid_request");
        let text = |fault: &Value, member: &str| {
            fault[member].as_str().expect("the schema says so").to_owned()
        };
        let faults = problem["errors"].as_array().expect("invalid_request has `errors`");
        let mut faults: Vec<String> = faults
            .iter()
            .map(|fault| format!("{} {}", text(fault, "in"), text(fault, "pointer")))
            .collect();
        faults.sort();
        faults.dedup();
        faults
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("expected a JSON body ({error}):\n{self}"))
    }

    /// Returns the value of a header that occurs exactly once.
    ///
    /// # Panics
    /// If the header is missing or repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().expect("headers of the store are ASCII"),
            (first, _) => {
                panic!(
                    "{name}: expected once, got it {}:\n{self}",
                    if first.is_some() { "more than once" } else { "never" }
                )
            }
        }
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            method: self.method.as_str(),
            path: &self.path,
            status: self.status,
            headers: &self.headers,
            body: &self.body,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{} {} -> {}\n", self.method, self.path, self.status);
        for (name, value) in &self.headers {
            writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(text, "\n{}", String::from_utf8_lossy(&self.body))?;
        formatter.write_str(&text)
    }
}
