//! Requests of cases: built, sent, and checked against the document.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;
use uuid::Uuid;

use super::{Answer, Context, Failure, User, ledger::Incident};
use crate::{
    check::{Exchange, RequestContext, single_header},
    http::{RawResponse, RecordedExchange, Request},
};

/// Attempts after 429 or 503.
const MAX_ATTEMPTS: usize = 12;

/// Total wait between attempts.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// A request of a case.
#[derive(Debug)]
#[must_use = "a request is not sent before `send` or `expect` is awaited"]
pub struct Call {
    context: Context,
    method: Method,
    /// With `{name}` for parameters.
    path: String,
    query: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
    once: bool,
    lenient: bool,
    /// Why the case has built an invalid request.
    invalid: Option<String>,
}

impl Call {
    pub(super) fn new(context: &Context, method: Method, path: String) -> Self {
        Self {
            context: context.clone(),
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            once: false,
            lenient: false,
            invalid: None,
        }
    }

    pub(super) fn invalid(mut self, why: String) -> Self {
        self.invalid.get_or_insert(why);
        self
    }

    /// Sets a path parameter, percent-encoded.
    pub fn path(mut self, name: &str, value: impl Display) -> Self {
        let place = format!("{{{name}}}");
        if self.path.contains(&place) {
            self.path = self.path.replace(&place, &percent_encoded(&value.to_string()));
            self
        } else {
            let why = format!("{} has no parameter {place}", self.path);
            self.invalid(why)
        }
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        self.query.push(format!(
            "{}={}",
            percent_encoded(name),
            percent_encoded(&value.to_string())
        ));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.headers.push((name, value));
                self
            }
            (_, _) => self.invalid(format!("{name:?} with this value is not a valid header")),
        }
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds the user's token.
    pub fn as_user(self, user: &User) -> Self {
        self.bearer(&user.token)
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body(Some("application/json"), body.to_string())
    }

    /// Sets a body with any content type, or none.
    pub fn body(mut self, content_type: Option<&str>, bytes: impl Into<Bytes>) -> Self {
        self.body = Some(bytes.into());
        match content_type {
            Some(content_type) => self.header("content-type", content_type),
            None => self,
        }
    }

    /// Disables retries of 429 and 503.
    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// For setup requests: an invalid response is recorded as a separate failure and used as far as
    /// possible. Otherwise one fault in registration would hide all others.
    pub(super) fn tolerant(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// Sends the request. Retries 429 and 503 after `Retry-After`, within bounds.
    ///
    /// # Errors
    /// If there is no response or an invalid one.
    pub async fn send(self) -> Result<Answer, Failure> {
        let (context, once, lenient) = (self.context.clone(), self.once, self.lenient);
        let request = self.build()?;
        let secrets = secrets(&context, &request);
        let mut waited = Duration::ZERO;
        for attempt in 1.. {
            if context.stopped() {
                return Err(Failure::new("the run was interrupted"));
            }
            let exchange = context.run().transport.send(request.clone()).await;
            context.remember(&exchange);
            let received = match &exchange.answer {
                Ok(received) => received,
                Err(error) => {
                    return Err(Failure::shown_by(
                        format!("expected an answer, got none: {error}"),
                        &exchange,
                    ));
                }
            };
            check(&context, &exchange, received, &secrets, lenient)?;
            let again = matches!(received.status, 429 | 503) && !once && attempt < MAX_ATTEMPTS;
            if let Some(wait) =
                retry_after(received).filter(|wait| again && waited + *wait <= MAX_WAIT)
            {
                waited += wait;
                tokio::select! {
                    () = tokio::time::sleep(wait) => continue,
                    () = context.run().options.stop.cancelled(), if !context.is_cleanup() => continue,
                }
            }
            let answer = Answer::new(received, &exchange);
            if answer.status == 201 && answer.headers.contains_key("location") && !lenient {
                match request.token() {
                    Some(token) => Box::pin(follow(&context, &answer, token)).await?,
                    // Only its owner can read it, and this request has no token.
                    None => drop(location_path(&context, &answer)?),
                }
            }
            return Ok(answer);
        }
        Err(Failure::new("a request that is never sent"))
    }

    /// Sends the request and expects this status.
    ///
    /// # Errors
    /// As [`Call::send`], and for another status.
    pub async fn expect(self, status: u16) -> Result<Answer, Failure> {
        let answer = self.send().await?;
        if answer.status == status {
            return Ok(answer);
        }
        let code = answer
            .json()
            .get("code")
            .and_then(Value::as_str)
            .map(|code| format!(" {code}"))
            .unwrap_or_default();
        Err(answer.fail(format!("expected {status}, got {}{code}", answer.status)))
    }

    fn build(self) -> Result<Request, Failure> {
        if let Some(why) = self.invalid {
            return Err(Failure::new(format!("the suite has an invalid case: {why}")));
        }
        if self.path.contains('{')
            && self
                .context
                .document()
                .operations()
                .iter()
                .any(|operation| operation.path == self.path)
        {
            return Err(Failure::new(format!(
                "the suite has an invalid case: {} has a parameter without a value",
                self.path
            )));
        }
        let mut path = self.path;
        for (index, pair) in self.query.iter().enumerate() {
            path.push(if index == 0 && !path.contains('?') { '?' } else { '&' });
            path.push_str(pair);
        }
        let mut headers = self.headers;
        if !headers.iter().any(|(name, _)| name == "x-request-id") {
            let id = HeaderValue::try_from(Uuid::now_v7().to_string())
                .map_err(|error| Failure::new(error.to_string()))?;
            // First, so that a server that stops reading headers has seen it.
            headers.insert(0, (HeaderName::from_static("x-request-id"), id));
        }
        // The URL parser normalizes paths: encoding, `/a/../b`.
        let (url, path) = self
            .context
            .run()
            .transport
            .address(&path)
            .map_err(|why| Failure::new(format!("the suite has an invalid case: {why}")))?;
        Ok(Request { method: self.method, path, url, headers, body: self.body })
    }
}

fn check(
    context: &Context,
    exchange: &Arc<RecordedExchange>,
    received: &RawResponse,
    secrets: &[String],
    lenient: bool,
) -> Result<(), Failure> {
    let request = &exchange.request;
    let document = context.document();
    let sent = RequestContext {
        request_id: request_id(request),
        prefix: context.run().transport.prefix(),
        secrets,
        malformed: request.is_malformed(),
    };
    let faults = document.check_with_request(
        &Exchange {
            method: request.method.as_str(),
            path: &request.path,
            status: received.status,
            headers: &received.headers,
            body: &received.body,
        },
        &sent,
    );
    let operation = document.operation_of(request.method.as_str(), &request.path);
    if let Some(operation) = operation {
        context.ledger().note(operation, request, received);
        if !context.is_cleanup() && request.method != Method::HEAD {
            context.ledger().count(&operation.id, received.status, faults.is_empty());
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let failure = Failure::shown_by(
        format!("the response does not conform to the document:\n- {}", faults.join("\n- ")),
        exchange,
    );
    match operation {
        Some(operation) if lenient => {
            if !context.is_cleanup() {
                context.ledger().incident(Incident {
                    operation: operation.id.clone(),
                    status: received.status,
                    failure,
                });
            }
            Ok(())
        }
        Some(_) | None => Err(failure),
    }
}

/// The path of a `Location` that can be read.
fn location_path(context: &Context, answer: &Answer) -> Result<String, Failure> {
    let location = answer.header("location")?;
    let path = context
        .run()
        .transport
        .resolve_location(answer.request(), location)
        .map_err(|fault| answer.fail(format!("Location: {fault}")))?;
    if context.document().operation_of("GET", &path).is_none() {
        return Err(
            answer.fail(format!("Location: expected the path of an operation, got {location:?}"))
        );
    }
    Ok(path)
}

/// Reads the `Location` of a response and expects the same resource.
pub(super) async fn follow(context: &Context, answer: &Answer, token: &str) -> Result<(), Failure> {
    let path = location_path(context, answer)?;
    let found = Call::new(context, Method::GET, path).bearer(token).send().await?;
    let (made, read) = (answer.json(), found.json());
    let same = match made.get("id") {
        Some(id) => read.get("id") == Some(id),
        None => made == read,
    };
    if found.status != 200 || !same {
        let what = format!(
            "Location: expected the created resource at {:?}, got {}",
            found.request().path,
            found.status
        );
        return Err(answer.fail(what).and(found.exchange()));
    }
    Ok(())
}

/// The request id that must be echoed, if it is valid.
fn request_id(request: &Request) -> Option<&str> {
    let sent = request.headers.iter().filter(|(name, _)| name == "x-request-id").count();
    let allowed = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
            })
    };
    request.header("x-request-id").filter(|id| sent == 1 && allowed(id))
}

/// Passwords of the run, and the password and token of this request, unless the request repeats
/// them elsewhere.
fn secrets(context: &Context, request: &Request) -> Vec<String> {
    let body: Value = request
        .body
        .as_ref()
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    let members = || {
        body.as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    };
    let is_secret = |name: &str| name.contains("password");
    let sent = members()
        .filter(|(name, _)| is_secret(name))
        .map(|(_, value)| value)
        .chain(request.token());
    let public = |secret: &str| {
        request.path.contains(secret)
            || members().any(|(name, value)| !is_secret(name) && value.contains(secret))
    };
    let mut secrets = context.ledger().guarded_passwords();
    secrets.extend(sent.filter(|secret| !public(secret)).map(str::to_owned));
    secrets
}

fn retry_after(received: &RawResponse) -> Option<Duration> {
    let seconds: u64 = single_header(&received.headers, "retry-after").ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.max(1)))
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
