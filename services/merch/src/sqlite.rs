//! The SQLite file of a store, opened beside the store that may be running on it.

use std::{path::PathBuf, time::Duration};

use merch_chassis::StartError;
use sea_orm::sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use crate::{
    database_lock::DatabaseLock,
    settings::{common::Data, db::DatabaseUrl},
};

/// How long a store that is writing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// SQLite itself refuses to write to it.
    Read,
    Write,
}

/// The file of the database that is set, or of the one in the data folder.
///
/// # Errors
/// For PostgreSQL: `instead` says what does the same there.
pub(crate) fn file(
    database: &DatabaseUrl,
    data: &Data,
    instead: &str,
) -> Result<PathBuf, StartError> {
    database.check()?;
    database.or_in(&data.data_dir)?.sqlite_file()?.ok_or_else(|| {
        StartError::new(format!("the database is PostgreSQL, and this command is for the SQLite file of an embedded store; {instead}"))
    })
}

/// Opens `file`, which must exist.
///
/// # Errors
/// When it is not there, is no database, or may not be read.
pub(crate) async fn open(
    file: &std::path::Path,
    access: Access,
) -> Result<SqliteConnection, StartError> {
    if !file.exists() {
        return Err(StartError::new(format!(
            "there is no database file {}; start `merch`, which makes it, or choose its folder with --data-dir",
            file.display()
        )));
    }
    DatabaseLock::check_links(file)?;
    // Absolute: SQLite takes a name such as `file:x` for a URI.
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
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| {
            StartError::new(format!("the database file {} cannot be opened: {error}; check that it is an SQLite database", file.display()))
        })
}
