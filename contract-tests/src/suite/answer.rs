//! An answer that is as the document declares it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Failure;
use crate::{
    check::only,
    http::{Exchanged, Received, Request},
};

/// An answer that is as the document declares it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    json: Value,
    exchange: Arc<Exchanged>,
}

impl Answer {
    pub(super) fn new(received: &Received, exchange: &Arc<Exchanged>) -> Self {
        Self {
            status: received.status,
            headers: received.headers.clone(),
            body: received.body.clone(),
            json: serde_json::from_slice(&received.body).unwrap_or_default(),
            exchange: Arc::clone(exchange),
        }
    }

    /// The body; null if it is no JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// A header that is there once.
    ///
    /// # Errors
    /// When it is not there, or more than once.
    pub fn header(&self, name: &str) -> Result<&str, Failure> {
        only(&self.headers, name).map_err(|fault| self.fail(fault))
    }

    /// That this is a problem of this code.
    ///
    /// # Errors
    /// When it is another one, or none.
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

    /// What was sent.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.exchange.request
    }

    /// A failure that this answer shows.
    pub fn fail(&self, message: impl Into<String>) -> Failure {
        Failure::of(self, message)
    }

    pub(super) fn exchange(&self) -> &Arc<Exchanged> {
        &self.exchange
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n\n{}", self.exchange.request.curl(), self.exchange.raw_answer())
    }
}
