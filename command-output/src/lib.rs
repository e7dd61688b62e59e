//! The output of command-line programs: answers on standard output, messages on standard error.
//!
//! `println!` panics when standard output is a closed pipe or a full disk, and `eprintln!`
//! likewise. A program that has changed something must not end like that: its caller would repeat
//! the change. So every program of this workspace writes through this crate, and `clippy.toml` bans
//! the macros.
//!
//! | standard output | [`print`] returns | [`OutputError::report`] |
//! |---|---|---|
//! | takes the text | `Ok` | |
//! | is a pipe without a reader, as in `… \| head -1` | [`OutputError::is_closed`] | exit code 0, no message |
//! | fails otherwise, as a full disk does | an error | exit code 1, a message on standard error |
//!
//! A standard stream that was closed before the start is `/dev/null`: Rust's runtime opens it.

mod error;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

pub use error::OutputError;

/// The pause before another attempt on a standard output that is non-blocking and has no room.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Standard output as a writer, for what is drawn or comes in parts.
///
/// A non-blocking descriptor (the other end of a pipe may have made it one) is waited for.
/// Call `flush` at the end: the text is buffered up to the last line break.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

impl Stdout {
    /// Whether standard output is a terminal.
    #[must_use]
    pub fn is_terminal() -> bool {
        standard_output().is_terminal()
    }

    /// Whether standard output is a pipe or socket whose reader has gone. A program that waits
    /// before it writes again asks this from time to time; the next write would fail with a broken
    /// pipe.
    #[must_use]
    #[cfg(unix)]
    pub fn has_lost_reader() -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let out = standard_output();
        let mut fds = [PollFd::new(&out, PollFlags::empty())];
        // A failed poll tells nothing, and the next write tells all.
        poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// Always `false`: the next write tells.
    #[must_use]
    #[cfg(not(unix))]
    pub fn has_lost_reader() -> bool {
        false
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(|| standard_output().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        patiently(|| standard_output().flush())
    }
}

/// Prints `text` and a line break to standard output.
///
/// # Errors
/// If the text did not get out; what standard output had room for may have been written.
pub fn print(text: impl Display) -> Result<(), OutputError> {
    write(&format!("{text}\n"))
}

/// Prints the answer of a command that has changed something. `done` says what, in the past tense
/// and without a full stop; an error repeats it, so that the user does not run the command a second
/// time.
///
/// # Errors
/// As [`print`].
pub fn print_done(done: impl Display, text: impl Display) -> Result<(), OutputError> {
    print(text).map_err(|error| error.after(done))
}

/// Writes `text` to standard output as it is.
///
/// # Errors
/// As [`print`].
pub fn write(text: &str) -> Result<(), OutputError> {
    let mut out = Stdout;
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a line on standard error. There is no other place to report a failure to, so it is
/// ignored.
pub fn say(text: impl Display) {
    prompt(format_args!("{text}\n"));
}

/// Prints `text` on standard error without a line break. A failure is ignored.
pub fn prompt(text: impl Display) {
    // In one piece: other processes may write there, too.
    let text = text.to_string();
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The command line that clap has parsed. Help, version and complaints are printed here.
///
/// # Errors
/// The exit code: 0 after help or version, 2 after a wrong command line, 1 if the help did not get
/// out.
pub fn parsed<T>(parsed: Result<T, clap::Error>) -> Result<T, ExitCode> {
    parsed.map_err(|error| {
        let printed = error.print();
        if error.use_stderr() {
            return ExitCode::from(2);
        }
        printed.map_or_else(|error| OutputError::from(error).report(), |()| ExitCode::SUCCESS)
    })
}

#[allow(clippy::disallowed_methods, reason = "the one place")]
fn standard_output() -> io::Stdout {
    io::stdout()
}

/// Repeats `attempt` while the descriptor has no room.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            outcome => return outcome,
        }
    }
}
