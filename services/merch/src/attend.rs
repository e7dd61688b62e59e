//! The life of a process of long-running roles: wait until ready, say so, wait for a signal or a
//! failure, go on for a while as "not ready", drain.

use std::{thread, time::Duration};

use command_output::print;
use merch_chassis::{Readiness, StartError};
use tokio_util::sync::CancellationToken;

use crate::{run_file::RunFile, settings::common::Role, supervisor::Supervisor};

/// How long a role may take before it is cut off: its calls have `drain` to end, and the events
/// they wrote as long again to be shipped.
fn patience(drain: Duration) -> Duration {
    2 * drain + Duration::from_secs(5)
}

/// Prints where a ready process listens. It keeps serving when that cannot be written: run.json has
/// the addresses.
///
/// A thread of its own prints, and nothing waits for it: a full pipe must not keep a signal from
/// being seen.
pub(crate) fn announce(text: String) {
    let printing = thread::Builder::new().name("announce".to_owned()).spawn(|| {
        if let Err(error) = print(text) {
            tracing::warn!(%error, "the addresses cannot be printed; serving nevertheless");
        }
    });
    if let Err(error) = printing {
        tracing::warn!(%error, "no thread can print the addresses; serving nevertheless");
    }
}

/// A process whose roles are being started.
#[derive(Debug)]
pub(crate) struct Process {
    /// Ready when every role is, and not shutting down: what `/readyz` answers.
    pub(crate) readiness: Readiness,
    pub(crate) roles: Supervisor,
    /// Of the role that others send their requests to: the one that was started last.
    front: Option<Readiness>,
    shutdown: CancellationToken,
}

impl Process {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// When the system does not let this process listen for them.
    pub(crate) fn new() -> Result<Self, StartError> {
        let shutdown = merch_chassis::shutdown::on_signals()?;
        Ok(Self {
            readiness: Readiness::expecting("roles"),
            roles: Supervisor::default(),
            front: None,
            shutdown,
        })
    }

    /// Runs `work`, before any role is started. Gives `None` when a signal came first.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(work).await
    }

    /// Starts a role of the store, which gets a readiness of its own. The last one is that which
    /// others send their requests to.
    pub(crate) fn start<F>(
        &mut self,
        name: &'static str,
        serve: impl FnOnce(Readiness, CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), StartError>> + Send + 'static,
    {
        let readiness = self.readiness.child(name);
        self.front = Some(readiness.clone());
        self.roles.start(name, |shutdown| serve(readiness, shutdown));
    }

    /// Starts a role that the others do without for a while: while it is not ready, the process is
    /// degraded.
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

    /// Waits until every role is ready, calls `announce`, and then waits for a signal or the end of
    /// a role; the roles are drained either way, each with the drain's time for what is under way.
    /// After a signal the process says first that it is not ready any more, and goes on for the
    /// shutdown's delay.
    ///
    /// # Errors
    /// Why a role ended although nobody asked it to, or what failed while draining.
    pub(crate) async fn attend(
        mut self,
        role: &Role,
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
        // A failed start is told in one sentence at the end of the process; of a store that was
        // open, the log tells it in its place, too.
        if let (Err(error), true) = (&ended, announced) {
            tracing::error!(%error, "a role has ended: the others are drained");
        }
        self.readiness.stop();
        // The other roles of this process are this one's alone: they go on until it has drained.
        if let Some(front) = &self.front {
            front.stop();
        }
        if ended.is_ok() && announced && !role.shutdown_delay.is_zero() {
            tracing::info!(
                delay_seconds = role.shutdown_delay.as_secs_f64(),
                "not ready any more; who comes all the same is served for a while"
            );
            tokio::select! {
                () = tokio::time::sleep(role.shutdown_delay) => {}
                failure = self.roles.failure() => ended = Err(failure),
            }
        }
        let drained = self.roles.drain(patience(role.drain_timeout)).await;
        if let Some(file) = run_file {
            file.remove();
        }
        ended.and(drained)
    }
}
