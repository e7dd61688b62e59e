//! `merch backup`: writes an embedded store to one file while it runs.
//!
//! The database is one consistent snapshot (`VACUUM INTO`); the journal has every event that was
//! durable when the backup began. Keys are not included: a reader can neither sign tokens nor act
//! as the operator.

use std::{fs, io, path::Path, time::SystemTime};

use command_output::print_done;
use merch_chassis::{
    StartError,
    file_permissions::{Owners, parent_dir},
};
use sea_orm::sqlx::{self, Connection as _};

use crate::{
    archive::{self, DATABASE, JOURNAL},
    command_error::CommandError,
    data_dir,
    settings::operations::Backup,
    sqlite::{self, Access},
};

const ACKNOWLEDGED: &str = "acknowledged";
const STAGING_PREFIX: &str = ".merch-backup-";

/// Writes the backup. An error leaves no file.
pub(crate) async fn run(settings: &Backup) -> Result<(), CommandError> {
    let instead = "use pg_dump (`make backup` runs it)";
    let source = sqlite::file(&settings.database, &settings.data, instead)?;
    if settings.file.exists() {
        return Err(archive::already_exists(&settings.file).into());
    }
    let dir = parent_dir(&settings.file);
    // SQLite has to open the staged copy in this directory.
    if data_dir::database(&dir.join(format!("{STAGING_PREFIX}XXXXXX"))).check().is_err() {
        return Err(StartError::new(format!(
            "the backup {} cannot be written: SQLite cannot open files in a directory whose name \
             is too long or not UTF-8; choose another directory",
            settings.file.display()
        ))
        .into());
    }
    // On the target's disk, removed on drop, mode 0700.
    let staged =
        tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(dir).map_err(|error| {
            StartError::new(format!(
                "cannot write to {}: {error}; expected a directory that this user may write to",
                dir.display()
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
            "{file}: {users} users, {orders} orders, {unshipped} unshipped events, {journal} \
             journal files, {bytes} bytes"
        ),
    )?)
}

#[derive(Debug)]
struct Counts {
    users: i64,
    orders: i64,
    unshipped: i64,
}

async fn copy_database(source: &Path, copy: &Path) -> Result<Counts, StartError> {
    let failed = |error: sqlx::Error| {
        StartError::new(format!(
            "the database {} cannot be copied: {error}; check that the disk is not full",
            source.display()
        ))
    };
    // Absolute: SQLite interprets `file:…` as a URI.
    let copy = &std::path::absolute(copy).map_err(|error| failed(error.into()))?;
    let Some(copy_text) = copy.to_str().map(str::to_owned) else {
        return Err(StartError::new(format!(
            "the directory of {} has a name that is not UTF-8, which SQLite cannot open; choose \
             another",
            copy.display()
        )));
    };
    // SQLite accepts an empty file and keeps its mode.
    archive::create_private_file(copy).map_err(|error| failed(error.into()))?;
    let mut connection = sqlite::open(source, Access::Read).await?;
    sqlx::query("VACUUM INTO ?").bind(copy_text).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let mut connection = sqlite::open(copy, Access::Read).await?;
    sqlite::check_integrity(&mut connection).await.map_err(|what| {
        StartError::new(format!("the database {} is damaged: {what}", source.display()))
    })?;
    let counts = async {
        Ok(Counts {
            users: sqlite::count(&mut connection, "users").await?,
            orders: sqlite::count(&mut connection, "orders").await?,
            unshipped: sqlite::count_unshipped(&mut connection).await?,
        })
    };
    let counts = counts.await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(counts)
}

/// Copies the checkpoint first: an event that is acknowledged in the meantime is then only sent
/// again. The last file may end within an event, as after a crash.
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
    // Excludes the lock and temporary files.
    names.retain(|name| {
        name == ACKNOWLEDGED || name.ends_with(".journal") || name.ends_with(".jsonl")
    });
    names.sort_unstable_by_key(|name| (name != ACKNOWLEDGED, name.clone()));
    archive::create_private_dir(copy)?;
    // A link could add another user's file to the backup.
    let owners = Owners::of_store(journal)?;
    let mut copied = 0;
    for name in names {
        let mut source = match owners.open(&journal.join(&name)) {
            Ok(source) => source,
            // The file was fully acknowledged and deleted in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        io::copy(&mut source, &mut archive::create_private_file(&copy.join(&name))?)?;
        copied += 1;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlink_in_the_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, copy) = (dir.path().join("journal"), dir.path().join("copy"));
        let secret = dir.path().join("secret");
        fs::create_dir(&journal).unwrap();
        fs::write(&secret, "hush").unwrap();
        std::os::unix::fs::symlink(&secret, journal.join("00000000000000000001.journal")).unwrap();
        let error = copy_journal(&journal, &copy).unwrap_err().to_string();
        assert!(error.contains("it is a symbolic link"), "{error}");
        assert_eq!(fs::read_dir(&copy).unwrap().count(), 0);
    }
}
