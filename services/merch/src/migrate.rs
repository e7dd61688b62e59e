//! `merch migrate`: brings the schema up to date, or says whether it is.

use std::process::ExitCode;

use merch_chassis::StartError;
use merch_db::Database;

use crate::{data_dir::DataDir, print, settings::Migrate};

/// Migrates, or with `--status` only looks; exit code 1 when it looked and something is pending.
///
/// # Errors
/// When there is no such database, or a migration fails.
pub(crate) async fn run(settings: &Migrate) -> Result<ExitCode, StartError> {
    settings.database.check()?;
    let path = &settings.data.data_dir;
    if settings.status {
        return status(&settings.database.or_in(path)).await;
    }
    // The folder is needed, and made, only when the database is in it. Nothing is locked: the database itself lets one migrate at a time.
    let data = settings.database.is_default().then(|| DataDir::open(path, &[])).transpose()?;
    let applied = merch_db::migrate(&settings.database.or_in(data.as_ref().map_or(path, DataDir::path))).await?;
    if applied.is_empty() {
        print("the schema is up to date");
    }
    for name in applied {
        print(format_args!("applied {name}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(url: &str) -> Result<ExitCode, StartError> {
    let database = Database::open(url, &merch_db::Pool::default()).await?;
    let pending = merch_migration::pending(database.reader()).await;
    database.close().await;
    let pending = pending
        .map_err(|error| StartError::new(format!("the schema's version cannot be read: {error}; was it migrated by a newer `merch`?")))?;
    if pending.is_empty() {
        print("the schema is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    for name in pending {
        print(format_args!("pending {name}"));
    }
    Ok(ExitCode::FAILURE)
}
