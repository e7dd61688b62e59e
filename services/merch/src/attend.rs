//! The life of a process of long-running roles: wait until ready, say so, wait for a signal or a failure, drain.

use std::time::Duration;

use merch_chassis::{Part, Readiness, StartError};
use tokio_util::sync::CancellationToken;

use crate::{run_file::RunFile, supervisor::Supervisor};

/// How long a role may take before it is cut off: its calls have `drain` to end, and the events they wrote as long again to be shipped.
fn patience(drain: Duration) -> Duration {
    2 * drain + Duration::from_secs(5)
}

/// A process whose roles are being started.
#[derive(Debug)]
pub(crate) struct Process {
    /// Ready when every role is, and not shutting down: what `/readyz` answers.
    pub(crate) readiness: Readiness,
    pub(crate) roles: Supervisor,
    shutdown: CancellationToken,
    open: Part,
}

impl Process {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// When the system does not let this process listen for them.
    pub(crate) fn new() -> Result<Self, StartError> {
        let readiness = Readiness::default();
        let open = readiness.part("process");
        open.ready();
        Ok(Self { readiness, roles: Supervisor::default(), shutdown: merch_chassis::shutdown::on_signals()?, open })
    }

    /// Waits until every role is ready, calls `announce`, and then waits for a signal or the end of a role; the roles are drained either way, each with
    /// `drain` for what is under way.
    ///
    /// # Errors
    /// Why a role ended although nobody asked it to, or what failed while draining.
    pub(crate) async fn attend(
        mut self,
        drain: Duration,
        announce: impl FnOnce() -> Result<Option<RunFile>, StartError>,
    ) -> Result<(), StartError> {
        let (mut announced, mut run_file) = (false, None);
        let ended = tokio::select! {
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
        // A failed start is told in one sentence at the end of the process; of a store that was open, the log tells it in its place, too.
        if let (Err(error), true) = (&ended, announced) {
            tracing::error!(%error, "a role has ended: the others are drained");
        }
        self.open.not_ready("shutting down");
        let drained = self.roles.drain(patience(drain)).await;
        if let Some(file) = run_file {
            file.remove();
        }
        ended.and(drained)
    }
}
