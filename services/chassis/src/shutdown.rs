//! SIGTERM and Ctrl-C, turned into one token that every role follows.

use std::{process, thread, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{StartError, telemetry};

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const IMPATIENT: i32 = 130;

/// A token that is cancelled by the first SIGTERM or Ctrl-C. A second one ends the process at once
/// with exit code 130, for whoever will not wait for the drain.
///
/// # Errors
/// When the system does not let this process listen for signals.
pub fn on_signals() -> Result<CancellationToken, StartError> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    tokio::spawn({
        let token = token.clone();
        async move {
            let signal = signals.next().await;
            tracing::info!(
                signal,
                "shutting down: what is under way is finished first; a second signal ends at once"
            );
            token.cancel();
            let signal = signals.next().await;
            tracing::warn!(signal, "ending at once: requests and events under way are cut off");
            telemetry::flush();
            process::exit(IMPATIENT);
        }
    });
    Ok(token)
}

/// Returns a token that is cancelled by the first SIGTERM or Ctrl-C, for commands that end on it.
///
/// A write to a pipe that is full has no time limit, and neither has a call of a C library. So a
/// process that has not ended within a second is ended here, with the exit code that `last_words`
/// returns. It may print.
///
/// # Errors
/// When the system does not let this process listen for signals.
pub fn on_first_signal(
    last_words: impl FnOnce() -> i32 + Send + 'static,
) -> Result<CancellationToken, StartError> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    tokio::spawn({
        let token = token.clone();
        async move {
            signals.next().await;
            // Not a task: the runtime may end before the process does. Without a thread the token
            // has to do.
            let _ = thread::Builder::new().name("deadline".to_owned()).spawn(|| {
                thread::sleep(GRACE);
                let exit_code = telemetry::bounded(last_words).unwrap_or(1);
                telemetry::flush();
                process::exit(exit_code);
            });
            token.cancel();
        }
    });
    Ok(token)
}

/// SIGTERM and Ctrl-C, one after the other.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; the system's own way of ending this process at a signal is gone with
    /// it.
    ///
    /// # Errors
    /// When the system does not let this process listen for signals.
    fn listen() -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                StartError::new(format!(
                    "this process cannot listen for SIGTERM and Ctrl-C: {error}"
                ))
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
