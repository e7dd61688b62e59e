//! `merch restore`: replaces an embedded store with a backup, atomically, and keeps the old files.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use command_output::print_done;
use merch_chassis::{
    StartError,
    file_permissions::{parent_dir, sync_dir, write_atomically},
};
use merch_logging::client::journal::Journal;
use sea_orm::sqlx::Connection as _;

use crate::{
    archive::{self, DATABASE, DATABASE_FILES, JOURNAL},
    command_error::CommandError,
    data_dir::{self, DataDir, DirLock},
    database_lock::{DatabaseLock, LockMode},
    settings::operations::Restore,
    sqlite::{self, Access, check_integrity, count},
};

/// All files of a store except its keys.
const STORE_FILES: [&str; 4] = {
    let [database, wal, shm] = DATABASE_FILES;
    [database, wal, shm, JOURNAL]
};

/// Verifies and prepares the backup, then moves it into place. An error changes nothing.
pub(crate) async fn run(settings: &Restore) -> Result<(), CommandError> {
    let instead = "use pg_restore (`make restore` runs it)";
    sqlite::file(&settings.database, &settings.data, instead)?;
    if !settings.database.is_default() {
        return Err(StartError::new(
            "a backup is restored to merch.db in the data directory, but --database-url \
             (MERCH_DATABASE_URL) names another file; restore without it, then move the file",
        )
        .into());
    }
    reject_symlinks(&settings.data.data_dir)?;
    let data =
        DataDir::open_for_restore(&settings.data.data_dir, &[DirLock::Journal, DirLock::Database])?;
    let dir = data.path();
    let there: Vec<&str> =
        STORE_FILES.into_iter().filter(|name| is_non_empty(&dir.join(name))).collect();
    if !there.is_empty() && !settings.replace {
        return Err(StartError::new(format!(
            "the data directory {} already contains a store ({}); choose an empty directory with \
             --data-dir, or use --replace, which keeps the old files",
            dir.display(),
            there.join(", ")
        ))
        .into());
    }
    // A store with another data directory may use this file.
    let current = dir.join(DATABASE);
    let _lock =
        current.exists().then(|| DatabaseLock::lock(&current, LockMode::Exclusive)).transpose()?;
    let staged = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(dir)
        .map_err(|error| restore_error(dir, &error))?;
    let manifest = archive::read(&settings.file, staged.path())?;
    let database = staged.path().join(DATABASE);
    let mut connection = sqlite::open(&database, Access::Read).await?;
    check_integrity(&mut connection).await.map_err(|what| {
        StartError::new(format!(
            "{} cannot be restored: its database is damaged: {what}; nothing was changed",
            settings.file.display()
        ))
    })?;
    let counted = async {
        let (users, orders) =
            (count(&mut connection, "users").await?, count(&mut connection, "orders").await?);
        connection.close().await?;
        Ok::<_, sea_orm::sqlx::Error>((users, orders))
    };
    let (users, orders) = counted.await.map_err(|error| {
        StartError::new(format!(
            "{} cannot be restored: its database is not a store's: {error}; nothing was changed",
            settings.file.display()
        ))
    })?;
    merch_db::mark_restored(data_dir::database(staged.path()), &manifest.taken_at).await?;

    // Count before the old database is moved.
    let left = if there.contains(&DATABASE) { unshipped(&dir.join(DATABASE)).await } else { None };
    let replaced =
        replace_files(&data, staged.path()).map_err(|error| restore_error(dir, &error))?;
    let mut text = format!(
        "restored the state of {}: {users} users, {orders} orders. All tokens are revoked: users \
         have to log in again. Start `merch`.",
        manifest.taken_at
    );
    if let Some(replaced) = replaced {
        let events =
            left.map_or_else(String::new, |events| format!(", with {events} unshipped events"));
        let _ = write!(
            text,
            "\nThe previous files are in {}{events}; remove them when you no longer need them.",
            replaced.display()
        );
    }
    Ok(print_done(text.replace('\n', " "), text)?)
}

/// Fails if a file of the store is a symbolic link: a restore would move only the link, and a
/// relative link would no longer resolve.
fn reject_symlinks(dir: &Path) -> Result<(), StartError> {
    for name in STORE_FILES {
        let link = dir.join(name);
        let Ok(target) = fs::read_link(&link) else { continue };
        let target = dir.join(target);
        let target = target.canonicalize().unwrap_or(target);
        return Err(StartError::new(format!(
            "{} is a symbolic link to {}, and a restore does not follow links; nothing was \
             changed. Remove the link and restore again; its target stays in {}",
            link.display(),
            target.display(),
            parent_dir(&target).display()
        )));
    }
    Ok(())
}

/// Returns the number of unshipped events; `None` if the database cannot be read.
async fn unshipped(database: &Path) -> Option<i64> {
    let mut connection = sqlite::open(database, Access::Read).await.ok()?;
    sqlite::count_unshipped(&mut connection).await.ok()
}

/// Moves the old files into a `replaced-…` directory and the new ones into place. Until then, a
/// marker file prevents the store from starting.
///
/// A journal that is there stays, with the refusals since the backup.
fn replace_files(data: &DataDir, staged: &Path) -> io::Result<Option<PathBuf>> {
    let dir = data.path();
    write_atomically(&data.restore_marker(), b"", 0o600)?;
    // A store that was only started has a journal without events.
    let journal = dir.join(JOURNAL);
    let keeps_journal = journal.exists() && Journal::may_hold_events(&journal).unwrap_or(true);
    let files = STORE_FILES.into_iter().filter(|name| *name != JOURNAL || !keeps_journal);
    let mut replaced = None;
    for name in files.clone().filter(|name| dir.join(name).exists()) {
        let replaced_dir = match &replaced {
            Some(replaced_dir) => replaced_dir,
            None => replaced.insert(create_replaced_dir(dir)?),
        };
        fs::rename(dir.join(name), replaced_dir.join(name))?;
    }
    for name in files.filter(|name| staged.join(name).exists()) {
        fs::rename(staged.join(name), dir.join(name))?;
    }
    sync_dir(dir)?;
    fs::remove_file(data.restore_marker())?;
    sync_dir(dir)?;
    Ok(replaced)
}

fn create_replaced_dir(dir: &Path) -> io::Result<PathBuf> {
    let now =
        humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace([':', '.'], "-");
    let replaced_dir = dir.join(format!("replaced-{now}"));
    archive::create_private_dir(&replaced_dir)?;
    Ok(replaced_dir)
}

fn is_non_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

fn restore_error(dir: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the backup cannot be restored to {}: {error}; check that the disk is not full and run \
         `merch restore` again",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restore_marker_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (data, staged) = (dir.path().join("data"), dir.path().join("staged"));
        for dir in [&data, &staged] {
            archive::create_private_dir(dir).unwrap();
        }
        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let data = DataDir::open_for_restore(&data, &[]).unwrap();
        std::os::unix::fs::symlink(&victim, data.restore_marker()).unwrap();
        replace_files(&data, &staged).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert!(!data.restore_marker().is_symlink());
    }
}
