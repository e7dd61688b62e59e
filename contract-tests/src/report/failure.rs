//! Failures of cases, with the exchanges that show them.

use std::{fmt, sync::Arc};

use crate::http::RecordedExchange;

/// A failure of a case.
///
/// It contains tokens and passwords of users that the suite registered.
#[derive(Clone)]
pub struct Failure {
    message: String,
    exchanges: Vec<Arc<RecordedExchange>>,
}

impl Failure {
    /// A failure that the last exchanges of the case illustrate.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exchanges: Vec::new() }
    }

    /// A failure that this exchange shows.
    pub fn shown_by(message: impl Into<String>, exchange: &Arc<RecordedExchange>) -> Self {
        Self { message: message.into(), exchanges: vec![Arc::clone(exchange)] }
    }

    /// Adds an exchange to the failure.
    #[must_use]
    pub fn and(mut self, exchange: &Arc<RecordedExchange>) -> Self {
        self.exchanges.push(Arc::clone(exchange));
        self
    }

    /// Adds the last exchanges if the failure has none.
    pub(crate) fn with_fallback_exchanges(mut self, last: Vec<Arc<RecordedExchange>>) -> Self {
        if self.exchanges.is_empty() {
            self.exchanges = last;
        }
        self
    }

    /// What was expected, and what came.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The requests and responses.
    #[must_use]
    pub fn exchanges(&self) -> &[Arc<RecordedExchange>] {
        &self.exchanges
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for exchange in &self.exchanges {
            write!(formatter, "\n\n{}\n\n{}", exchange.request.curl(), exchange.raw_answer())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
