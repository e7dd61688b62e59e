//! Errors of standard output.

use std::{fmt, io, process::ExitCode};

use crate::eprint_line;

/// Standard output did not accept a command's result.
#[derive(Debug)]
pub struct OutputError {
    cause: io::Error,
    done: Option<String>,
}

impl OutputError {
    /// Adds what the command has changed: see [`crate::print_done`].
    #[must_use]
    pub fn after(mut self, done: impl fmt::Display) -> Self {
        self.done = Some(done.to_string());
        self
    }

    /// Returns whether the reader has closed the pipe, as `head` does.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cause.kind() == io::ErrorKind::BrokenPipe
    }

    /// Prints the error to standard error, unless the reader has closed the pipe, and returns the
    /// exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.is_closed() {
            return ExitCode::SUCCESS;
        }
        eprint_line(format_args!("error: {self}"));
        ExitCode::FAILURE
    }
}

impl From<io::Error> for OutputError {
    fn from(cause: io::Error) -> Self {
        Self { cause, done: None }
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &self.cause;
        match &self.done {
            None => write!(
                formatter,
                "the output cannot be written to standard output: {cause}; \
                free disk space or send it elsewhere, and run the command again"
            ),
            Some(done) => write!(
                formatter,
                "the command was carried out, but its output cannot be written to standard \
                output: {cause}; do not run it again. Done: {done}"
            ),
        }
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> OutputError {
        io::Error::from(io::ErrorKind::StorageFull).into()
    }

    #[test]
    fn completed_change_is_part_of_the_error() {
        let text = full().to_string();
        assert!(text.contains("run the command again") && !text.contains("Done"), "{text}");
        let text = full().after("the stock of product 1 is 510").to_string();
        assert!(
            text.contains("do not run it again. Done: the stock of product 1 is 510"),
            "{text}"
        );
    }

    #[test]
    fn only_broken_pipe_is_closed() {
        assert!(OutputError::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_closed());
        assert!(!full().is_closed());
    }
}
