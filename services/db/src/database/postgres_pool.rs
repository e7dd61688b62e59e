//! A pool of PostgreSQL connections with a time limit for their return.
//!
//! sqlx's pool is not used: it pings a connection before and after each use, and without a time
//! limit when it is returned, so a frozen one occupies its slot for ever.
//!
//! A transaction pooler (PgBouncer with `pool_mode=transaction`) allows no named statements, no
//! session settings, and no statement outside a transaction:
//!
//! - sea-orm keeps statements prepared, and sqlx 0.9 names them even without room in its cache
//!   (`connection/executor.rs`, `prepare`). Hence `persistent(false)`.
//! - sqlx sends a Sync between Parse and Bind (`prepare` and `run`, same file), where a pooler may
//!   switch the server connection. Hence single statements run in a transaction, too.
//! - BEGIN and the time limits (SET LOCAL) are one message.

use std::{sync::Arc, time::Duration};

use deadpool::managed::{self, Object, PoolError, QueueMode, WeakPool};
use sea_orm::{
    ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    sqlx::{
        self, AssertSqlSafe, Connection as _, Executor as _,
        postgres::{PgConnection, PgDatabaseError, PgSeverity, Postgres},
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

use super::{
    connector::{Connector, IDLE_TIMEOUT, PooledConnection},
    pool::{Pool, Pooler},
};

const CLOSE_IDLE_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct PostgresPool {
    pool: managed::Pool<Connector>,
    begin: Arc<str>,
    is_pooled: bool,
    acquire_timeout: Duration,
    /// Limits a ping, and a BEGIN that is one.
    ping_timeout: Duration,
    begin_timeout: Duration,
    release_timeout: Duration,
}

/// A borrowed connection. A transaction without [`Session::commit`] is rolled back.
pub(super) struct Session {
    connection: Mutex<Borrowed>,
    persistent: bool,
}

/// When dropped, returns the connection. If a statement or a transaction is open, a task ends it
/// first, within a time limit, or closes the connection.
struct Borrowed {
    connection: Option<Object<Connector>>,
    /// Whether BEGIN was sent and neither COMMIT nor ROLLBACK was answered.
    in_transaction: bool,
    /// Whether a statement was sent and not answered.
    in_statement: bool,
    is_broken: bool,
    release_timeout: Duration,
}

const BORROWED: &str = "a borrowed connection exists until it is dropped";

impl Borrowed {
    fn begin_statement(&mut self) -> &mut PgConnection {
        self.in_statement = true;
        &mut self.pooled().connection
    }

    fn pooled(&mut self) -> &mut PooledConnection {
        self.connection.as_mut().expect(BORROWED)
    }

    fn end_statement<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.in_statement = false;
        self.is_broken |= result.as_ref().is_err_and(is_of_a_broken_connection);
        result
    }

    async fn begin(&mut self, sql: Arc<str>) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        let begun = self.begin_statement().execute(AssertSqlSafe(sql)).await;
        self.end_statement(begun).map(|_| ())
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        let answer = self.begin_statement().ping().await;
        self.end_statement(answer)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.is_broken {
            drop(Object::take(connection));
        } else if self.in_transaction || self.in_statement {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(release(
                    connection,
                    self.in_transaction,
                    self.release_timeout,
                ))),
                Err(_) => drop(Object::take(connection)),
            }
        }
    }
}

async fn release(mut pooled: Object<Connector>, in_transaction: bool, limit: Duration) {
    let ending = async {
        if in_transaction {
            pooled.connection.execute("ROLLBACK").await.map(|_| ())
        } else {
            pooled.connection.ping().await
        }
    };
    let ended = tokio::time::timeout(limit, ending).await;
    if matches!(ended, Ok(Ok(()))) {
        return;
    }
    drop(Object::take(pooled));
    if ended.is_err() {
        tracing::warn!(
            ?limit,
            "closed a database connection that did not answer when it was returned to the pool"
        );
    }
}

impl PostgresPool {
    pub(super) fn new(connector: Connector, limits: &Pool) -> Self {
        let pool = managed::Pool::builder(connector)
            .max_size(limits.connections.max(1) as usize)
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without time limits needs no runtime");
        tokio::spawn(close_idle(pool.weak()));
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
        // transaction. Otherwise there is time left for replacing dead connections.
        let (ping_timeout, begin_timeout, release_timeout) = if is_pooled {
            (limits.acquire_timeout, limits.acquire_timeout, limits.transaction_timeout)
        } else {
            (limits.acquire_timeout / 3, limits.transaction_timeout, limits.acquire_timeout)
        };
        Self {
            pool,
            begin: begin.into(),
            is_pooled,
            acquire_timeout: limits.acquire_timeout,
            ping_timeout,
            begin_timeout,
            release_timeout,
        }
    }

    /// Returns a connection for single statements.
    pub(super) async fn session(&self) -> Result<Session, DbErr> {
        if self.is_pooled {
            return self.begin().await;
        }
        let borrowed = within(self.acquire_timeout, self.acquire_alive(None)).await?;
        Ok(Session { connection: Mutex::new(borrowed), persistent: true })
    }

    pub(super) async fn begin(&self) -> Result<Session, DbErr> {
        let begin = self.acquire_alive(Some(&self.begin));
        let borrowed = within(self.begin_timeout, begin).await?;
        Ok(Session { connection: Mutex::new(borrowed), persistent: !self.is_pooled })
    }

    /// Closes connections that died in the pool. `begin` is also the ping: it changes nothing, so
    /// another connection may repeat it.
    async fn acquire_alive(&self, begin: Option<&Arc<str>>) -> Result<Borrowed, DbErr> {
        loop {
            let mut borrowed = self.acquire().await.map_err(connect)?;
            let pooled = borrowed.pooled();
            let (is_new, needs_ping) = (pooled.is_new(), pooled.needs_ping());
            let checking = async {
                match begin {
                    Some(begin) => borrowed.begin(Arc::clone(begin)).await,
                    None if needs_ping => borrowed.ping().await,
                    None => Ok(()),
                }
            };
            let checked = tokio::time::timeout(self.ping_timeout, checking).await;
            match checked.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(()) => return Ok(borrowed),
                Err(error) if is_new => return Err(connect(error)),
                Err(error) => {
                    tracing::debug!(%error, "closed a dead database connection");
                    borrowed.is_broken = true;
                }
            }
        }
    }

    async fn acquire(&self) -> Result<Borrowed, sqlx::Error> {
        let connection = tokio::time::timeout(self.acquire_timeout, self.pool.get())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                PoolError::Closed => sqlx::Error::PoolClosed,
                PoolError::Timeout(_)
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_) => sqlx::Error::PoolTimedOut,
            })?;
        Ok(Borrowed {
            connection: Some(connection),
            in_transaction: false,
            in_statement: false,
            is_broken: false,
            release_timeout: self.release_timeout,
        })
    }

    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for pooled in idle {
            if let Err(error) = pooled.connection.close().await {
                tracing::debug!(%error, "failed to close a database connection");
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let late = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// Ends when the pool does.
async fn close_idle(pool: WeakPool<Connector>) {
    loop {
        tokio::time::sleep(CLOSE_IDLE_INTERVAL).await;
        let Some(pool) = pool.upgrade() else { return };
        drop(pool.retain(|_, metrics| metrics.last_used() < IDLE_TIMEOUT));
    }
}

/// The peer closed it: a fatal error ends the session, such as at a shutdown of the server.
fn is_of_a_broken_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
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
        let mut connection = self.connection.lock().await;
        let executed = self.query(statement).execute(connection.begin_statement()).await;
        connection.end_statement(executed).map(ExecResult::from).map_err(exec)
    }

    pub(super) async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut connection = self.connection.lock().await;
        let executed = connection.begin_statement().execute(AssertSqlSafe(sql)).await;
        connection.end_statement(executed).map(ExecResult::from).map_err(exec)
    }

    pub(super) async fn query_one(
        &self,
        statement: Statement,
    ) -> Result<Option<QueryResult>, DbErr> {
        let mut connection = self.connection.lock().await;
        let row = self.query(statement).fetch_optional(connection.begin_statement()).await;
        connection.end_statement(row).map(|row| row.map(QueryResult::from)).map_err(query)
    }

    pub(super) async fn query_all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut connection = self.connection.lock().await;
        let rows = self.query(statement).fetch_all(connection.begin_statement()).await;
        let rows = connection.end_statement(rows).map_err(query)?;
        Ok(rows.into_iter().map(QueryResult::from).collect())
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
            let ended = connection.begin_statement().execute(sql).await;
            connection.end_statement(ended).map_err(query)?;
            connection.in_transaction = false;
        }
        Ok(())
    }
}
