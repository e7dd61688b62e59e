//! Connections to an SQLite file: one writer, several readers.

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

use crate::config::Pool;

/// SQLite's `SQLITE_BUSY`: its low byte, the rest says more.
const BUSY: i32 = 5;
/// SQLite's number for `synchronous=FULL`; `EXTRA` is 3.
const FULL: i64 = 2;
/// The time between two tries to open a file that another process is just making.
const AGAIN: Duration = Duration::from_millis(20);

/// The writer and the readers of the file.
///
/// One writer, as SQLite has one at a time and a queue in Rust is fairer and cheaper than its
/// busy-wait; several readers, which in WAL mode neither wait for the writer nor hold it up.
///
/// # Errors
/// One sentence, if it cannot be opened.
pub(super) async fn open(
    options: SqliteConnectOptions,
    pool: &Pool,
) -> Result<(DatabaseConnection, DatabaseConnection), StartError> {
    let file = options.get_filename().to_owned();
    let writer = open_writer(options.clone(), pool).await?;
    warn_of_loss(&writer, &file).await.map_err(|error| sentence(&file, &error))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(pool.connections.max(1))
        .acquire_timeout(pool.acquire_timeout)
        .connect_with(with_guarantees(options, pool).pragma("query_only", "ON"))
        .await
        .map_err(|error| sentence(&file, &error))?;
    Ok((
        SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
    ))
}

/// The writer alone.
///
/// # Errors
/// One sentence, if the file cannot be opened.
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
            .before_acquire(|connection, _| Box::pin(outside_of_transactions(connection)))
            .connect_with(with_guarantees(options.clone(), pool))
            .await;
        match opened {
            // The change of a new file to WAL does not wait for others, whatever the busy time-out.
            Err(error) if is_busy(&error) && tokio::time::Instant::now() + AGAIN < until => {
                tokio::time::sleep(AGAIN).await
            }
            opened => return opened.map_err(|error| sentence(&file, &error)),
        }
    }
}

/// Whether a connection may be used again: `false` closes it, and another one takes its place.
///
/// A transaction that the database has ended by itself (SQLite does when the disk is full) cannot
/// be rolled back, and sqlx goes on counting it. What begins next on that connection is then a
/// savepoint inside of nothing, or of a transaction that is never committed: work would be
/// acknowledged that is never stored.
async fn outside_of_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let outside = !connection.is_in_transaction();
    if !outside {
        tracing::warn!(
            "a connection to the database was left inside of a transaction: it is closed"
        );
    }
    Ok(outside)
}

/// `synchronous=FULL`: WAL's usual NORMAL does not wait for the disk on commit, and an order that
/// was acknowledged could be lost with the power. Group commit makes up for the price.
fn with_guarantees(options: SqliteConnectOptions, pool: &Pool) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(pool.lock_timeout)
        .disable_statement_logging()
}

/// Warns when the file does not keep what [`with_guarantees`] asked for: SQLite keeps the previous
/// journal mode where the file system lacks what WAL needs.
async fn warn_of_loss(writer: &SqlitePool, file: &Path) -> Result<(), sqlx::Error> {
    let journal_mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await?;
    for (setting, value) in risks(&journal_mode, synchronous) {
        tracing::warn!(file = %file.display(), setting, value, "an acknowledged order could be lost by a crash; keep the database on a local file system");
    }
    Ok(())
}

/// The settings by which an acknowledged order can be lost, with their values.
fn risks(journal_mode: &str, synchronous: i64) -> Vec<(&'static str, String)> {
    let mut risks = Vec::new();
    if ["off", "memory"].contains(&journal_mode) {
        risks.push(("journal_mode", journal_mode.to_owned()));
    }
    if synchronous < FULL {
        risks.push(("synchronous", synchronous.to_string()));
    }
    risks
}

fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == BUSY)
}

/// Makes an empty file, which is an empty database, if there is none. It will hold the hashes of
/// passwords, so only its owner may read it; SQLite gives the files that it makes beside it the
/// same mode.
pub(super) fn make_private(file: &Path) -> Result<(), StartError> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(sentence(file, &error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) fn sentence(file: &Path, error: &dyn fmt::Display) -> StartError {
    StartError::new(format!(
        "the database file {} cannot be opened: {error}; check that it is an SQLite database, and that it and its folder may be written to",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_keep_what_was_acknowledged_is_named() {
        for (mode, synchronous) in [("wal", 2), ("wal", 3), ("delete", 2)] {
            assert_eq!(risks(mode, synchronous), []);
        }
        assert_eq!(risks("wal", 1), [("synchronous", "1".to_owned())]);
        assert_eq!(
            risks("memory", 0),
            [("journal_mode", "memory".to_owned()), ("synchronous", "0".to_owned())]
        );
    }
}
