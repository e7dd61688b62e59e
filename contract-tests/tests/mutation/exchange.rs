//! Requests and responses as the mutant proxy edits them.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// Without connection headers.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.headers.insert(
            AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {token}")).expect("tokens are visible ASCII"),
        );
        self
    }

    pub(crate) fn with_json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = body.to_string().into();
        self
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The last path segment that is an id: X in `/orders/X/cancel`.
    pub(crate) fn id(&self) -> &str {
        self.path().split('/').nth(2).unwrap_or_default()
    }

    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query().into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    pub(crate) fn set_query(&mut self, parameters: &[(String, String)]) {
        let pairs: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.target = if pairs.is_empty() {
            self.path().to_owned()
        } else {
            format!("{}?{}", self.path(), pairs.join("&"))
        };
    }

    pub(crate) fn retain_query(&mut self, mut wanted: impl FnMut(&str, &str) -> bool) {
        let mut parameters = self.query();
        parameters.retain(|(name, value)| wanted(name, value));
        self.set_query(&parameters);
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
    }

    /// The body as JSON; null if it is not JSON. The last of repeated members counts.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Edits a JSON object. An edit without effect keeps every byte, even repeated members.
    pub(crate) fn edit_json(&mut self, edit: impl FnOnce(&mut Value)) {
        let before = self.json();
        let mut body = before.clone();
        if body.is_object() {
            edit(&mut body);
        }
        if body != before {
            self.body = body.to_string().into();
        }
    }

    pub(crate) fn rewrite_json(&mut self) {
        if let Ok(body) = serde_json::from_slice::<Value>(&self.body) {
            self.body = body.to_string().into();
        }
    }

    /// The operation; HEAD maps to GET.
    pub(crate) fn operation(&self) -> Option<&'static str> {
        let segments: Vec<&str> = self.path().split('/').skip(1).collect();
        let method = if self.method == Method::HEAD { "GET" } else { self.method.as_str() };
        Some(match (method, segments.as_slice()) {
            ("GET", [""]) => "greet",
            ("POST", ["users"]) => "register",
            ("POST", ["login"]) => "log_in",
            ("POST", ["logout"]) => "log_out",
            ("GET", ["users", _]) => "get_user",
            ("PATCH", ["users", _]) => "update_user",
            ("DELETE", ["users", _]) => "deactivate_user",
            ("PUT", ["users", _, "password"]) => "change_password",
            ("GET", ["products"]) => "list_products",
            ("GET", ["products", _]) => "get_product",
            ("POST", ["orders"]) => "place_order",
            ("GET", ["orders"]) => "list_orders",
            ("GET", ["orders", _]) => "get_order",
            ("POST", ["orders", _, "cancel"]) => "cancel_order",
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without connection headers.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) framing: Framing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Correct HTTP.
    #[default]
    Standard,
    /// Sends the body even where HTTP forbids one (HEAD, 304), and closes the connection.
    ForcedBody,
    /// Chunked, without `Content-Length`.
    Chunked,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        let mut answer = Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            framing: Framing::default(),
        };
        answer.set("x-request-id", &uuid::Uuid::now_v7().to_string());
        answer
    }

    pub(crate) fn problem(request: &Request, status: u16, code: &str) -> Self {
        let mut answer = Self::new(status);
        if let Some(id) = request.header("x-request-id") {
            answer.set("x-request-id", id);
        }
        let body = json!({
            "type": format!("/problems#{code}"),
            "title": "What the proxy of the mutants says",
            "status": status,
            "detail": "This is a mutant.",
            "instance": request.path(),
            "code": code,
            "request_id": answer.header("x-request-id"),
        });
        answer.set("content-type", "application/problem+json");
        answer.set_json(&body);
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(
            HeaderName::from_static(name),
            HeaderValue::try_from(value).expect("the value of a header"),
        );
    }

    pub(crate) fn add(&mut self, name: &'static str, value: &str) {
        self.headers.append(
            HeaderName::from_static(name),
            HeaderValue::try_from(value).expect("the value of a header"),
        );
    }

    /// The body as JSON; null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Keeps the content type.
    pub(crate) fn set_json(&mut self, body: &Value) {
        self.body = body.to_string().into();
    }

    pub(crate) fn edit_json(&mut self, edit: impl FnOnce(&mut Value)) {
        if let Ok(mut body) = serde_json::from_slice(&self.body) {
            edit(&mut body);
            self.set_json(&body);
        }
    }

    /// Sets the status, also in a problem, so that only the status is wrong.
    pub(crate) fn set_status(&mut self, status: u16) {
        if self.status >= 400 {
            self.edit_json(|body| body["status"] = status.into());
        }
        self.status = status;
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} Mutant\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in self
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "connection" | "content-length"))
        {
            write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
                .expect("writing to a String cannot fail");
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}
