use std::{thread, time::Duration};

use command_output::print;
use merch_chassis::{Readiness, StartError};
use tokio_util::sync::CancellationToken;

use crate::{run_file::RunFile, settings::common::ProcessSettings, supervisor::Supervisor};

/// Returns the time limit of a role: `drain` for its requests, and the same again for its events.
fn drain_limit(drain: Duration) -> Duration {
    2 * drain + Duration::from_secs(5)
}

/// Prints `text` on a separate thread, because a full pipe must not delay signal handling. The
/// process keeps serving if printing fails.
pub(crate) fn announce(text: String) {
    let printing = thread::Builder::new().name("announce".to_owned()).spawn(|| {
        if let Err(error) = print(text) {
            tracing::warn!(%error, "failed to print the addresses; continuing to serve");
        }
    });
    if let Err(error) = printing {
        tracing::warn!(%error, "failed to start the thread that prints the addresses; continuing \
                                to serve");
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    /// Ready when every role is, until shutdown.
    pub(crate) readiness: Readiness,
    pub(crate) roles: Supervisor,
    /// The role that receives external requests: the one started last.
    entry_role: Option<Readiness>,
    shutdown: CancellationToken,
}

impl Process {
    pub(crate) fn new() -> Result<Self, StartError> {
        let shutdown = merch_chassis::shutdown::on_signals()?;
        Ok(Self {
            readiness: Readiness::expecting("roles"),
            roles: Supervisor::default(),
            entry_role: None,
            shutdown,
        })
    }

    /// Returns `None` if a signal arrives first.
    pub(crate) async fn unless_shut_down<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(work).await
    }

    /// Starts a role. The role that is started last receives external requests.
    pub(crate) fn start<F>(
        &mut self,
        name: &'static str,
        serve: impl FnOnce(Readiness, CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), StartError>> + Send + 'static,
    {
        let readiness = self.readiness.child(name);
        self.entry_role = Some(readiness.clone());
        self.roles.start(name, |shutdown| serve(readiness, shutdown));
    }

    /// Starts a role without which the process is only degraded.
    pub(crate) fn start_in_background<F>(
        &mut self,
        name: &'static str,
        serve: impl FnOnce(Readiness, CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), StartError>> + Send + 'static,
    {
        let readiness = self.readiness.optional_child(name);
        self.roles.start(name, |shutdown| serve(readiness, shutdown));
    }

    /// Waits until every role is ready, calls `announce`, and drains the roles after a signal or
    /// the end of one. A signal first makes the process "not ready" for the shutdown delay.
    pub(crate) async fn run_until_shutdown(
        mut self,
        role: &ProcessSettings,
        announce: impl FnOnce() -> Result<Option<RunFile>, StartError>,
    ) -> Result<(), StartError> {
        let (mut announced, mut run_file) = (false, None);
        let mut ended = tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            failure = self.roles.failure() => Err(failure),
            file = async { self.readiness.ready().await; announce() } => match file {
                Err(error) => Err(error),
                Ok(file) => {
                    (announced, run_file) = (true, file);
                    tokio::select! {
                        () = self.shutdown.cancelled() => Ok(()),
                        failure = self.roles.failure() => Err(failure),
                    }
                }
            },
        };
        // `main` prints the error of a failed start; after the start it also belongs in the log.
        if let (Err(error), true) = (&ended, announced) {
            tracing::error!(%error, "role ended unexpectedly; draining the others");
        }
        self.readiness.stop();
        // The other roles serve this one until it has drained.
        if let Some(entry_role) = &self.entry_role {
            entry_role.stop();
        }
        if ended.is_ok() && announced && !role.shutdown_delay.is_zero() {
            tracing::info!(
                delay_seconds = role.shutdown_delay.as_secs_f64(),
                "not ready; still serving during the shutdown delay"
            );
            tokio::select! {
                () = tokio::time::sleep(role.shutdown_delay) => {}
                failure = self.roles.failure() => ended = Err(failure),
            }
        }
        let drained = self.roles.drain(drain_limit(role.drain_timeout)).await;
        if let Some(file) = run_file {
            file.remove();
        }
        ended.and(drained)
    }
}
