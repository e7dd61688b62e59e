//! A client of the store that writes down every answer, also the ones that did not come.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came, with this status.
    Answered(u16),
    /// None came: refused, cut off or too late. What the request did is not known.
    Nothing(String),
}

/// One request as it was seen from outside.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method and the path.
    pub request: String,
    /// Whether it may be sent again: GET, or with an `Idempotency-Key`.
    pub repeatable: bool,
    /// When it was sent.
    pub began: Instant,
    /// How long the answer took.
    pub took: Duration,
    /// What came.
    pub outcome: Outcome,
    /// `X-Request-Id` of the answer.
    pub request_id: Option<String>,
    /// `code` of the problem, if the answer is one.
    pub code: Option<String>,
    /// `Retry-After` of the answer.
    pub retry_after: Option<String>,
}

impl Exchange {
    /// A status of 500 and above, or no answer at all.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.outcome {
            Outcome::Answered(status) => status >= 500,
            Outcome::Nothing(_) => true,
        }
    }

    /// When the answer, or its absence, was seen.
    #[must_use]
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }

    /// Whether it was under way at `moment`.
    #[must_use]
    pub fn spans(&self, moment: Instant) -> bool {
        self.began <= moment && moment <= self.ended()
    }
}

/// An answer that came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The answer, if it has this status.
    ///
    /// # Errors
    /// When it has another.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text);
        Ok(self)
    }

    /// A header's value; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends requests to one address. Cheap to clone; clones share connections and what is written
/// down.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

/// One request to be sent.
#[derive(Debug)]
#[must_use = "a request does nothing before it is sent"]
pub struct Request {
    client: Client,
    shown: String,
    repeatable: bool,
    request: reqwest::RequestBuilder,
}

impl Client {
    /// A client of the store at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(base: impl Into<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(40))
            .build()
            .context("an HTTP client")?;
        Ok(Self { base: base.into(), http, seen: Arc::default() })
    }

    /// A request.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let shown = format!("{method} {path}");
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        Request { client: self.clone(), shown, repeatable: method.is_safe(), request }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// POST.
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// All that was seen since the last call.
    ///
    /// # Panics
    /// When a task has panicked while it wrote.
    #[must_use]
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it"))
    }
}

impl Request {
    /// Adds `Authorization: Bearer …`.
    pub fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.repeatable |= name.eq_ignore_ascii_case("idempotency-key");
        self.request = self.request.header(name, value);
        self
    }

    /// Sends JSON.
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends it, writes down what came, and answers with it.
    ///
    /// # Errors
    /// When no answer came.
    ///
    /// # Panics
    /// When a task has panicked while it wrote.
    pub async fn send(self) -> Result<Answer> {
        let began = Instant::now();
        let answer = answer(self.request).await;
        let outcome = match &answer {
            Ok(answer) => Outcome::Answered(answer.status),
            Err(error) => Outcome::Nothing(format!("{error:#}")),
        };
        let came = answer.as_ref().ok();
        let header = |name: &str| {
            came.map(|answer| answer.header(name).to_owned()).filter(|value| !value.is_empty())
        };
        let exchange = Exchange {
            request: self.shown.clone(),
            repeatable: self.repeatable,
            began,
            took: began.elapsed(),
            outcome,
            request_id: header("x-request-id"),
            code: came.and_then(|answer| answer.body["code"].as_str()).map(str::to_owned),
            retry_after: header("retry-after"),
        };
        self.client.seen.lock().expect("nobody panics with it").push(exchange);
        answer.context(self.shown)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, body, text })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers each connection with what it is given, or with nothing.
    async fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn what_came_and_what_did_not_come_is_written_down() {
        let busy = "HTTP/1.1 503 Busy\r\nX-Request-Id: r1\r\nConnection: close\r\nContent-Length: 22\r\n\r\n{\"code\":\"unavailable\"}";
        let client = Client::new(server(vec![busy, ""]).await).unwrap();
        let answer = client.post("/orders").header("Idempotency-Key", "k").send().await.unwrap();
        assert!(
            answer.clone().expect(503).is_ok()
                && answer.expect(201).unwrap_err().to_string().contains("expected 201, got 503")
        );
        assert!(client.post("/users").send().await.is_err());
        let seen = client.take();
        assert_eq!((seen.len(), client.take().len()), (2, 0));
        assert_eq!(
            (&seen[0].outcome, seen[0].repeatable, seen[0].code.as_deref()),
            (&Outcome::Answered(503), true, Some("unavailable"))
        );
        assert_eq!(seen[0].request_id.as_deref(), Some("r1"));
        assert!(
            seen[1].failed()
                && !seen[1].repeatable
                && matches!(seen[1].outcome, Outcome::Nothing(_))
        );
        assert!(
            seen[0].spans(seen[0].began)
                && !seen[0].spans(seen[1].ended() + Duration::from_secs(1))
        );
    }
}
