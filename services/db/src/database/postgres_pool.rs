//! A pool of PostgreSQL connections with a time limit for their return.
//!
//! sea-orm's pool is not used: sqlx pings a dropped connection without a time limit
//! (`PoolConnection::return_to_pool`), so a frozen one occupies its slot for ever.
//!
//! A transaction pooler (PgBouncer with `pool_mode=transaction`) allows no named statements, no
//! session settings, and no statement outside a transaction:
//!
//! - sea-orm keeps statements prepared, and sqlx 0.9 names them even without room in its cache
//!   (`connection/executor.rs`, `prepare`). Hence `persistent(false)`.
//! - sqlx sends a Sync between Parse and Bind (`prepare` and `run`, same file), where a pooler may
//!   switch the server connection. Hence single statements run in a transaction, too.
//! - BEGIN and the time limits (SET LOCAL) are one message.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sea_orm::{
    ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    sqlx::{
        self, AssertSqlSafe, Executor as _,
        pool::PoolConnection,
        postgres::{PgPool, Postgres},
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

use super::pool::{Pool, Pooler};

#[derive(Clone)]
pub(super) struct PostgresPool {
    pool: PgPool,
    begin: Arc<str>,
    is_pooled: bool,
    begin_timeout: Duration,
    release_timeout: Duration,
}

/// A borrowed connection. A transaction without [`Session::commit`] is rolled back.
pub(super) struct Session {
    connection: Mutex<Borrowed>,
    persistent: bool,
}

/// When dropped, a task rolls back if needed, and returns the connection within a time limit or
/// closes it.
struct Borrowed {
    connection: Option<PoolConnection<Postgres>>,
    /// Whether BEGIN was sent and neither COMMIT nor ROLLBACK was answered.
    in_transaction: bool,
    release_timeout: Duration,
}

const BORROWED: &str = "a borrowed connection exists until it is dropped";

impl Deref for Borrowed {
    type Target = sqlx::PgConnection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect(BORROWED)
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect(BORROWED)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                drop(runtime.spawn(release(connection, self.in_transaction, self.release_timeout)))
            }
            Err(_) => drop(connection.detach()),
        }
    }
}

async fn release(mut connection: PoolConnection<Postgres>, in_transaction: bool, limit: Duration) {
    if in_transaction {
        let rolled_back = tokio::time::timeout(limit, connection.execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            drop(connection.detach());
            return;
        }
    }
    // Equivalent to dropping it, except that cancelling closes the connection and frees its slot.
    if tokio::time::timeout(limit, connection.return_to_pool()).await.is_err() {
        tracing::warn!(
            ?limit,
            "closed a database connection that did not answer when it was returned to the pool"
        );
    }
}

impl PostgresPool {
    pub(super) fn new(pool: PgPool, limits: &Pool) -> Self {
        let is_pooled = limits.pooler == Some(Pooler::Transaction);
        let begin = if is_pooled {
            format!(
                "BEGIN; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
                 SET LOCAL idle_in_transaction_session_timeout = {}",
                limits.statement_timeout.as_millis(),
                limits.lock_timeout.as_millis(),
                limits.idle_timeout.as_millis()
            )
        } else {
            "BEGIN".to_owned()
        };
        // Behind a pooler, BEGIN waits for a server connection, and a ping may take as long as a
        // transaction.
        let (begin_timeout, release_timeout) = if is_pooled {
            (limits.acquire_timeout, limits.transaction_timeout)
        } else {
            (limits.transaction_timeout, limits.acquire_timeout)
        };
        Self { pool, begin: begin.into(), is_pooled, begin_timeout, release_timeout }
    }

    pub(super) async fn session(&self) -> Result<Session, DbErr> {
        if self.is_pooled {
            return self.begin().await;
        }
        let connection = self.acquire().await.map_err(connect)?;
        Ok(Session { connection: Mutex::new(connection), persistent: true })
    }

    /// Behind a pooler, BEGIN is also the liveness check: it changes nothing, so another connection
    /// may repeat it.
    pub(super) async fn begin(&self) -> Result<Session, DbErr> {
        let late = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        tokio::time::timeout(self.begin_timeout, self.begin_on_any()).await.unwrap_or_else(late)
    }

    async fn begin_on_any(&self) -> Result<Session, DbErr> {
        let mut attempts =
            if self.is_pooled { self.pool.options().get_max_connections() } else { 0 };
        loop {
            match self.begin_on_one().await {
                Ok(connection) => {
                    return Ok(Session {
                        connection: Mutex::new(connection),
                        persistent: !self.is_pooled,
                    });
                }
                Err(error) if attempts > 0 && is_of_a_dead_connection(&error) => {
                    tracing::debug!(%error, "closed a dead connection to the pooler");
                    attempts -= 1;
                }
                Err(error) => return Err(connect(error)),
            }
        }
    }

    async fn begin_on_one(&self) -> Result<Borrowed, sqlx::Error> {
        let mut connection = self.acquire().await?;
        connection.in_transaction = true;
        connection.execute(AssertSqlSafe(self.begin.clone())).await?;
        Ok(connection)
    }

    async fn acquire(&self) -> Result<Borrowed, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        Ok(Borrowed {
            connection: Some(connection),
            in_transaction: false,
            release_timeout: self.release_timeout,
        })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// The pooler closed it, or a server that shuts down (`admin_shutdown`, `crash_shutdown`).
fn is_of_a_dead_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

fn connect(error: sqlx::Error) -> DbErr {
    match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
    }
}

fn exec(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

fn query(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

impl Session {
    fn query(&self, statement: Statement) -> sqlx::query::Query<'static, Postgres, SqlxValues> {
        let values = statement.values.unwrap_or(sea_orm::sea_query::Values(Vec::new()));
        sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
            .persistent(self.persistent)
    }

    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.query(statement)
            .execute(&mut **self.connection.lock().await)
            .await
            .map(ExecResult::from)
            .map_err(exec)
    }

    pub(super) async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.connection
            .lock()
            .await
            .execute(AssertSqlSafe(sql))
            .await
            .map(ExecResult::from)
            .map_err(exec)
    }

    pub(super) async fn query_one(
        &self,
        statement: Statement,
    ) -> Result<Option<QueryResult>, DbErr> {
        let row = self.query(statement).fetch_optional(&mut **self.connection.lock().await).await;
        row.map(|row| row.map(QueryResult::from)).map_err(query)
    }

    pub(super) async fn query_all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let rows = self.query(statement).fetch_all(&mut **self.connection.lock().await).await;
        rows.map(|rows| rows.into_iter().map(QueryResult::from).collect()).map_err(query)
    }

    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        self.end("ROLLBACK").await
    }

    async fn end(self, sql: &'static str) -> Result<(), DbErr> {
        let mut connection = self.connection.into_inner();
        if connection.in_transaction {
            connection.execute(sql).await.map_err(query)?;
            connection.in_transaction = false;
        }
        Ok(())
    }
}
