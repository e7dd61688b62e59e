//! PostgreSQL behind a pooler that hands its servers out for one transaction each, such as PgBouncer with `pool_mode=transaction`.
//!
//! What one session of PostgreSQL remembers is another client's a moment later. So there are no named statements, no settings of the session, and no
//! statement outside of a transaction:
//!
//! - sea-orm asks sqlx to keep each statement prepared, and sqlx 0.9 then gives it a name, also when its cache has no room at all
//!   (`connection/executor.rs`, `prepare`: the name depends on `persistent` alone). The name is another client's on the next server. Hence sqlx is
//!   asked here, with `persistent(false)`.
//! - sqlx sends Parse, Describe and Sync, waits, and then sends Bind, Execute and Sync (`prepare` and `run`, same file). Outside of a transaction the
//!   pooler may let go of the server at the first Sync, and Bind would meet the unnamed statement of somebody else, or none. Inside of one it keeps the
//!   server to the end. Hence single statements, too, have a transaction around them.
//! - The time limits go with BEGIN, as SET LOCAL in one message: no further round trip, and they end with the transaction.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgPool, Postgres};
use sea_orm::sqlx::{self, AssertSqlSafe, Executor as _};
use sea_orm::{ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

use super::connection::to_its_end;
use crate::config::Pool;

/// The pool of connections to the pooler.
#[derive(Clone)]
pub(super) struct Pooled {
    pool: PgPool,
    /// BEGIN, with the time limits.
    begin: Arc<str>,
    patience: Duration,
}

/// Keeps one server of the pooler's.
pub(super) struct PooledTransaction(Mutex<sqlx::Transaction<'static, Postgres>>);

impl Pooled {
    pub(super) fn new(pool: PgPool, limits: &Pool) -> Self {
        let begin = format!(
            "BEGIN; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            limits.statement_timeout.as_millis(),
            limits.lock_timeout.as_millis(),
            limits.idle_timeout.as_millis()
        );
        Self { pool, begin: begin.into(), patience: limits.acquire_timeout }
    }

    /// Begins a transaction.
    ///
    /// It is also how a connection is found to be dead: asking first would take a server of the pooler's for it. Nothing is done before BEGIN is
    /// answered, so that another connection may be tried.
    pub(super) async fn begin(&self) -> Result<PooledTransaction, DbErr> {
        let beginning = self.clone();
        to_its_end(self.patience, async move { beginning.begin_on_any().await }).await
    }

    async fn begin_on_any(&self) -> Result<PooledTransaction, DbErr> {
        // Each may be dead, and then one is made.
        let mut attempts = self.pool.options().get_max_connections();
        loop {
            match self.pool.begin_with(AssertSqlSafe(self.begin.clone())).await {
                Ok(transaction) => return Ok(PooledTransaction(Mutex::new(transaction))),
                Err(error) if attempts > 0 && is_of_a_dead_connection(&error) => {
                    tracing::debug!(%error, "a connection to the pooler is given up");
                    attempts -= 1;
                }
                Err(sqlx::Error::PoolTimedOut) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
                Err(sqlx::Error::PoolClosed) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
                Err(error) => return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
            }
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// The pooler hung up, or its server did: `admin_shutdown` and `crash_shutdown`.
fn is_of_a_dead_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        // The list is open; everything else is about this program or its settings.
        _ => false,
    }
}

/// `statement` without a name: nothing stays behind on the server.
fn unnamed(statement: Statement) -> sqlx::query::Query<'static, Postgres, SqlxValues> {
    let values = statement.values.unwrap_or(sea_orm::sea_query::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)).persistent(false)
}

fn exec(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

fn query(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

impl PooledTransaction {
    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        unnamed(statement).execute(&mut **self.0.lock().await).await.map(ExecResult::from).map_err(exec)
    }

    pub(super) async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.lock().await.execute(AssertSqlSafe(sql)).await.map(ExecResult::from).map_err(exec)
    }

    pub(super) async fn query_one(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let row = unnamed(statement).fetch_optional(&mut **self.0.lock().await).await;
        row.map(|row| row.map(QueryResult::from)).map_err(query)
    }

    pub(super) async fn query_all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let rows = unnamed(statement).fetch_all(&mut **self.0.lock().await).await;
        rows.map(|rows| rows.into_iter().map(QueryResult::from).collect()).map_err(query)
    }

    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.0.into_inner().commit().await.map_err(query)
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        self.0.into_inner().rollback().await.map_err(query)
    }
}
