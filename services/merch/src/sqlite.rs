use std::{path::PathBuf, time::Duration};

use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Row as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use crate::{
    database_lock::DatabaseLock,
    settings::{common::Data, db::DatabaseUrl},
};

/// How long to wait for a store that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) fn file(
    database: &DatabaseUrl,
    data: &Data,
    instead: &str,
) -> Result<PathBuf, StartError> {
    database.check()?;
    database.or_in(&data.data_dir)?.sqlite_file()?.ok_or_else(|| {
        StartError::new(format!(
            "the database is PostgreSQL, but this command is for the SQLite file of an embedded \
             store; {instead}"
        ))
    })
}

/// Opens the database. Fails if the file is missing.
pub(crate) async fn open(
    file: &std::path::Path,
    access: Access,
) -> Result<SqliteConnection, StartError> {
    if !file.exists() {
        return Err(StartError::new(format!(
            "the database file {} does not exist; start `merch`, which creates it, or choose its \
             directory with --data-dir",
            file.display()
        )));
    }
    DatabaseLock::check_links(file)?;
    // Absolute: SQLite interprets a name such as `file:x` as a URI.
    let absolute = std::path::absolute(file).map_err(|error| {
        StartError::new(format!(
            "the database file {} has no absolute path: {error}",
            file.display()
        ))
    })?;
    SqliteConnectOptions::new()
        .filename(absolute)
        .read_only(access == Access::Read)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| {
            StartError::new(format!(
                "the database file {} cannot be opened: {error}; check that it is an SQLite \
                 database",
                file.display()
            ))
        })
}

/// Checks the integrity of the database, including the foreign keys.
pub(crate) async fn check_integrity(connection: &mut SqliteConnection) -> Result<(), String> {
    let to_text = |error: sqlx::Error| error.to_string();
    let found: String = sqlx::raw_sql("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(to_text)?;
    if found != "ok" {
        return Err(found);
    }
    match sqlx::raw_sql("PRAGMA foreign_key_check")
        .fetch_optional(connection)
        .await
        .map_err(to_text)?
    {
        Some(row) => Err(format!(
            "a row of {} violates a foreign key",
            row.try_get::<String, _>(0).map_err(to_text)?
        )),
        None => Ok(()),
    }
}

/// Counts rows. `from` is a table, optionally with a `WHERE` clause.
pub(crate) async fn count(
    connection: &mut SqliteConnection,
    from: &'static str,
) -> Result<i64, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("SELECT count(*) FROM {from}")))
        .fetch_one(connection)
        .await?
        .try_get(0)
}

pub(crate) async fn count_unshipped(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    count(connection, "outbox WHERE shipped_at IS NULL AND set_aside IS NULL").await
}
