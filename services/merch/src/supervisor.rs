use std::time::Duration;

use merch_chassis::StartError;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Time for an aborted role to reach its next `await`.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Running {
    name: &'static str,
    token: CancellationToken,
    task: AbortHandle,
}

#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<(&'static str, Result<(), StartError>)>,
    /// The roles in start order.
    running: Vec<Running>,
}

impl Supervisor {
    /// Starts a role. It must drain when the token passed to `serve` is cancelled.
    pub(crate) fn start<F>(
        &mut self,
        name: &'static str,
        serve: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), StartError>> + Send + 'static,
    {
        let token = CancellationToken::new();
        let role = tokio::spawn(serve(token.clone()));
        self.running.push(Running { name, token, task: role.abort_handle() });
        // An outer task, so that a panic is reported with the role's name.
        self.tasks.spawn(async move {
            let ended = match role.await {
                Ok(ended) => ended,
                Err(error) if error.is_cancelled() => Ok(()), // by `drain`, which reports it
                Err(_) => Err(StartError::new(format!(
                    "the role {name} crashed, which is a bug; the log has the reason"
                ))),
            };
            (name, ended)
        });
    }

    /// Waits for a role that ends unexpectedly.
    pub(crate) async fn failure(&mut self) -> StartError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((name, ended))) => {
                    self.running.retain(|role| role.name != name);
                    return ended.err().unwrap_or_else(|| {
                        StartError::new(format!("the role {name} ended unexpectedly"))
                    });
                }
                // The outer tasks neither panic nor are aborted.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Drains the roles one at a time, in reverse start order, each within `limit`; then aborts the
    /// role. Tasks that a role has spawned run until the process exits.
    pub(crate) async fn drain(mut self, limit: Duration) -> Result<(), StartError> {
        let mut result = Ok(());
        while let Some(Running { name, token, task }) = self.running.last().cloned() {
            tracing::debug!(role = name, "draining");
            token.cancel();
            match timeout(limit, self.ended(name)).await {
                Ok(ended) => result = result.and(ended),
                Err(_) => {
                    task.abort();
                    result = result.and(Err(StartError::new(format!(
                        "the role {name} did not end within {} s and was aborted",
                        limit.as_secs()
                    ))));
                    // A role that never awaits cannot be aborted.
                    if let Ok(ended) = timeout(ABORT_TIMEOUT, self.ended(name)).await {
                        result = result.and(ended);
                    }
                    self.running.retain(|role| role.name != name);
                }
            }
        }
        result
    }

    /// Waits for a role; others may end in the meantime.
    async fn ended(&mut self, name: &'static str) -> Result<(), StartError> {
        let mut result = Ok(());
        while let Some(joined) = self.tasks.join_next().await {
            if let Ok((other, ended)) = joined {
                self.running.retain(|role| role.name != other);
                result = result.and(ended);
                if other == name {
                    break;
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const DRAIN_LIMIT: Duration = Duration::from_secs(10);

    fn start_recorded(
        supervisor: &mut Supervisor,
        name: &'static str,
        ended: &Arc<Mutex<Vec<&'static str>>>,
    ) {
        let ended = ended.clone();
        supervisor.start(name, |token| async move {
            token.cancelled().await;
            ended.lock().unwrap().push(name);
            Ok(())
        });
    }

    #[tokio::test]
    async fn roles_drain_in_reverse_order() {
        let ended = Arc::default();
        let mut supervisor = Supervisor::default();
        for name in ["logging", "db", "api"] {
            start_recorded(&mut supervisor, name, &ended);
        }
        supervisor.drain(DRAIN_LIMIT).await.unwrap();
        assert_eq!(*ended.lock().unwrap(), ["api", "db", "logging"]);
    }

    #[tokio::test]
    async fn failed_role_is_reported_and_others_drain() {
        let ended = Arc::default();
        let mut supervisor = Supervisor::default();
        start_recorded(&mut supervisor, "logging", &ended);
        supervisor.start("db", |_| async { Err(StartError::new("the disk is full")) });
        start_recorded(&mut supervisor, "api", &ended);
        assert_eq!(supervisor.failure().await.to_string(), "the disk is full");
        supervisor.drain(DRAIN_LIMIT).await.unwrap();
        assert_eq!(*ended.lock().unwrap(), ["api", "logging"]);
    }

    #[tokio::test]
    async fn unexpected_end_or_panic_is_a_failure() {
        let mut supervisor = Supervisor::default();
        supervisor.start("api", |_| async { Ok(()) });
        assert_eq!(supervisor.failure().await.to_string(), "the role api ended unexpectedly");
        supervisor.start("db", |_| async { panic!("a test") });
        assert_eq!(
            supervisor.failure().await.to_string(),
            "the role db crashed, which is a bug; the log has the reason"
        );
    }

    #[tokio::test]
    async fn hanging_role_is_aborted() {
        let ended = Arc::default();
        let gone = CancellationToken::new();
        let mut supervisor = Supervisor::default();
        start_recorded(&mut supervisor, "db", &ended);
        supervisor.start("api", |_| {
            let guard = gone.clone().drop_guard();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        });
        let error = supervisor.drain(Duration::from_millis(20)).await.unwrap_err().to_string();
        assert!(error.starts_with("the role api did not end within"), "{error}");
        assert!(gone.is_cancelled(), "what the role held is dropped");
        assert_eq!(*ended.lock().unwrap(), ["db"], "the others are drained");
    }
}
