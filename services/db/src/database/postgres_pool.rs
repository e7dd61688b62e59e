//! PostgreSQL's connections: each is borrowed for a statement or a transaction, and given back
//! within a time limit.
//!
//! sea-orm's own pool is not used. When a connection is dropped, sqlx pings it before it returns to
//! the pool, without a time limit (`PoolConnection::return_to_pool`). A connection that falls
//! silent during that ping occupies its place in the pool until the process ends.
//!
//! Behind a pooler that lends its servers for one transaction each (PgBouncer with
//! `pool_mode=transaction`), session state belongs to another client a moment later. So there are
//! no named statements, no settings of the session, and no statement outside of a transaction:
//!
//! - sea-orm asks sqlx to keep each statement prepared, and sqlx 0.9 then gives it a name, also
//!   when its cache has no room at all (`connection/executor.rs`, `prepare`: the name depends on
//!   `persistent` alone). The name is another client's on the next server. Hence
//!   `persistent(false)`.
//! - sqlx sends Parse, Describe and Sync, waits, and then sends Bind, Execute and Sync (`prepare`
//!   and `run`, same file). Outside of a transaction the pooler may let go of the server at the
//!   first Sync, and Bind would meet another client's unnamed statement, or none. Inside of one it
//!   keeps the server to the end. Hence single statements, too, have a transaction around them.
//! - The time limits go with BEGIN, as SET LOCAL in one message: no further round trip, and they
//!   end with the transaction.

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

use crate::config::{Pool, Pooler};

/// A pool of connections to PostgreSQL or to a pooler.
#[derive(Clone)]
pub(super) struct PostgresPool {
    pool: PgPool,
    /// BEGIN; behind a pooler with the time limits.
    begin: Arc<str>,
    /// Whether a pooler lends its servers for one transaction each.
    is_pooled: bool,
    /// How long BEGIN may take, with the wait for a connection.
    begin_timeout: Duration,
    release_timeout: Duration,
}

/// A borrowed connection, in a transaction or not. A transaction that is dropped without
/// [`Session::commit`] is rolled back.
pub(super) struct Session {
    connection: Mutex<Borrowed>,
    /// Whether statements stay prepared on the connection.
    persistent: bool,
}

/// A connection of the pool. When dropped, it is rolled back if needed and given back by a task
/// with a time limit; one that does not answer is closed.
struct Borrowed {
    /// `None` only while it is being dropped.
    connection: Option<PoolConnection<Postgres>>,
    /// Whether BEGIN was sent and neither COMMIT nor ROLLBACK was answered.
    in_transaction: bool,
    release_timeout: Duration,
}

const BORROWED: &str = "a borrowed connection is there until it is dropped";

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
            Ok(runtime) => drop(runtime.spawn(give_back(
                connection,
                self.in_transaction,
                self.release_timeout,
            ))),
            Err(_) => drop(connection.detach()),
        }
    }
}

/// Rolls back and returns `connection` to the pool, or closes it if that takes longer than `limit`.
async fn give_back(
    mut connection: PoolConnection<Postgres>,
    in_transaction: bool,
    limit: Duration,
) {
    if in_transaction {
        let rolled_back = tokio::time::timeout(limit, connection.execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            drop(connection.detach());
            return;
        }
    }
    // The same as dropping it, but the future can be given up, which closes the connection and
    // frees its place.
    if tokio::time::timeout(limit, connection.return_to_pool()).await.is_err() {
        tracing::warn!(
            ?limit,
            "a database connection did not answer when it was returned to the pool; closed it"
        );
    }
}

impl PostgresPool {
    pub(super) fn new(pool: PgPool, limits: &Pool) -> Self {
        let is_pooled = limits.pooler == Some(Pooler::Transaction);
        let begin = if is_pooled {
            format!(
                "BEGIN; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
                limits.statement_timeout.as_millis(),
                limits.lock_timeout.as_millis(),
                limits.idle_timeout.as_millis()
            )
        } else {
            "BEGIN".to_owned()
        };
        // Behind a pooler, BEGIN waits for one of its servers, and a ping may wait as long as a
        // transaction may take.
        let (begin_timeout, release_timeout) = if is_pooled {
            (limits.acquire_timeout, limits.transaction_timeout)
        } else {
            (limits.transaction_timeout, limits.acquire_timeout)
        };
        Self { pool, begin: begin.into(), is_pooled, begin_timeout, release_timeout }
    }

    /// Borrows a connection for one statement.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub(super) async fn session(&self) -> Result<Session, DbErr> {
        if self.is_pooled {
            return self.begin().await;
        }
        let connection = self.acquire().await.map_err(connect)?;
        Ok(Session { connection: Mutex::new(connection), persistent: true })
    }

    /// Begins a transaction.
    ///
    /// Behind a pooler it is also how a dead connection is found: a ping before it would take one
    /// of the pooler's servers. Nothing is done before BEGIN is answered, so another connection may
    /// be tried.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub(super) async fn begin(&self) -> Result<Session, DbErr> {
        let late = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        tokio::time::timeout(self.begin_timeout, self.begin_on_any()).await.unwrap_or_else(late)
    }

    async fn begin_on_any(&self) -> Result<Session, DbErr> {
        // Each may be dead, and then one is made.
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
                    tracing::debug!(%error, "a connection to the pooler is given up");
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

/// The pooler hung up, or its server did: `admin_shutdown` and `crash_shutdown`.
fn is_of_a_dead_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        // The list is open; everything else is about this program or its settings.
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

    /// Commits the transaction, if the session is in one, and gives the connection back.
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
