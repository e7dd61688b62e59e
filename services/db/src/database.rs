//! Opens the database, PostgreSQL or SQLite, with the guarantees and time limits that the store
//! needs.

mod connection;
mod location;
mod password;
mod patience;
mod postgres;
mod postgres_pool;
mod schema;
mod server;
mod sqlite;

use std::{fmt, time::Duration};

use merch_chassis::StartError;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};

use self::location::Options;
pub(crate) use self::patience::Patience;
pub use self::{
    connection::{Connection, Transaction},
    location::Location,
    schema::{migrate, migrate_patiently},
};
use crate::config::Pool;

/// Rows that one statement of [`Database::remove`] removes at most: it must not hold up an order or
/// a log-in.
pub(crate) const BOUND: u32 = 1_000;

/// An open database.
#[derive(Clone)]
pub struct Database {
    writer: Connection,
    reader: Connection,
    transaction_timeout: Duration,
}

/// Which of the two it is, and no more: the connections know the password.
impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Database").field(&self.backend()).finish()
    }
}

impl Database {
    /// Connects. An SQLite file must exist (see [`migrate`]).
    ///
    /// # Errors
    /// One sentence, without the URL's password, if it cannot be used or there is no such database.
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
                        "there is no database file {}: run `merch migrate` to make it",
                        file.display()
                    )));
                }
                let (writer, reader) = sqlite::open(options, pool).await?;
                (Connection::sqlite(writer, pool), Connection::sqlite(reader, pool))
            }
        };
        Ok(Self { writer, reader, transaction_timeout: pool.transaction_timeout })
    }

    /// Which of the two it is.
    pub fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    /// For statements that only read: on SQLite others are refused.
    pub fn reader(&self) -> &Connection {
        &self.reader
    }

    /// For single statements that write.
    pub fn writer(&self) -> &Connection {
        &self.writer
    }

    /// The time that a transaction may take as a whole.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        self.transaction_timeout
    }

    /// `work`, for as long as a transaction may take. The database's own limits are of no use when
    /// a connection falls silent; whoever works in the background, with no caller's deadline, waits
    /// no longer than this.
    ///
    /// # Errors
    /// Those of `work`, or that it took too long.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let patience = self.transaction_timeout;
        let late =
            |_| Err(DbErr::Custom(format!("the database did not answer within {patience:?}")));
        tokio::time::timeout(patience, work).await.unwrap_or_else(late)
    }

    /// Says whether the database answers.
    ///
    /// # Errors
    /// If it does not, or not in time.
    pub(crate) async fn answers(&self) -> Result<(), DbErr> {
        let question = Statement::from_string(self.backend(), "SELECT 1");
        self.within(self.reader.query_one_raw(question)).await.map(|_| ())
    }

    /// Runs `statement`, which removes at most `bound` rows, until it removes fewer. Returns the
    /// number of rows that were removed.
    ///
    /// # Errors
    /// If the database does not answer one of the statements, or not in time.
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
    /// If there is no connection in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        self.writer.begin().await
    }

    /// Refuses a schema that this program does not fit.
    ///
    /// # Errors
    /// If the schema's version cannot be read, or not in time; within, one sentence if it does not
    /// fit.
    pub(crate) async fn check_schema(&self) -> Result<Result<(), StartError>, DbErr> {
        self.within(schema::check(&self.reader)).await
    }

    /// Closes every connection; on SQLite this also folds the write-ahead log into the file.
    pub async fn close(&self) {
        for connection in [&self.reader, &self.writer] {
            if let Err(error) = self.within(connection.close()).await {
                tracing::warn!(%error, "the database was not closed cleanly");
            }
        }
    }
}
