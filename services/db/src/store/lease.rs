//! The lease on the outbox: of all the processes that work on one PostgreSQL, one at a time ships.
//!
//! One row says who, and until when by the database's clock. Each word with it is a single
//! statement, so that it works behind a transaction pooler, too. The holder trusts its own
//! monotonic clock more than the row: it counts its time from before it asked, and gives up a good
//! while before the row runs out, whether or not it can reach the database.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use uuid::Uuid;

use crate::database::Database;

/// The longest time that a lease may be made out for. A row that says more was written by a clock
/// that has been set back since, and counts as run out: nothing would be shipped until that time
/// comes again.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// The shortest: a fifth of it must be enough for a statement on a busy machine.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);

/// `$1` who asks, `$2` for how many seconds. Touches no row, and so writes nothing, while somebody
/// else has it.
const CLAIM: &str = "UPDATE outbox_lease SET holder = $1, expires_at = clock_timestamp() + make_interval(secs => $2) WHERE id = 1 AND \
                     (holder IS NULL OR holder = $1 OR expires_at <= clock_timestamp() OR expires_at > clock_timestamp() + interval '120 seconds')";
const RELEASE: &str = "UPDATE outbox_lease SET holder = NULL, expires_at = clock_timestamp() WHERE id = 1 AND holder = $1";

/// A claim to the outbox of one PostgreSQL.
#[derive(Debug)]
pub(crate) struct Lease {
    database: Database,
    holder: Uuid,
    duration: Duration,
}

impl Lease {
    /// For a process that is called `holder` by nobody else, and asks for `duration` at a time.
    pub(crate) fn new(database: Database, holder: Uuid, duration: Duration) -> Self {
        Self { database, holder, duration }
    }

    /// How often the holder renews it, and how long each word with the database may take.
    pub(crate) fn pace(&self) -> Duration {
        self.duration / 5
    }

    /// How long it is made out for.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Takes it, or renews it. Yields until when it holds; nothing if somebody else has it.
    ///
    /// # Errors
    /// If the database does not answer in time; it may have been taken all the same.
    pub(crate) async fn claim(&self) -> Result<Option<Instant>, DbErr> {
        let asked = Instant::now();
        let claimed =
            self.say(CLAIM, vec![self.holder.into(), self.duration.as_secs_f64().into()]).await?;
        // A fifth is left for what is on its way when the time is over.
        Ok(claimed.then(|| asked + self.duration - self.pace()))
    }

    /// Gives it back, if it is held, so that others need not wait for its end.
    ///
    /// # Errors
    /// If the database does not answer in time; it then runs out.
    pub(crate) async fn release(&self) -> Result<(), DbErr> {
        self.say(RELEASE, vec![self.holder.into()]).await.map(|_| ())
    }

    /// Whether the statement met the row.
    async fn say(&self, sql: &str, values: Vec<sea_orm::Value>) -> Result<bool, DbErr> {
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        let patience = self.pace();
        let late =
            |_| Err(DbErr::Custom(format!("the database did not answer within {patience:?}")));
        let said = tokio::time::timeout(patience, self.database.writer().execute_raw(statement))
            .await
            .unwrap_or_else(late)?;
        Ok(said.rows_affected() == 1)
    }
}
