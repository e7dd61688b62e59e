//! Opens the database, PostgreSQL or SQLite, with the guarantees and time limits that the store needs.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr as _;
use std::time::Duration;

use merch_chassis::StartError;
use merch_migration::{Migrator, MigratorTrait as _};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, SqlxPostgresConnector,
    SqlxSqliteConnector, Statement, TransactionOptions, TransactionTrait as _,
};

use crate::config::Pool;

/// An open database.
#[derive(Clone)]
pub struct Database {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
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
        match parse(url)? {
            Url::Postgres(options) => Self::open_postgres(options, pool).await,
            Url::Sqlite(options) => {
                let file = options.get_filename().to_owned();
                if !file.exists() {
                    return Err(StartError::new(format!("there is no database file {}: run `merch migrate` to make it", file.display())));
                }
                Self::open_sqlite(options, pool).await
            }
        }
    }

    async fn open_postgres(options: PgConnectOptions, pool: &Pool) -> Result<Self, StartError> {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let options = options.application_name("merch-db").disable_statement_logging().options([
            ("statement_timeout", milliseconds(pool.statement_timeout)),
            ("lock_timeout", milliseconds(pool.lock_timeout)),
            ("idle_in_transaction_session_timeout", milliseconds(pool.transaction_timeout)),
        ]);
        probe_postgres(&options, pool.acquire_timeout).await?;
        let patience = pool.acquire_timeout;
        let connections = PgPoolOptions::new()
            .max_connections(pool.connections.max(1))
            .min_connections(1)
            .acquire_timeout(pool.acquire_timeout)
            .before_acquire(|connection, _| Box::pin(outside_of_transactions(connection)))
            // sqlx asks a connection that comes back whether it is well, and waits for the answer without end: one that fell silent, and whose
            // work was given up, would keep its place in the pool for ever.
            .after_release(move |connection, _| Box::pin(well(connection, patience)))
            .connect_lazy_with(options);
        let both = SqlxPostgresConnector::from_sqlx_postgres_pool(connections);
        Ok(Self { writer: both.clone(), reader: both, transaction_timeout: pool.transaction_timeout })
    }

    /// One writer, as SQLite has one at a time and a queue in Rust is fairer and cheaper than its busy-wait; several readers, which in WAL mode
    /// neither wait for the writer nor hold it up.
    ///
    /// `synchronous=FULL`: WAL's usual NORMAL does not wait for the disk on commit, and an order that was acknowledged could be lost with the
    /// power. Group commit makes up for the price.
    async fn open_sqlite(options: SqliteConnectOptions, pool: &Pool) -> Result<Self, StartError> {
        let file = options.get_filename().to_owned();
        let failed = |error: sqlx::Error| sqlite_error(&file, &error);
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(pool.lock_timeout)
            .disable_statement_logging();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(pool.acquire_timeout)
            .before_acquire(|connection, _| Box::pin(outside_of_transactions(connection)))
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(pool.connections.max(1))
            .acquire_timeout(pool.acquire_timeout)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(failed)?;
        Ok(Self {
            writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
            reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
            transaction_timeout: pool.transaction_timeout,
        })
    }

    /// Which of the two it is.
    pub fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    /// For statements that only read: on SQLite others are refused.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// For single statements that write.
    pub fn writer(&self) -> &DatabaseConnection {
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
    /// On SQLite it is IMMEDIATE: one that begins as a reader and then writes fails with "busy" when another process wrote in between, however
    /// long it may wait.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let sqlite_transaction_mode = (self.backend() == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
        self.writer.begin_with_options(TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }).await
    }

    /// Refuses a schema that this program does not fit.
    pub(crate) async fn check_schema(&self) -> Result<(), StartError> {
        let pending = merch_migration::pending(&self.reader).await.map_err(|error| {
            StartError::new(format!("the schema's version cannot be read: {error}; was it migrated by a newer `merch`?"))
        })?;
        if pending.is_empty() {
            return Ok(());
        }
        let plural = if pending.len() == 1 { "" } else { "s" };
        Err(StartError::new(format!("schema is not migrated ({} migration{plural} pending): run `merch migrate`", pending.len())))
    }

    /// Closes every connection; on SQLite this also folds the write-ahead log into the file.
    pub async fn close(&self) {
        for connection in [&self.reader, &self.writer] {
            if let Err(error) = self.within(connection.close_by_ref()).await {
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

/// Brings the schema up to date and says which migrations that took. Makes an SQLite file that does not exist.
///
/// # Errors
/// One sentence, if the database cannot be reached or a migration fails; it is then undone.
pub fn migrate(url: &str) -> Pin<Box<dyn Future<Output = Result<Vec<String>, StartError>> + Send>> {
    // Boxed for the reason of `merch_chassis::Serving`.
    Box::pin(bring_up_to_date(url.to_owned()))
}

async fn bring_up_to_date(url: String) -> Result<Vec<String>, StartError> {
    // A migration may rightly take longer than any statement of the running store.
    let unhurried = Duration::from_secs(600);
    let pool = Pool { statement_timeout: unhurried, lock_timeout: unhurried, transaction_timeout: unhurried, ..Pool::default() };
    let database = match parse(&url)? {
        Url::Postgres(options) => Database::open_postgres(options, &pool).await?,
        Url::Sqlite(options) => {
            make_private(options.get_filename())?;
            Database::open_sqlite(options, &pool).await?
        }
    };
    let failed = |error: DbErr| StartError::new(format!("the schema could not be migrated, and was left as it was: {error}"));
    let pending = merch_migration::pending(&database.writer).await.map_err(failed)?;
    let migrated = Migrator::up(&database.writer, None).await.map_err(failed);
    database.close().await;
    migrated.map(|()| pending)
}

/// Makes an empty file, which is an empty database, if there is none. It will hold the hashes of passwords, so only its owner may read it; SQLite gives the files
/// that it makes beside it the same mode.
fn make_private(file: &Path) -> Result<(), StartError> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(sqlite_error(file, &error)),
        Ok(_) | Err(_) => Ok(()),
    }
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

/// An answer, or an error after `patience`, at which the pool lets go of the connection.
async fn well(connection: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(patience, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

/// Makes one connection and says in one sentence why it could not; the pool would only say that it waited.
async fn probe_postgres(options: &PgConnectOptions, patience: Duration) -> Result<(), StartError> {
    let server = match options.get_socket() {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let sentence = match tokio::time::timeout(patience, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "the first connection was not closed cleanly");
            }
            return Ok(());
        }
        Err(_) => format!("PostgreSQL at {server} did not answer within {patience:?}: check the address and that the server runs"),
        Ok(Err(sqlx::Error::Database(error))) => match error.code().as_deref() {
            Some("3D000") => format!(
                "PostgreSQL at {server} has no database {:?}: create it, then run `merch migrate`",
                options.get_database().unwrap_or(options.get_username())
            ),
            Some("28P01" | "28000") => {
                format!("PostgreSQL at {server} refuses the user {:?}: check the name and the password in the URL", options.get_username())
            }
            code => format!("PostgreSQL at {server} refuses the connection ({}): {}", code.unwrap_or("no code"), error.message()),
        },
        Ok(Err(error)) => format!("PostgreSQL at {server} cannot be reached: {error}; check the address and that the server runs"),
    };
    Err(StartError::new(sentence))
}

fn sqlite_error(file: &Path, error: &dyn fmt::Display) -> StartError {
    StartError::new(format!(
        "the database file {} cannot be opened: {error}; check that it is an SQLite database, and that it and its folder may be written to",
        file.display()
    ))
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
