use std::process::ExitCode;

use command_output::{OutputError, print, print_done};
use merch_chassis::StartError;
use merch_db::{Database, Location};
use merch_migration::{Compatibility, check_compatibility};

use crate::{
    command_error::CommandError,
    data_dir::DataDir,
    database_lock::{DatabaseLock, LockMode},
    settings::Migrate,
};

/// The exit code is 1 if migrations are pending or the schema is incompatible.
pub(crate) async fn run(settings: &Migrate) -> Result<ExitCode, CommandError> {
    let path = &settings.data.data_dir;
    settings.database.check_in(path)?;
    if settings.status {
        return Ok(print_status(schema_status(&settings.database.direct_or_in(path)?).await?)?);
    }
    // The data directory is only needed for the default database.
    let data = settings.database.is_default().then(|| DataDir::open(path, &[])).transpose()?;
    let location = settings.database.direct_or_in(data.as_ref().map_or(path, DataDir::path))?;
    // A running store blocks changes, but not a migration with nothing to do.
    let _lock = if settings.restored.is_some() {
        DatabaseLock::take(&location, LockMode::Exclusive)?
    } else if is_current(&location).await {
        None
    } else {
        DatabaseLock::take(&location, LockMode::Shared)?
    };
    let applied = merch_db::migrate_with_timeout(&location, settings.database.patience()).await?;
    let mut done: Vec<_> = applied.iter().map(|name| format!("applied {name}")).collect();
    if let Some(taken_at) = &settings.restored {
        merch_db::mark_restored(&location, taken_at).await?;
        done.insert(0, "marked as restored; all tokens are revoked".to_owned());
    }
    if !done.is_empty() {
        print_done(done.join("; "), done.join("\n"))?;
    }
    if applied.is_empty() {
        Ok(print_status(schema_status(&location).await?)?)
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether it is an existing SQLite file that needs no migration.
async fn is_current(location: &Location) -> bool {
    match location.sqlite_file() {
        Ok(Some(file)) if file.exists() => {
            matches!(
                schema_status(location).await,
                Ok(Compatibility::UpToDate | Compatibility::Ahead { .. })
            )
        }
        Ok(_) | Err(_) => false,
    }
}

async fn schema_status(location: &Location) -> Result<Compatibility, StartError> {
    let database = Database::open(location, &merch_db::Pool::default()).await?;
    let compatibility = check_compatibility(database.reader()).await;
    database.close().await;
    compatibility.map_err(|error| {
        StartError::new(format!(
            "cannot read the schema's version: {error}; check that the user may read the table \
             seaql_migrations"
        ))
    })
}

fn print_status(compatibility: Compatibility) -> Result<ExitCode, OutputError> {
    let (lines, code) = match compatibility {
        Compatibility::UpToDate => (vec!["the schema is up to date".to_owned()], ExitCode::SUCCESS),
        Compatibility::Behind { pending } => (prefixed("pending", &pending), ExitCode::FAILURE),
        Compatibility::Ahead { unknown } => {
            let mut lines = prefixed("newer", &unknown);
            lines.push("the schema is newer than this `merch`, but compatible".to_owned());
            (lines, ExitCode::SUCCESS)
        }
        Compatibility::TooNew { required } => (
            vec![format!(
                "the schema requires a `merch` with the migration {required}; start a newer one"
            )],
            ExitCode::FAILURE,
        ),
        Compatibility::Diverged { pending, unknown } => (
            [prefixed("pending", &pending), prefixed("unknown", &unknown)].concat(),
            ExitCode::FAILURE,
        ),
    };
    print(lines.join("\n"))?;
    Ok(code)
}

fn prefixed(word: &str, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{word} {name}")).collect()
}
