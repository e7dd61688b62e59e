//! A response that conforms to the document.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::{
    check::single_header,
    http::{RawResponse, RecordedExchange, Request},
    report::Failure,
};

/// A response that conforms to the document.
#[derive(Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    json: Value,
    exchange: Arc<RecordedExchange>,
}

impl Answer {
    pub(super) fn new(received: &RawResponse, exchange: &Arc<RecordedExchange>) -> Self {
        Self {
            status: received.status,
            headers: received.headers.clone(),
            body: received.body.clone(),
            json: serde_json::from_slice(&received.body).unwrap_or_default(),
            exchange: Arc::clone(exchange),
        }
    }

    /// The body; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The value of a header that occurs once.
    ///
    /// # Errors
    /// If it is missing or repeated.
    pub fn header(&self, name: &str) -> Result<&str, Failure> {
        single_header(&self.headers, name).map_err(|fault| self.fail(fault))
    }

    /// Expects a problem with this code.
    ///
    /// # Errors
    /// If it is another response.
    pub fn problem(&self, code: &str) -> Result<(), Failure> {
        match self.json.get("code").and_then(Value::as_str) {
            Some(came) if came == code => Ok(()),
            Some(came) => {
                Err(self
                    .fail(format!("expected a problem of code {code}, got {} {came}", self.status)))
            }
            None => Err(self.fail(format!(
                "expected a problem of code {code}, got {} without a code",
                self.status
            ))),
        }
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.exchange.request
    }

    /// A failure that shows this response.
    pub fn fail(&self, message: impl Into<String>) -> Failure {
        Failure::shown_by(message, &self.exchange)
    }

    /// The request and the response, for a failure.
    #[must_use]
    pub fn exchange(&self) -> &Arc<RecordedExchange> {
        &self.exchange
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n\n{}", self.exchange.request.curl(), self.exchange.raw_answer())
    }
}
