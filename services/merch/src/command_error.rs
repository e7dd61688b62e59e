use std::process::ExitCode;

use command_output::{OutputError, eprint_line};
use merch_chassis::StartError;

#[derive(Debug)]
pub(crate) enum CommandError {
    Start(StartError),
    Output(OutputError),
}

impl CommandError {
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

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<OutputError> for CommandError {
    fn from(error: OutputError) -> Self {
        Self::Output(error)
    }
}
