//! `merch backup`: the whole of an embedded store in one file, taken while it runs.
//!
//! The database is one consistent snapshot (SQLite's VACUUM INTO), so that orders, stock,
//! idempotency keys and the outbox agree. The api's journal knows nothing of the tables; of it,
//! everything that was durable when the backup began is in it. The keys are not: who finds a backup
//! can neither sign tokens nor be the operator.

use std::{fs, io, path::Path, time::SystemTime};

use command_output::print_done;
use merch_chassis::{
    StartError,
    file_permissions::{Owners, parent_dir},
};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Row as _, sqlite::SqliteConnection};

use crate::{
    archive::{self, DATABASE, JOURNAL},
    data_dir,
    failure::Failure,
    settings::operator::Backup,
    sqlite::{self, Access},
};

/// The file with the number of the last event that is shipped. The rest of the journal's files are
/// its events.
const ACKNOWLEDGED: &str = "acknowledged";
/// What the name of the folder begins with that holds the copy until the backup is written.
const PREFIX: &str = ".merch-backup-";

/// Takes the backup and says what is in it.
///
/// # Errors
/// When there is no such database, there is a file of this name, or the disk fails; then there is
/// no file.
pub(crate) async fn run(settings: &Backup) -> Result<(), Failure> {
    let instead = "use pg_dump (`make backup` runs it)";
    let source = sqlite::file(&settings.database, &settings.data, instead)?;
    if settings.file.exists() {
        return Err(archive::exists(&settings.file).into());
    }
    let folder = parent_dir(&settings.file);
    // SQLite writes the copy there, in a folder with such a name.
    if data_dir::database(&folder.join(format!("{PREFIX}XXXXXX"))).check().is_err() {
        return Err(StartError::new(format!(
            "the backup {} cannot be written: SQLite opens no file in a folder whose name is not UTF-8 or too long; \
             choose another folder",
            settings.file.display()
        ))
        .into());
    }
    // On the disk that the backup is for, and gone whatever happens. Mode 0700.
    let staged = tempfile::Builder::new().prefix(PREFIX).tempdir_in(folder).map_err(|error| {
        StartError::new(format!(
            "nothing can be written to {}: {error}; expected a folder that this user may write to",
            folder.display()
        ))
    })?;
    let taken_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let journal = copy_journal(&settings.data.data_dir.join(JOURNAL), &staged.path().join(JOURNAL))
        .map_err(|error| {
            StartError::new(format!(
                "the journal in {} cannot be copied: {error}",
                settings.data.data_dir.join(JOURNAL).display()
            ))
        })?;
    let Counts { users, orders, unshipped } =
        copy_database(&source, &staged.path().join(DATABASE)).await?;
    let bytes = archive::write(&settings.file, staged.path(), taken_at)?;
    let file = settings.file.display();
    Ok(print_done(
        format_args!("the backup {file} was written"),
        format_args!(
            "{file}: users {users}, orders {orders}, events of the db service that are not shipped {unshipped}, files of the api's journal {journal}; {bytes} bytes"
        ),
    )?)
}

#[derive(Debug)]
struct Counts {
    users: i64,
    orders: i64,
    unshipped: i64,
}

/// A snapshot of `source` in `copy`, proven to be whole.
async fn copy_database(source: &Path, copy: &Path) -> Result<Counts, StartError> {
    let failed = |error: sqlx::Error| {
        StartError::new(format!(
            "the database {} cannot be copied: {error}; see whether the disk is full",
            source.display()
        ))
    };
    // Absolute, as SQLite takes `file:…` for a URI; and never another name than the one that is
    // read below.
    let copy = &std::path::absolute(copy).map_err(|error| failed(error.into()))?;
    let Some(copy_text) = copy.to_str().map(str::to_owned) else {
        return Err(StartError::new(format!(
            "the folder of {} has a name that is not UTF-8, which SQLite cannot open; choose another",
            copy.display()
        )));
    };
    // SQLite takes an empty file, and leaves it the mode that it has.
    archive::private(copy).map_err(|error| failed(error.into()))?;
    let mut connection = sqlite::open(source, Access::Read).await?;
    sqlx::query("VACUUM INTO ?").bind(copy_text).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let mut connection = sqlite::open(copy, Access::Read).await?;
    check(&mut connection).await.map_err(|what| {
        StartError::new(format!("the database {} is damaged: {what}", source.display()))
    })?;
    let counts = async {
        Ok(Counts {
            users: count(&mut connection, "users").await?,
            orders: count(&mut connection, "orders").await?,
            unshipped: count(
                &mut connection,
                "outbox WHERE shipped_at IS NULL AND set_aside IS NULL",
            )
            .await?,
        })
    };
    let counts = counts.await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(counts)
}

/// What SQLite finds wrong with the file or its references.
///
/// # Errors
/// The first of it, or that it cannot be looked at.
pub(crate) async fn check(connection: &mut SqliteConnection) -> Result<(), String> {
    let told = |error: sqlx::Error| error.to_string();
    let found: String = sqlx::raw_sql("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(told)?;
    if found != "ok" {
        return Err(found);
    }
    match sqlx::raw_sql("PRAGMA foreign_key_check")
        .fetch_optional(connection)
        .await
        .map_err(told)?
    {
        Some(row) => Err(format!(
            "a row of {} refers to one that is not there",
            row.try_get::<String, _>(0).map_err(told)?
        )),
        None => Ok(()),
    }
}

/// `from` is a table, perhaps with a condition, written here.
pub(crate) async fn count(
    connection: &mut SqliteConnection,
    from: &'static str,
) -> Result<i64, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("SELECT count(*) FROM {from}")))
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// Copies the journal of a store that may be running. Yields the number of files.
///
/// How far it is shipped is read first: a file that is gone a moment later, or one more event that
/// is shipped, then costs at most that events are sent again. The last file may end within an event
/// that is just being written, as after a crash; the journal is used to that.
fn copy_journal(journal: &Path, copy: &Path) -> io::Result<usize> {
    let mut names = Vec::new();
    match fs::read_dir(journal) {
        Ok(entries) => {
            for entry in entries {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    }
    // Not the lock, nor a file that is being replaced.
    names.retain(|name| {
        name == ACKNOWLEDGED || name.ends_with(".journal") || name.ends_with(".jsonl")
    });
    names.sort_unstable_by_key(|name| (name != ACKNOWLEDGED, name.clone()));
    archive::make_folder(copy)?;
    // A link would put a file of another user into the backup.
    let owners = Owners::of_store(journal)?;
    let mut copied = 0;
    for name in names {
        let mut source = match owners.open(&journal.join(&name)) {
            Ok(source) => source,
            // All of it was shipped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        io::copy(&mut source, &mut archive::private(&copy.join(&name))?)?;
        copied += 1;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_journal_does_not_bring_another_file_into_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, copy) = (folder.path().join("journal"), folder.path().join("copy"));
        let secret = folder.path().join("secret");
        fs::create_dir(&journal).unwrap();
        fs::write(&secret, "hush").unwrap();
        std::os::unix::fs::symlink(&secret, journal.join("00000000000000000001.journal")).unwrap();
        let error = copy_journal(&journal, &copy).unwrap_err().to_string();
        assert!(error.contains("it is a symbolic link"), "{error}");
        assert_eq!(fs::read_dir(&copy).unwrap().count(), 0);
    }
}
