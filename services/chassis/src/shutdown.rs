//! SIGTERM and Ctrl-C as a cancellation token.

use std::{process, thread, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{StartError, telemetry};

const EXIT_GRACE: Duration = Duration::from_secs(1);

/// 128 + SIGINT, as in shells.
const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

/// Returns a token that the first SIGTERM or Ctrl-C cancels. A second one exits with code 130.
///
/// # Errors
/// If signal handlers cannot be installed.
pub fn on_signals() -> Result<CancellationToken, StartError> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    tokio::spawn({
        let token = token.clone();
        async move {
            let signal = signals.next().await;
            tracing::info!(
                signal,
                "shutting down; draining requests in flight; a second signal exits immediately"
            );
            token.cancel();
            let signal = signals.next().await;
            tracing::warn!(signal, "exiting immediately; requests and events in flight are lost");
            telemetry::flush();
            process::exit(SECOND_SIGNAL_EXIT_CODE);
        }
    });
    Ok(token)
}

/// Returns a token that the first SIGTERM or Ctrl-C cancels, for commands that end on it.
///
/// Blocked writes and calls of C libraries cannot be cancelled: after a second, the process exits
/// with the code of `on_timeout`, which may print.
///
/// # Errors
/// If signal handlers cannot be installed.
pub fn on_first_signal(
    on_timeout: impl FnOnce() -> i32 + Send + 'static,
) -> Result<CancellationToken, StartError> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    tokio::spawn({
        let token = token.clone();
        async move {
            signals.next().await;
            // The runtime may end before the process. If no thread can start, the token has to do.
            let _ = thread::Builder::new().name("deadline".to_owned()).spawn(|| {
                thread::sleep(EXIT_GRACE);
                let exit_code = telemetry::run_with_timeout(on_timeout).unwrap_or(1);
                telemetry::flush();
                process::exit(exit_code);
            });
            token.cancel();
        }
    });
    Ok(token)
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                StartError::new(format!(
                    "cannot install handlers for SIGTERM and Ctrl-C: {error}; \
                    check the limits of this process"
                ))
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
