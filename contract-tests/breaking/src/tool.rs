//! Runs oasdiff and buf.
//!
//! Each tool follows a configuration file. With an empty one, it would report nothing, so each tool
//! must first report a known break.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use thiserror::Error;

/// A tool that failed, or that does not report a known break.
#[derive(Debug, Error)]
pub enum ToolError {
    #[error("failed to start {program}: {error}; run tools/install", program = program.display())]
    Start { program: PathBuf, error: io::Error },
    #[error("{program} failed ({status}):\n{output}", program = program.display())]
    Failed { program: PathBuf, status: String, output: String },
    #[error(
        "{program} does not report {known_break}, so it would miss other breaks; {config} must have {expected}",
        program = program.display()
    )]
    Ineffective {
        program: PathBuf,
        known_break: &'static str,
        config: &'static str,
        expected: &'static str,
    },
    #[error("failed to use a temporary directory: {0}")]
    Temporary(#[from] io::Error),
}

impl ToolError {
    /// The error of a program whose output or status is not valid.
    pub(crate) fn failed(program: &Path, output: &Output) -> Self {
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        let (program, status) = (program.to_owned(), output.status.to_string());
        Self::Failed { program, status, output: text }
    }
}

pub(crate) fn run(program: &Path, command: &mut Command) -> Result<Output, ToolError> {
    command.output().map_err(|error| ToolError::Start { program: program.to_owned(), error })
}
