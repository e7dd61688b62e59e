//! Why a command ends with an exit code other than 0.

use std::process::ExitCode;

use command_output::{OutputError, eprint_line};
use merch_chassis::StartError;

/// The end of a command that did not go as asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was not done.
    Start(StartError),
    /// Standard output did not take its answer.
    Output(OutputError),
}

impl Failure {
    /// Says it in one sentence on standard error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Start(error) => {
                eprint_line(format_args!("error: {error}"));
                ExitCode::FAILURE
            }
            Self::Output(error) => error.report(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        Self::Output(error)
    }
}
