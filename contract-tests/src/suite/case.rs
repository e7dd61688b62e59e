//! One case: what it is called, which cell of the table it fills, and what it does.

use std::{fmt, pin::Pin};

use super::{Context, Failure};

type Outcome = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
type BoxedRun = Box<dyn FnOnce(Context) -> Outcome + Send>;

/// What a case needs that a run does not always have. Without it the case is skipped, and the table
/// says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It runs always.
    Nothing,
    /// It buys a product until it is sold out: `--exhaust-stock`.
    ExhaustStock,
    /// A token that has expired: `--expired-token`.
    ExpiredToken,
    /// Connections that can be read as they are: a URL of `http`.
    PlainHttp,
}

/// A case of the suite.
#[non_exhaustive]
pub struct Case {
    /// What it is about: "quantity over its maximum".
    pub name: String,
    /// `operationId`.
    pub operation: String,
    /// The declared status whose cell of the table it fills.
    pub status: u16,
    /// No other case runs beside it.
    pub alone: bool,
    /// Without this it is skipped.
    pub needs: Need,
    run: BoxedRun,
}

impl Case {
    /// A case that runs beside others and needs nothing.
    pub fn new<F, Fut>(operation: &str, status: u16, name: impl Into<String>, run: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let run: BoxedRun = Box::new(move |context| Box::pin(run(context)));
        Self {
            name: name.into(),
            operation: operation.to_owned(),
            status,
            alone: false,
            needs: Need::Nothing,
            run,
        }
    }

    /// The case, with no other beside it.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// The case, skipped without this.
    #[must_use]
    pub fn needs(self, needs: Need) -> Self {
        Self { needs, ..self }
    }

    pub(super) fn start(self, context: Context) -> Outcome {
        (self.run)(context)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Case")
            .field("name", &self.name)
            .field("operation", &self.operation)
            .field("status", &self.status)
            .field("alone", &self.alone)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}
