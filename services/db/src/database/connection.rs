use std::{sync::Arc, time::Duration};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    ExecResult, QueryResult, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _,
};

use super::{
    password::Password,
    pool::Pool,
    postgres_pool::{PostgresPool, Session},
};

/// Runs single statements on pooled connections.
#[derive(Clone)]
pub struct Connection {
    backend: Backend,
    password: Option<Arc<Password>>,
}

#[derive(Clone)]
enum Backend {
    /// The duration limits BEGIN.
    Sqlite(DatabaseConnection, Duration),
    Postgres(PostgresPool),
}

/// A transaction, which is rolled back if it is dropped without [`Transaction::commit`].
pub struct Transaction(BackendTransaction);

enum BackendTransaction {
    Sqlite(DatabaseTransaction),
    Postgres(Session),
}

/// Repeats `$attempt` while the server refuses the password and the file has a new one. Safe for
/// any statement, as a refused client has sent nothing.
macro_rules! with_password {
    ($self:ident, $attempt:expr) => {{
        let Some(password) = &$self.password else { return $attempt.await };
        let mut retry = password.retry();
        loop {
            match $attempt.await {
                Err(error) if retry.should_retry(&error).await => {}
                outcome => return outcome,
            }
        }
    }};
}

impl Connection {
    pub(super) fn sqlite(connection: DatabaseConnection, limits: &Pool) -> Self {
        Self { backend: Backend::Sqlite(connection, limits.transaction_timeout), password: None }
    }

    pub(super) fn postgres(pool: PostgresPool, password: Option<Arc<Password>>) -> Self {
        Self { backend: Backend::Postgres(pool), password }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DbErr> {
        with_password!(self, self.backend.begin())
    }

    pub(super) async fn close(&self) -> Result<(), DbErr> {
        match &self.backend {
            Backend::Sqlite(connection, _) => connection.close_by_ref().await,
            Backend::Postgres(pool) => {
                pool.close().await;
                Ok(())
            }
        }
    }
}

/// Runs `begin` to completion even if the caller is dropped. sqlx registers a transaction only
/// after BEGIN returns; otherwise the pool would reuse a connection with an open transaction.
async fn run_uncancelled<T: Send + 'static>(
    limit: Duration,
    begin: impl Future<Output = Result<T, DbErr>> + Send + 'static,
) -> Result<T, DbErr> {
    let late = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
    let beginning =
        tokio::spawn(async move { tokio::time::timeout(limit, begin).await.unwrap_or_else(late) });
    beginning.await.unwrap_or_else(|error| {
        Err(DbErr::Custom(format!("failed to begin a transaction: {error}")))
    })
}

impl Backend {
    /// Uses IMMEDIATE on SQLite: otherwise, a transaction that reads before it writes fails with
    /// SQLITE_BUSY if another process has written in between, regardless of the busy timeout.
    async fn begin(&self) -> Result<Transaction, DbErr> {
        match self {
            Self::Sqlite(connection, limit) => {
                let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
                let options =
                    TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
                let connection = connection.clone();
                let begun =
                    run_uncancelled(
                        *limit,
                        async move { connection.begin_with_options(options).await },
                    )
                    .await?;
                Ok(Transaction(BackendTransaction::Sqlite(begun)))
            }
            Self::Postgres(pool) => {
                pool.begin().await.map(|session| Transaction(BackendTransaction::Postgres(session)))
            }
        }
    }

    async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(connection, _) => connection.execute_raw(statement).await,
            Self::Postgres(pool) => {
                let session = pool.session().await?;
                let result = session.execute(statement).await?;
                session.commit().await.map(|()| result)
            }
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(connection, _) => connection.execute_unprepared(sql).await,
            Self::Postgres(pool) => {
                let session = pool.session().await?;
                let result = session.execute_unprepared(sql).await?;
                session.commit().await.map(|()| result)
            }
        }
    }

    async fn query_one(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(connection, _) => connection.query_one_raw(statement).await,
            Self::Postgres(pool) => {
                let session = pool.session().await?;
                let row = session.query_one(statement).await?;
                session.commit().await.map(|()| row)
            }
        }
    }

    async fn query_all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(connection, _) => connection.query_all_raw(statement).await,
            Self::Postgres(pool) => {
                let session = pool.session().await?;
                let rows = session.query_all(statement).await?;
                session.commit().await.map(|()| rows)
            }
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        match &self.backend {
            Backend::Sqlite(connection, _) => connection.get_database_backend(),
            Backend::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        with_password!(self, self.backend.execute(statement.clone()))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        with_password!(self, self.backend.execute_unprepared(sql))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        with_password!(self, self.backend.query_one(statement.clone()))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        with_password!(self, self.backend.query_all(statement.clone()))
    }
}

impl Transaction {
    /// Commits the transaction.
    ///
    /// # Errors
    /// If the database does not confirm the commit; the outcome is then unknown.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.commit().await,
            BackendTransaction::Postgres(session) => session.commit().await,
        }
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    /// If the connection is lost, which also rolls it back.
    pub async fn rollback(self) -> Result<(), DbErr> {
        match self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.rollback().await,
            BackendTransaction::Postgres(session) => session.rollback().await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.get_database_backend(),
            BackendTransaction::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.execute_raw(statement).await,
            BackendTransaction::Postgres(session) => session.execute(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.execute_unprepared(sql).await,
            BackendTransaction::Postgres(session) => session.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.query_one_raw(statement).await,
            BackendTransaction::Postgres(session) => session.query_one(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            BackendTransaction::Sqlite(transaction) => transaction.query_all_raw(statement).await,
            BackendTransaction::Postgres(session) => session.query_all(statement).await,
        }
    }
}
