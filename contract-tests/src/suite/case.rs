//! A case: its name, its cell in the table, and its function.

use std::{fmt, pin::Pin};

use super::{Context, Failure};

type Outcome = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
type BoxedRun = Box<dyn FnOnce(Context) -> Outcome + Send>;

/// A requirement that a run may lack. The case is then skipped with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// None.
    None,
    /// `--exhaust-stock`: the case sells a product out.
    ExhaustStock,
    /// `--expired-token`.
    ExpiredToken,
    /// A raw connection: a URL with `http`.
    PlainHttp,
}

/// A case of the suite.
#[non_exhaustive]
pub struct Case {
    /// Its subject: "quantity over its maximum".
    pub name: String,
    /// `operationId`.
    pub operation: String,
    /// The declared status that it tests.
    pub status: u16,
    /// Whether it runs without other cases.
    pub serial: bool,
    /// The requirement.
    pub requires: Requirement,
    run: BoxedRun,
}

impl Case {
    /// A parallel case without requirements.
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
            serial: false,
            requires: Requirement::None,
            run,
        }
    }

    /// Runs the case without others.
    #[must_use]
    pub fn serial(self) -> Self {
        Self { serial: true, ..self }
    }

    /// Adds a requirement.
    #[must_use]
    pub fn requires(self, requires: Requirement) -> Self {
        Self { requires, ..self }
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
            .field("alone", &self.serial)
            .field("requires", &self.requires)
            .finish_non_exhaustive()
    }
}
