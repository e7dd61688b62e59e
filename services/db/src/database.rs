//! Opens the database, PostgreSQL or SQLite, with the guarantees and time limits that the store needs.

mod connection;
mod password;
mod pooled;
mod postgres;
mod schema;
mod sqlite;

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use merch_chassis::StartError;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement, sqlx};

pub use self::connection::{Connection, Transaction};
pub use self::schema::migrate;
use crate::config::Pool;

/// An open database.
#[derive(Clone)]
pub struct Database {
    writer: Connection,
    reader: Connection,
    transaction_timeout: Duration,
}

enum Url {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
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
    /// One sentence, without the URL's password, if the URL cannot be used or there is no such database.
    pub async fn open(url: &str, pool: &Pool) -> Result<Self, StartError> {
        let (writer, reader) = match parse(url)? {
            Url::Postgres(options) => {
                let both = postgres::open(options, pool).await?;
                (both.clone(), both)
            }
            Url::Sqlite(options) => {
                let file = options.get_filename();
                if !file.exists() {
                    return Err(StartError::new(format!("there is no database file {}: run `merch migrate` to make it", file.display())));
                }
                let (writer, reader) = sqlite::open(options, pool).await?;
                (Connection::direct(writer, pool, None), Connection::direct(reader, pool, None))
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

    /// `work`, for as long as a transaction may take. The database's own limits are of no use when a connection falls silent; whoever works in
    /// the background, with no caller's deadline, waits no longer than this.
    ///
    /// # Errors
    /// Those of `work`, or that it took too long.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let patience = self.transaction_timeout;
        let late = |_| Err(DbErr::Custom(format!("the database did not answer within {patience:?}")));
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

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        self.writer.begin().await
    }

    /// Refuses a schema that this program does not fit.
    pub(crate) async fn check_schema(&self) -> Result<(), StartError> {
        schema::check(&self.reader).await
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

/// Whether a connection may be used again: `false` closes it, and another one takes its place.
///
/// A transaction that the database has ended by itself (SQLite does when the disk is full) cannot be rolled back, and sqlx goes on counting it. What begins next
/// on that connection is then a savepoint inside of nothing, or of a transaction that nobody commits: work would be acknowledged that is never stored.
async fn outside_of_transactions<C: sqlx::Connection>(connection: &mut C) -> Result<bool, sqlx::Error> {
    let outside = !connection.is_in_transaction();
    if !outside {
        tracing::warn!("a connection to the database was left inside of a transaction: it is closed");
    }
    Ok(outside)
}

/// Whether `url` names a database, as far as it itself tells: nothing is connected and nothing made.
///
/// # Errors
/// One sentence, without the URL's password, on what was expected.
pub fn check_url(url: &str) -> Result<(), StartError> {
    parse(url).map(|_| ())
}

fn parse(url: &str) -> Result<Url, StartError> {
    // The URL itself is not repeated in any sentence: it may hold a password.
    let expected = "postgres://user:password@host:port/database or sqlite:///path/to/file";
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => match PgConnectOptions::from_str(url) {
            Ok(options) => Ok(Url::Postgres(options)),
            Err(_) => Err(StartError::new(format!("the database URL cannot be read as PostgreSQL's: expected {expected}"))),
        },
        Some("sqlite") if url.contains(":memory:") || url.contains("mode=memory") => {
            Err(StartError::new("an SQLite database in memory would not outlive the process: expected a file, sqlite:///path/to/file"))
        }
        Some("sqlite") => match SqliteConnectOptions::from_str(url) {
            Ok(options) => Ok(Url::Sqlite(options)),
            Err(error) => Err(StartError::new(format!("the database URL cannot be read as SQLite's ({error}): expected {expected}"))),
        },
        Some(_) | None => Err(StartError::new(format!("the database URL has a scheme that the store does not know: expected {expected}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_described_without_its_password() {
        for url in [
            "mysql://user:hunter2@host/db",
            "postgres://user:hunter2@host:notaport/db",
            "hunter2",
            "sqlite::memory:",
            "sqlite://x?mode=hunter2",
        ] {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert!(error.to_string().contains("expected"), "{error}");
            assert!(!error.to_string().contains("user:hunter2"), "{error}");
        }
    }

    #[test]
    fn both_spellings_of_postgres_are_taken() {
        assert!(matches!(parse("postgres://u:p@h/d"), Ok(Url::Postgres(_))));
        assert!(matches!(parse("postgresql://u:p@h/d"), Ok(Url::Postgres(_))));
        assert!(matches!(parse("sqlite://some/file.db"), Ok(Url::Sqlite(_))));
    }
}
