//! The lease of the outbox, which elects the leader among the processes on one PostgreSQL.
//!
//! One row names the leader and the lease's end by the database's clock. Each operation is one
//! statement, so it works behind a transaction pooler. The leader counts by its own monotonic clock
//! from before the request, and stops well before the end.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use uuid::Uuid;

use crate::database::Database;

/// A row with a later end was written before the clock was set back and counts as expired.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(60);
/// A fifth of it must be enough for a statement on a busy machine.
pub(crate) const MIN_DURATION: Duration = Duration::from_secs(1);

/// `$1` the replica, `$2` the seconds. Writes nothing while another replica has the lease.
const ACQUIRE: &str = "
    UPDATE outbox_lease
    SET holder = $1, expires_at = clock_timestamp() + make_interval(secs => $2)
    WHERE id = 1 AND (
        holder IS NULL
        OR holder = $1
        OR expires_at <= clock_timestamp()
        OR expires_at > clock_timestamp() + interval '120 seconds'
    )";
const RELEASE: &str = "
    UPDATE outbox_lease
    SET holder = NULL, expires_at = clock_timestamp()
    WHERE id = 1 AND holder = $1";

#[derive(Debug)]
pub(crate) struct Lease {
    database: Database,
    holder: Uuid,
    duration: Duration,
}

impl Lease {
    /// `holder` must be unique to this process.
    pub(crate) fn new(database: Database, holder: Uuid, duration: Duration) -> Self {
        Self { database, holder, duration }
    }

    /// Also the time limit of a statement.
    pub(crate) fn renew_interval(&self) -> Duration {
        self.duration / 5
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns until when the lease holds; `None` if another process has it. After an error, the
    /// lease may be acquired nevertheless.
    pub(crate) async fn acquire(&self) -> Result<Option<Instant>, DbErr> {
        let started = Instant::now();
        let acquired = self
            .execute(ACQUIRE, vec![self.holder.into(), self.duration.as_secs_f64().into()])
            .await?;
        // The last fifth is left for events in flight.
        Ok(acquired.then(|| started + self.duration - self.renew_interval()))
    }

    /// After an error, the lease expires.
    pub(crate) async fn release(&self) -> Result<(), DbErr> {
        self.execute(RELEASE, vec![self.holder.into()]).await.map(|_| ())
    }

    async fn execute(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<bool, DbErr> {
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        let limit = self.renew_interval();
        let late = |_| Err(DbErr::Custom(format!("the database did not answer within {limit:?}")));
        let result = tokio::time::timeout(limit, self.database.writer().execute_raw(statement))
            .await
            .unwrap_or_else(late)?;
        Ok(result.rows_affected() == 1)
    }
}
