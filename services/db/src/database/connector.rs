//! Makes the connections of the pool, and closes old ones.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use deadpool::managed::{Manager, Metrics, RecycleResult};
use sea_orm::sqlx::{
    self, Connection as _,
    postgres::{PgConnectOptions, PgConnection},
};

use super::password::Password;

/// A connection that was used more recently needs no ping.
const ALIVE_FOR: Duration = Duration::from_millis(50);
/// Below the idle timeouts of cloud firewalls and load balancers (350 s and more), which drop
/// connections silently.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Limits the age of a connection, so that it eventually uses a moved address or a changed
/// password.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(500);

pub(super) struct Connector {
    pub(super) options: PgConnectOptions,
    pub(super) password: Option<Arc<Password>>,
}

pub(super) struct PooledConnection {
    pub(super) connection: PgConnection,
    /// Since it was borrowed last. Zero for a new connection.
    unused_for: Duration,
}

impl PooledConnection {
    pub(super) fn is_new(&self) -> bool {
        self.unused_for.is_zero()
    }

    pub(super) fn needs_ping(&self) -> bool {
        self.unused_for > ALIVE_FOR
    }
}

impl Manager for Connector {
    type Type = PooledConnection;
    type Error = sqlx::Error;

    /// Repeats while the server starts. The caller limits the time.
    async fn create(&self) -> Result<PooledConnection, sqlx::Error> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let options = match &self.password {
                Some(password) => password.options().await,
                None => self.options.clone(),
            };
            match PgConnection::connect_with(&options).await {
                Err(error) if is_starting(&error) => {}
                result => {
                    let unused_for = Duration::ZERO;
                    return result.map(|connection| PooledConnection { connection, unused_for });
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn recycle(
        &self,
        pooled: &mut PooledConnection,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.age() > MAX_LIFETIME || metrics.last_used() > IDLE_TIMEOUT {
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        pooled.unused_for = metrics.last_used();
        Ok(())
    }
}

fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}
