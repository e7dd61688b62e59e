//! Output of command-line programs: results on standard output, messages on standard error.
//!
//! `println!` and `eprintln!` panic on a closed pipe or a full disk. After a change, a panic would
//! make the caller repeat it. All programs of this workspace use this crate instead; `clippy.toml`
//! bans the macros.
//!
//! | standard output | [`print()`] returns | [`OutputError::report`] |
//! |---|---|---|
//! | accepts the text | `Ok` | |
//! | is a pipe without a reader | [`OutputError::is_closed`] | exit code 0, no message |
//! | fails otherwise (full disk) | an error | exit code 1, message on standard error |
//!
//! A standard stream that is closed at the start is `/dev/null`: Rust's runtime opens it.

mod error;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

pub use error::OutputError;

const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Standard output as a writer.
///
/// Waits while a non-blocking descriptor is full. Call `flush` at the end: standard output is
/// line-buffered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

impl Stdout {
    /// Returns whether standard output is a terminal.
    #[must_use]
    pub fn is_terminal() -> bool {
        standard_output().is_terminal()
    }

    /// Returns whether the reader of standard output has closed the pipe or socket. Programs that
    /// wait between writes check this periodically; the next write would fail.
    #[must_use]
    #[cfg(unix)]
    pub fn has_lost_reader() -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let out = standard_output();
        let mut fds = [PollFd::new(&out, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// Returns `false`: the next write reports the error.
    #[must_use]
    #[cfg(not(unix))]
    pub fn has_lost_reader() -> bool {
        false
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry_while_blocked(|| standard_output().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        retry_while_blocked(|| standard_output().flush())
    }
}

/// Prints `text` and a line break to standard output.
///
/// # Errors
/// If the text was not written completely.
pub fn print(text: impl Display) -> Result<(), OutputError> {
    write(&format!("{text}\n"))
}

/// Prints the result of a command that has changed something. `done` names the change, in the past
/// tense without a full stop. The error repeats it, so that the user does not run the command
/// again.
///
/// # Errors
/// As [`print()`].
pub fn print_done(done: impl Display, text: impl Display) -> Result<(), OutputError> {
    print(text).map_err(|error| error.after(done))
}

/// Writes `text` to standard output.
///
/// # Errors
/// As [`print()`].
pub fn write(text: &str) -> Result<(), OutputError> {
    let mut out = Stdout;
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a line on standard error. Ignores errors, which could not be reported.
pub fn eprint_line(text: impl Display) {
    prompt(format_args!("{text}\n"));
}

/// Prints `text` on standard error without a line break. Ignores errors.
pub fn prompt(text: impl Display) {
    let text = text.to_string();
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Returns clap's result, and prints help, version and usage errors.
///
/// # Errors
/// The exit code: 0 after help or version, 2 after a usage error, 1 if the output failed.
pub fn parsed<T>(parsed: Result<T, clap::Error>) -> Result<T, ExitCode> {
    parsed.map_err(|error| {
        let printed = error.print();
        if error.use_stderr() {
            return ExitCode::from(2);
        }
        printed.map_or_else(|error| OutputError::from(error).report(), |()| ExitCode::SUCCESS)
    })
}

#[allow(clippy::disallowed_methods, reason = "the only use; it never panics")]
fn standard_output() -> io::Stdout {
    io::stdout()
}

fn retry_while_blocked<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            outcome => return outcome,
        }
    }
}
