//! The roles of one process: started in order, watched, and drained in the opposite order.

use std::time::Duration;

use merch_chassis::StartError;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long a role that is cut off may take to be gone: to its next `await`.
const CUT_OFF: Duration = Duration::from_secs(1);

/// A role that has not ended.
#[derive(Clone, Debug)]
struct Running {
    name: &'static str,
    /// Asks it to drain and end.
    token: CancellationToken,
    task: AbortHandle,
}

/// The running roles.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<(&'static str, Result<(), StartError>)>,
    /// In the order of the start; those that have ended are taken out.
    running: Vec<Running>,
}

impl Supervisor {
    /// Starts a role. `serve` gets the token that asks it to drain and end.
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
        // A task around the role's, so that a panic is told with the role's name.
        self.tasks.spawn(async move {
            let ended = match role.await {
                Ok(ended) => ended,
                Err(error) if error.is_cancelled() => Ok(()), // by `drain`, which tells of it
                Err(_) => Err(StartError::new(format!(
                    "the role {name} crashed, which is a bug; the log has the reason"
                ))),
            };
            (name, ended)
        });
    }

    /// Waits for a role that ends although nobody asked it to, and says why.
    pub(crate) async fn failure(&mut self) -> StartError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((name, ended))) => {
                    self.running.retain(|role| role.name != name);
                    return ended.err().unwrap_or_else(|| {
                        StartError::new(format!(
                            "the role {name} ended although nobody asked it to"
                        ))
                    });
                }
                // The outer tasks neither panic nor are aborted.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Asks the roles to end, the last started first, each after the one before it has ended;
    /// `patience` is for each. One that has not ended by then is aborted; tasks that it has spawned
    /// for itself go on until the process ends.
    ///
    /// # Errors
    /// The first failure of a role while it ended.
    pub(crate) async fn drain(mut self, patience: Duration) -> Result<(), StartError> {
        let mut result = Ok(());
        while let Some(Running { name, token, task }) = self.running.last().cloned() {
            tracing::debug!(role = name, "draining");
            token.cancel();
            match timeout(patience, self.ended(name)).await {
                Ok(ended) => result = result.and(ended),
                Err(_) => {
                    task.abort();
                    result = result.and(Err(StartError::new(format!(
                        "the role {name} did not end within {} s and was cut off",
                        patience.as_secs()
                    ))));
                    // A role that never awaits anything cannot be aborted; the others are drained
                    // all the same.
                    if let Ok(ended) = timeout(CUT_OFF, self.ended(name)).await {
                        result = result.and(ended);
                    }
                    self.running.retain(|role| role.name != name);
                }
            }
        }
        result
    }

    /// Waits until `name` has ended; others that end meanwhile are taken out, too.
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

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Starts a role that ends when asked and writes its name down.
    fn follow(
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
    async fn roles_end_in_the_opposite_order() {
        let ended = Arc::default();
        let mut supervisor = Supervisor::default();
        for name in ["logging", "db", "api"] {
            follow(&mut supervisor, name, &ended);
        }
        supervisor.drain(PATIENCE).await.unwrap();
        assert_eq!(*ended.lock().unwrap(), ["api", "db", "logging"]);
    }

    #[tokio::test]
    async fn a_role_that_dies_is_told_and_the_others_are_drained() {
        let ended = Arc::default();
        let mut supervisor = Supervisor::default();
        follow(&mut supervisor, "logging", &ended);
        supervisor.start("db", |_| async { Err(StartError::new("the disk is full")) });
        follow(&mut supervisor, "api", &ended);
        assert_eq!(supervisor.failure().await.to_string(), "the disk is full");
        supervisor.drain(PATIENCE).await.unwrap();
        assert_eq!(*ended.lock().unwrap(), ["api", "logging"]);
    }

    #[tokio::test]
    async fn a_role_that_ends_unasked_or_panics_is_a_failure() {
        let mut supervisor = Supervisor::default();
        supervisor.start("api", |_| async { Ok(()) });
        assert_eq!(
            supervisor.failure().await.to_string(),
            "the role api ended although nobody asked it to"
        );
        supervisor.start("db", |_| async { panic!("a test") });
        assert_eq!(
            supervisor.failure().await.to_string(),
            "the role db crashed, which is a bug; the log has the reason"
        );
    }

    #[tokio::test]
    async fn a_role_that_does_not_end_is_cut_off() {
        let ended = Arc::default();
        let gone = CancellationToken::new();
        let mut supervisor = Supervisor::default();
        follow(&mut supervisor, "db", &ended);
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
