use std::{fmt, path::Path, time::Duration};

use merch_chassis::StartError;
use sea_orm::{
    DatabaseConnection, SqlxSqliteConnector,
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        sqlite::{
            SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
            SqlitePoolOptions, SqliteSynchronous,
        },
    },
};

use super::pool::Pool;

/// `SQLITE_BUSY`, the low byte of its extended codes.
const BUSY: i32 = 5;
/// SQLite's number of `synchronous=FULL`; `EXTRA` is 3.
const SYNCHRONOUS_FULL: i64 = 2;
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A queue in Rust is fairer and cheaper than SQLite's busy handler. In WAL mode, readers and the
/// writer do not block each other.
pub(super) async fn open(
    options: SqliteConnectOptions,
    pool: &Pool,
) -> Result<(DatabaseConnection, DatabaseConnection), StartError> {
    let file = options.get_filename().to_owned();
    let writer = open_writer(options.clone(), pool).await?;
    warn_about_durability(&writer, &file).await.map_err(|error| open_error(&file, &error))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(pool.connections.max(1))
        .acquire_timeout(pool.acquire_timeout)
        .connect_with(durable_options(options, pool).pragma("query_only", "ON"))
        .await
        .map_err(|error| open_error(&file, &error))?;
    Ok((
        SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
    ))
}

pub(super) async fn open_writer(
    options: SqliteConnectOptions,
    pool: &Pool,
) -> Result<SqlitePool, StartError> {
    let file = options.get_filename().to_owned();
    let until = tokio::time::Instant::now() + pool.lock_timeout;
    loop {
        let opened = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(pool.acquire_timeout)
            .before_acquire(|connection, _| Box::pin(is_outside_transaction(connection)))
            .connect_with(durable_options(options.clone(), pool))
            .await;
        match opened {
            // Changing a new file to WAL ignores the busy timeout.
            Err(error)
                if is_busy(&error) && tokio::time::Instant::now() + RETRY_INTERVAL < until =>
            {
                tokio::time::sleep(RETRY_INTERVAL).await
            }
            opened => return opened.map_err(|error| open_error(&file, &error)),
        }
    }
}

/// Returns whether the pool may reuse a connection; `false` closes it.
///
/// SQLite may end a transaction by itself, for example if the disk is full. ROLLBACK then fails,
/// and sqlx still counts the transaction. The next one would be a savepoint that is never
/// committed.
async fn is_outside_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let outside = !connection.is_in_transaction();
    if !outside {
        tracing::warn!("closed an SQLite connection that was left in a transaction");
    }
    Ok(outside)
}

/// With `synchronous=NORMAL`, a commit in WAL mode does not wait for the disk, and a power loss
/// could lose an acknowledged order. Group commit makes up for the cost of FULL.
fn durable_options(options: SqliteConnectOptions, pool: &Pool) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(pool.lock_timeout)
        .disable_statement_logging()
}

/// Warns if [`durable_options`] are not in effect: SQLite keeps the previous journal mode if the
/// file system does not support WAL.
async fn warn_about_durability(writer: &SqlitePool, file: &Path) -> Result<(), sqlx::Error> {
    let journal_mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await?;
    for (setting, value) in durability_risks(&journal_mode, synchronous) {
        tracing::warn!(
            file = %file.display(), setting, value,
            "a crash may lose acknowledged orders; keep the database on a local file system"
        );
    }
    Ok(())
}

fn durability_risks(journal_mode: &str, synchronous: i64) -> Vec<(&'static str, String)> {
    let mut risks = Vec::new();
    if ["off", "memory"].contains(&journal_mode) {
        risks.push(("journal_mode", journal_mode.to_owned()));
    }
    if synchronous < SYNCHRONOUS_FULL {
        risks.push(("synchronous", synchronous.to_string()));
    }
    risks
}

fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == BUSY)
}

/// Creates an empty database if the file does not exist. Only the owner may read it, as it will
/// hold password hashes; SQLite gives its other files the same mode.
pub(super) fn create_private_file(file: &Path) -> Result<(), StartError> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(open_error(file, &error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) fn open_error(file: &Path, error: &dyn fmt::Display) -> StartError {
    StartError::new(format!(
        "the database file {} cannot be opened: {error}; check that it is an SQLite database, and \
         that it and its directory may be written to",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_risks_are_named() {
        for (mode, synchronous) in [("wal", 2), ("wal", 3), ("delete", 2)] {
            assert_eq!(durability_risks(mode, synchronous), []);
        }
        assert_eq!(durability_risks("wal", 1), [("synchronous", "1".to_owned())]);
        assert_eq!(
            durability_risks("memory", 0),
            [("journal_mode", "memory".to_owned()), ("synchronous", "0".to_owned())]
        );
    }
}
