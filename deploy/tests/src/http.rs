//! An HTTP client that records every exchange, also failed ones.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    /// No response: refused, aborted or timed out. Whether the request was executed is unknown.
    NoResponse(String),
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: String,
    /// Whether it may be repeated: GET, or with an `Idempotency-Key`.
    pub idempotent: bool,
    pub began: Instant,
    /// The time until the outcome.
    pub took: Duration,
    pub outcome: Outcome,
    pub request_id: Option<String>,
    pub code: Option<String>,
    pub retry_after: Option<String>,
}

impl Exchange {
    /// Returns true for a status of 500 and above, or no response.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.outcome {
            Outcome::Answered(status) => status >= 500,
            Outcome::NoResponse(_) => true,
        }
    }

    /// The time of the outcome.
    #[must_use]
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }

    /// Returns true if the request was in flight at `moment`.
    #[must_use]
    pub fn spans(&self, moment: Instant) -> bool {
        self.began <= moment && moment <= self.ended()
    }
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body; null if it is not JSON.
    pub body: Value,
    pub text: String,
}

impl Response {
    /// Returns the response if it has this status.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text);
        Ok(self)
    }

    /// A header's value; empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends requests to one address. Clones share connections and the record.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

#[derive(Debug)]
#[must_use = "a request does nothing before it is sent"]
pub struct Request {
    client: Client,
    shown: String,
    idempotent: bool,
    request: reqwest::RequestBuilder,
}

impl Client {
    /// A client of the store at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: impl Into<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(40))
            .build()
            .context("an HTTP client")?;
        Ok(Self { base: base.into(), http, seen: Arc::default() })
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        let shown = format!("{method} {path}");
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        Request { client: self.clone(), shown, idempotent: method.is_safe(), request }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// Takes the exchanges recorded since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.seen.lock().expect("no task panics while it holds the lock"))
    }
}

impl Request {
    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.idempotent |= name.eq_ignore_ascii_case("idempotency-key");
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends the request, records the exchange, and returns the response.
    pub async fn send(self) -> Result<Response> {
        let began = Instant::now();
        let response = receive(self.request).await;
        let outcome = match &response {
            Ok(response) => Outcome::Answered(response.status),
            Err(error) => Outcome::NoResponse(format!("{error:#}")),
        };
        let received = response.as_ref().ok();
        let header = |name: &str| {
            received
                .map(|response| response.header(name).to_owned())
                .filter(|value| !value.is_empty())
        };
        let exchange = Exchange {
            request: self.shown.clone(),
            idempotent: self.idempotent,
            began,
            took: began.elapsed(),
            outcome,
            request_id: header("x-request-id"),
            code: received.and_then(|response| response.body["code"].as_str()).map(str::to_owned),
            retry_after: header("retry-after"),
        };
        self.client.seen.lock().expect("no task panics while it holds the lock").push(exchange);
        response.context(self.shown)
    }
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Response { status, headers, body, text })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers each connection with the given bytes, which may be empty.
    async fn server(responses: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for response in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn responses_and_missing_responses_are_recorded() {
        let busy = "HTTP/1.1 503 Busy\r\nX-Request-Id: r1\r\nConnection: close\r\n\
                    Content-Length: 22\r\n\r\n{\"code\":\"unavailable\"}";
        let client = Client::new(server(vec![busy, ""]).await).unwrap();
        let response = client.post("/orders").header("Idempotency-Key", "k").send().await.unwrap();
        assert!(
            response.clone().expect(503).is_ok()
                && response.expect(201).unwrap_err().to_string().contains("expected 201, got 503")
        );
        assert!(client.post("/users").send().await.is_err());
        let seen = client.take();
        assert_eq!((seen.len(), client.take().len()), (2, 0));
        assert_eq!(
            (&seen[0].outcome, seen[0].idempotent, seen[0].code.as_deref()),
            (&Outcome::Answered(503), true, Some("unavailable"))
        );
        assert_eq!(seen[0].request_id.as_deref(), Some("r1"));
        assert!(
            seen[1].failed()
                && !seen[1].idempotent
                && matches!(seen[1].outcome, Outcome::NoResponse(_))
        );
        assert!(
            seen[0].spans(seen[0].began)
                && !seen[0].spans(seen[1].ended() + Duration::from_secs(1))
        );
    }
}
