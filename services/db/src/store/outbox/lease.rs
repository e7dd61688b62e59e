//! The lease of the outbox, which elects the leader among the processes on one PostgreSQL.
//!
//! One row names the leader and the lease's end by the database's clock. Each operation is one
//! statement, so it works behind a transaction pooler. The leader counts by its own monotonic clock
//! from before the request, and stops well before the end.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use tokio::time::Instant;
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

/// The row of the lease, behind a trait, so that the simulation runs the rest.
#[async_trait]
pub(crate) trait LeaseTable: fmt::Debug + Send + Sync + 'static {
    /// Gives the lease to `holder` from now on, unless another one has it. Returns whether `holder`
    /// has it.
    async fn acquire(&self, holder: Uuid, duration: Duration) -> Result<bool, DbErr>;

    /// Does nothing if another one has the lease.
    async fn release(&self, holder: Uuid) -> Result<(), DbErr>;
}

#[async_trait]
impl LeaseTable for Database {
    async fn acquire(&self, holder: Uuid, duration: Duration) -> Result<bool, DbErr> {
        let values: Vec<sea_orm::Value> = vec![holder.into(), duration.as_secs_f64().into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, ACQUIRE, values);
        Ok(self.writer().execute_raw(statement).await?.rows_affected() == 1)
    }

    async fn release(&self, holder: Uuid) -> Result<(), DbErr> {
        let statement =
            Statement::from_sql_and_values(DbBackend::Postgres, RELEASE, [holder.into()]);
        self.writer().execute_raw(statement).await.map(|_| ())
    }
}

#[derive(Debug)]
pub(crate) struct Lease {
    table: Box<dyn LeaseTable>,
    holder: Uuid,
    duration: Duration,
}

impl Lease {
    /// `holder` must be unique to this process.
    pub(crate) fn new(table: impl LeaseTable, holder: Uuid, duration: Duration) -> Self {
        Self { table: Box::new(table), holder, duration }
    }

    /// Returns a number that differs from that of each other process.
    pub(crate) fn seed(&self) -> u64 {
        self.holder.as_u64_pair().1
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
        let acquired = self.within(self.table.acquire(self.holder, self.duration)).await?;
        // The last fifth is left for events in flight.
        Ok(acquired.then(|| started + self.duration - self.renew_interval()))
    }

    /// After an error, the lease expires.
    pub(crate) async fn release(&self) -> Result<(), DbErr> {
        self.within(self.table.release(self.holder)).await
    }

    async fn within<T>(
        &self,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let limit = self.renew_interval();
        let late = |_| Err(DbErr::Custom(format!("the database did not answer within {limit:?}")));
        tokio::time::timeout(limit, statement).await.unwrap_or_else(late)
    }
}
