//! Why a case failed, with the requests and answers that show it.

use std::{fmt, sync::Arc};

use super::Answer;
use crate::http::Exchanged;

/// Why a case failed.
///
/// Tokens and passwords are in it as they are: they belong to users that the suite made.
#[derive(Clone)]
pub struct Failure {
    message: String,
    exchanges: Vec<Arc<Exchanged>>,
}

impl Failure {
    /// A failure that no single exchange shows: the last ones of the case are shown with it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exchanges: Vec::new() }
    }

    /// A failure that an answer shows.
    pub fn of(answer: &Answer, message: impl Into<String>) -> Self {
        Self { message: message.into(), exchanges: vec![Arc::clone(answer.exchange())] }
    }

    /// The failure, shown by another answer as well.
    #[must_use]
    pub fn and(mut self, answer: &Answer) -> Self {
        self.exchanges.push(Arc::clone(answer.exchange()));
        self
    }

    pub(crate) fn shown_by(message: String, exchange: &Arc<Exchanged>) -> Self {
        Self { message, exchanges: vec![Arc::clone(exchange)] }
    }

    /// The failure, with the last exchanges of its case if it has none of its own.
    pub(super) fn or_shown_by(mut self, last: Vec<Arc<Exchanged>>) -> Self {
        if self.exchanges.is_empty() {
            self.exchanges = last;
        }
        self
    }

    /// What was expected and what came, in sentences.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was sent and answered.
    #[must_use]
    pub fn exchanges(&self) -> &[Arc<Exchanged>] {
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
