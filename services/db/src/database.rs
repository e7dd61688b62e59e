//! Connections to PostgreSQL or SQLite: pools, transactions, and the migration of the schema.

mod connection;
mod connector;
mod location;
mod password;
mod pool;
mod postgres;
mod postgres_pool;
mod schema;
mod server;
mod sqlite;
mod start_retry;

use std::{fmt, time::Duration};

use merch_chassis::StartError;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};

use self::location::Options;
pub(crate) use self::start_retry::StartRetry;
pub use self::{
    connection::{Connection, Transaction},
    location::Location,
    pool::{Pool, Pooler},
    schema::{migrate, migrate_with_timeout},
};

/// Limits one statement of [`Database::remove`], so that it does not delay an order or a log-in.
pub(crate) const DELETE_BATCH: u32 = 1_000;

/// An open database.
#[derive(Clone)]
pub struct Database {
    writer: Connection,
    reader: Connection,
    transaction_timeout: Duration,
}

/// Shows only the backend: the connections hold the password.
impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Database").field(&self.backend()).finish()
    }
}

impl Database {
    /// Connects to the database. An SQLite file must exist (see [`migrate`]).
    ///
    /// # Errors
    /// If the location is invalid or the database cannot be opened. Never shows the password.
    pub async fn open(location: impl Into<Location>, pool: &Pool) -> Result<Self, StartError> {
        let location = location.into();
        let (writer, reader) = match location.options()? {
            Options::Postgres(options) => {
                let both = postgres::open(options, pool).await?;
                (both.clone(), both)
            }
            Options::Sqlite(options) => {
                let file = options.get_filename();
                if !file.exists() {
                    return Err(StartError::new(format!(
                        "there is no database file {}: run `merch migrate` to create it",
                        file.display()
                    )));
                }
                let (writer, reader) = sqlite::open(options, pool).await?;
                (Connection::sqlite(writer, pool), Connection::sqlite(reader, pool))
            }
        };
        Ok(Self { writer, reader, transaction_timeout: pool.transaction_timeout })
    }

    /// Returns which database this is.
    pub fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    /// Runs statements that only read; SQLite refuses others here.
    pub fn reader(&self) -> &Connection {
        &self.reader
    }

    /// Runs single statements that write.
    pub fn writer(&self) -> &Connection {
        &self.writer
    }

    pub(crate) fn transaction_timeout(&self) -> Duration {
        self.transaction_timeout
    }

    /// Limits `work` to the time of a transaction. The database's own limits do not cover a frozen
    /// connection.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let timeout = self.transaction_timeout;
        let late =
            |_| Err(DbErr::Custom(format!("the database did not answer within {timeout:?}")));
        tokio::time::timeout(timeout, work).await.unwrap_or_else(late)
    }

    pub(crate) async fn ping(&self) -> Result<(), DbErr> {
        let statement = Statement::from_string(self.backend(), "SELECT 1");
        self.within(self.reader.query_one_raw(statement)).await.map(|_| ())
    }

    /// Repeats `statement` until it deletes fewer than `bound` rows. Returns the total.
    pub(crate) async fn remove(&self, statement: Statement, bound: u64) -> Result<u64, DbErr> {
        let mut removed = 0;
        loop {
            let rows =
                self.within(self.writer.execute_raw(statement.clone())).await?.rows_affected();
            removed += rows;
            if rows < bound {
                return Ok(removed);
            }
        }
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// If no connection is available in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        self.writer.begin().await
    }

    /// The outer error is the database's; the inner one states why the schema is incompatible.
    pub(crate) async fn check_schema(&self) -> Result<Result<(), StartError>, DbErr> {
        self.within(schema::check(&self.reader)).await
    }

    /// Closes all connections. On SQLite, also checkpoints the write-ahead log.
    pub async fn close(&self) {
        for connection in [&self.reader, &self.writer] {
            if let Err(error) = self.within(connection.close()).await {
                tracing::warn!(%error, "failed to close the database");
            }
        }
    }
}
