//! What the store's statements run on: sea-orm's own connections, or what takes their place behind a pooler.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};

use super::password::Password;
use super::pooled::{Pooled, PooledTransaction};
use crate::config::Pool;

/// Runs single statements, each on a connection of the pool.
#[derive(Clone)]
pub struct Connection {
    way: Way,
    /// The password's file, if there is one.
    password: Option<Arc<Password>>,
}

#[derive(Clone)]
enum Way {
    /// And how long BEGIN may take.
    Direct(DatabaseConnection, Duration),
    Pooled(Pooled),
}

/// Statements that take effect together, or not at all: what is dropped without [`Transaction::commit`] is undone.
pub struct Transaction(Kind);

enum Kind {
    Direct(DatabaseTransaction),
    Pooled(PooledTransaction),
}

/// `$attempt`, and again with another password as long as the server refuses the present one and the password's file has another.
///
/// Safe for any statement: who is refused has no connection, so nothing was sent.
macro_rules! with_password {
    ($self:ident, $attempt:expr) => {{
        let Some(password) = &$self.password else { return $attempt.await };
        let mut renewal = password.renewal();
        loop {
            match $attempt.await {
                Err(error) if renewal.worth_another_attempt(&error).await => {}
                outcome => return outcome,
            }
        }
    }};
}

impl Connection {
    pub(super) fn direct(connection: DatabaseConnection, limits: &Pool, password: Option<Arc<Password>>) -> Self {
        Self { way: Way::Direct(connection, limits.transaction_timeout), password }
    }

    pub(super) fn pooled(pooled: Pooled, password: Option<Arc<Password>>) -> Self {
        Self { way: Way::Pooled(pooled), password }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DbErr> {
        with_password!(self, self.way.begin())
    }

    pub(super) async fn close(&self) -> Result<(), DbErr> {
        match &self.way {
            Way::Direct(connection, _) => connection.close_by_ref().await,
            Way::Pooled(pooled) => {
                pooled.close().await;
                Ok(())
            }
        }
    }
}

/// Goes on when the caller leaves: sqlx counts a transaction only once BEGIN is answered, so a connection that is given back before that would pass for one
/// outside of any, and what is done on it next would be undone later.
///
/// Not for longer than `limit`, or connections that fell silent would keep their places in the pool; it asks those that come back whether they are well.
pub(super) async fn to_its_end<T: Send + 'static>(
    limit: Duration,
    begin: impl Future<Output = Result<T, DbErr>> + Send + 'static,
) -> Result<T, DbErr> {
    let late = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
    let beginning = tokio::spawn(async move { tokio::time::timeout(limit, begin).await.unwrap_or_else(late) });
    beginning.await.unwrap_or_else(|error| Err(DbErr::Custom(format!("a transaction was not begun: {error}"))))
}

impl Way {
    /// On SQLite it is IMMEDIATE: one that begins as a reader and then writes fails with "busy" when another process wrote in between, however
    /// long it may wait.
    async fn begin(&self) -> Result<Transaction, DbErr> {
        match self {
            Self::Direct(connection, limit) => {
                let sqlite = connection.get_database_backend() == DbBackend::Sqlite;
                let sqlite_transaction_mode = sqlite.then_some(SqliteTransactionMode::Immediate);
                let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
                let connection = connection.clone();
                let begun = to_its_end(*limit, async move { connection.begin_with_options(options).await }).await?;
                Ok(Transaction(Kind::Direct(begun)))
            }
            Self::Pooled(pooled) => pooled.begin().await.map(|transaction| Transaction(Kind::Pooled(transaction))),
        }
    }

    async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Direct(connection, _) => connection.execute_raw(statement).await,
            Self::Pooled(pooled) => {
                let transaction = pooled.begin().await?;
                let result = transaction.execute(statement).await?;
                transaction.commit().await.map(|()| result)
            }
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Direct(connection, _) => connection.execute_unprepared(sql).await,
            Self::Pooled(pooled) => {
                let transaction = pooled.begin().await?;
                let result = transaction.execute_unprepared(sql).await?;
                transaction.commit().await.map(|()| result)
            }
        }
    }

    async fn query_one(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Direct(connection, _) => connection.query_one_raw(statement).await,
            Self::Pooled(pooled) => {
                let transaction = pooled.begin().await?;
                let row = transaction.query_one(statement).await?;
                transaction.commit().await.map(|()| row)
            }
        }
    }

    async fn query_all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Direct(connection, _) => connection.query_all_raw(statement).await,
            Self::Pooled(pooled) => {
                let transaction = pooled.begin().await?;
                let rows = transaction.query_all(statement).await?;
                transaction.commit().await.map(|()| rows)
            }
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        match &self.way {
            Way::Direct(connection, _) => connection.get_database_backend(),
            Way::Pooled(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        with_password!(self, self.way.execute(statement.clone()))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        with_password!(self, self.way.execute_unprepared(sql))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        with_password!(self, self.way.query_one(statement.clone()))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        with_password!(self, self.way.query_all(statement.clone()))
    }
}

impl Transaction {
    /// Makes what was done in it last.
    ///
    /// # Errors
    /// If the database does not say so; whether it was done is then not known.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0 {
            Kind::Direct(transaction) => transaction.commit().await,
            Kind::Pooled(transaction) => transaction.commit().await,
        }
    }

    /// Undoes what was done in it.
    ///
    /// # Errors
    /// If the connection is gone; the transaction is then gone with it.
    pub async fn rollback(self) -> Result<(), DbErr> {
        match self.0 {
            Kind::Direct(transaction) => transaction.rollback().await,
            Kind::Pooled(transaction) => transaction.rollback().await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Kind::Direct(transaction) => transaction.get_database_backend(),
            Kind::Pooled(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Direct(transaction) => transaction.execute_raw(statement).await,
            Kind::Pooled(transaction) => transaction.execute(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Direct(transaction) => transaction.execute_unprepared(sql).await,
            Kind::Pooled(transaction) => transaction.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Direct(transaction) => transaction.query_one_raw(statement).await,
            Kind::Pooled(transaction) => transaction.query_one(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Direct(transaction) => transaction.query_all_raw(statement).await,
            Kind::Pooled(transaction) => transaction.query_all(statement).await,
        }
    }
}
