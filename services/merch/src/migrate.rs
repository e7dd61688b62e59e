//! `merch migrate`: brings the schema up to date, or says whether it is.

use std::process::ExitCode;

use command_output::{OutputError, print, print_done};
use merch_chassis::StartError;
use merch_db::{Database, Location};
use merch_migration::{Standing, standing};

use crate::{
    data_dir::DataDir,
    database_lock::{DatabaseLock, Use},
    failure::Failure,
    settings::Migrate,
};

/// Migrates, or with `--status` only looks; exit code 1 when it looked and something is pending, or
/// the schema is of another program.
///
/// # Errors
/// When there is no such database, or a migration fails.
pub(crate) async fn run(settings: &Migrate) -> Result<ExitCode, Failure> {
    let path = &settings.data.data_dir;
    settings.database.check_in(path)?;
    if settings.status {
        return Ok(tell(look(&settings.database.direct_or_in(path)?).await?)?);
    }
    // The folder is needed, and made, only when the database is in it.
    let data = settings.database.is_default().then(|| DataDir::open(path, &[])).transpose()?;
    let location = settings.database.direct_or_in(data.as_ref().map_or(path, DataDir::path))?;
    // Nothing is changed below a store that runs. Where there is nothing to do it may run.
    let _lock = if settings.restored.is_some() {
        DatabaseLock::take(&location, Use::Alone)?
    } else if fits(&location).await {
        None
    } else {
        DatabaseLock::take(&location, Use::Migration)?
    };
    let applied = merch_db::migrate_patiently(&location, settings.database.patience()).await?;
    let mut done: Vec<_> = applied.iter().map(|name| format!("applied {name}")).collect();
    if let Some(taken_at) = &settings.restored {
        merch_db::mark_restored(&location, taken_at).await?;
        done.insert(0, "marked as restored: everyone has to log in again".to_owned());
    }
    if !done.is_empty() {
        print_done(done.join("; "), done.join("\n"))?;
    }
    if applied.is_empty() { Ok(tell(look(&location).await?)?) } else { Ok(ExitCode::SUCCESS) }
}

/// Whether an SQLite file is there and needs no migration.
async fn fits(location: &Location) -> bool {
    match location.sqlite_file() {
        Ok(Some(file)) if file.exists() => {
            matches!(look(location).await, Ok(Standing::UpToDate | Standing::Ahead { .. }))
        }
        Ok(_) | Err(_) => false,
    }
}

async fn look(location: &Location) -> Result<Standing, StartError> {
    let database = Database::open(location, &merch_db::Pool::default()).await?;
    let standing = standing(database.reader()).await;
    database.close().await;
    standing.map_err(|error| {
        StartError::new(format!("the schema's version cannot be read: {error}; check that the user may read the table seaql_migrations"))
    })
}

/// One line for each migration that is not applied, or not known.
fn tell(standing: Standing) -> Result<ExitCode, OutputError> {
    let (lines, code) = match standing {
        Standing::UpToDate => (vec!["the schema is up to date".to_owned()], ExitCode::SUCCESS),
        Standing::Behind { pending } => (each("pending", &pending), ExitCode::FAILURE),
        Standing::Ahead { unknown } => {
            let mut lines = each("newer", &unknown);
            lines.push("the schema is newer than this `merch`, which works on it".to_owned());
            (lines, ExitCode::SUCCESS)
        }
        Standing::TooNew { required } => (
            vec![format!("the schema asks for a `merch` that knows {required}: start a newer one")],
            ExitCode::FAILURE,
        ),
        Standing::Astray { pending, unknown } => {
            ([each("pending", &pending), each("unknown", &unknown)].concat(), ExitCode::FAILURE)
        }
    };
    print(lines.join("\n"))?;
    Ok(code)
}

fn each(word: &str, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{word} {name}")).collect()
}
