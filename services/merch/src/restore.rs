//! `merch restore`: puts a backup in the place of an embedded store, whole or not at all, and
//! throws nothing away.

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
use sea_orm::sqlx::Connection as _;

use crate::{
    archive::{self, DATABASE, DATABASE_FILES, JOURNAL},
    backup::{check, count},
    data_dir::{self, DataDir, Part},
    database_lock::{DatabaseLock, Use},
    failure::Failure,
    settings::operator::Restore,
    sqlite::{self, Access},
};

/// What makes up a store, apart from its keys: a restore takes their places.
const PARTS: [&str; 4] = {
    let [database, wal, shm] = DATABASE_FILES;
    [database, wal, shm, JOURNAL]
};

/// Checks the backup to the last byte, prepares it, and only then puts it in its place.
///
/// # Errors
/// When a store runs on the folder, there is one and `--replace` is not given, or the backup is
/// damaged. Nothing is changed then.
pub(crate) async fn run(settings: &Restore) -> Result<(), Failure> {
    let instead = "use pg_restore (`make restore` runs it)";
    sqlite::file(&settings.database, &settings.data, instead)?;
    if !settings.database.is_default() {
        return Err(StartError::new(
            "a backup is restored to merch.db in the data folder, and --database-url (MERCH_DATABASE_URL) names another file; restore without it, and move the file",
        )
        .into());
    }
    refuse_links(&settings.data.data_dir)?;
    let data = DataDir::open_as_it_is(&settings.data.data_dir, &[Part::Journal, Part::Database])?;
    let folder = data.path();
    let there: Vec<&str> =
        PARTS.into_iter().filter(|name| is_something(&folder.join(name))).collect();
    if !there.is_empty() && !settings.replace {
        return Err(StartError::new(format!(
            "there is a store in {} already ({}); choose an empty folder with --data-dir, or --replace it: it is then kept beside the restored one",
            folder.display(),
            there.join(", ")
        ))
        .into());
    }
    // A store may run on the file that has another data folder.
    let current = folder.join(DATABASE);
    let _lock = current.exists().then(|| DatabaseLock::lock(&current, Use::Alone)).transpose()?;
    let staged = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(folder)
        .map_err(|error| failed(folder, &error))?;
    let manifest = archive::read(&settings.file, staged.path())?;
    let database = staged.path().join(DATABASE);
    let mut connection = sqlite::open(&database, Access::Read).await?;
    check(&mut connection).await.map_err(|what| {
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

    // Before the old one is moved, while it can still be read in its place.
    let left =
        if there.contains(&DATABASE) { unshipped(&folder.join(DATABASE)).await } else { None };
    let replaced = swap(&data, staged.path()).map_err(|error| failed(folder, &error))?;
    let mut text = format!(
        "restored what was committed until {}: users {users}, orders {orders}. Everyone has to log in again. Start `merch` on it.",
        manifest.taken_at
    );
    if let Some(replaced) = replaced {
        let events = left.map_or_else(String::new, |events| {
            format!(", with {events} of its events that were not shipped")
        });
        let _ = write!(
            text,
            "\nWhat was there before is in {}{events}; remove it when you no longer need it.",
            replaced.display()
        );
    }
    Ok(print_done(text.replace('\n', " "), text)?)
}

/// Refuses a part of the store that is a symbolic link. A restore renames what is there, and of a
/// link that would be the link alone: a relative one then leads nowhere, and the store's files stay
/// where the restored ones were expected.
fn refuse_links(folder: &Path) -> Result<(), StartError> {
    for name in PARTS {
        let link = folder.join(name);
        let Ok(target) = fs::read_link(&link) else { continue };
        let target = folder.join(target);
        let target = target.canonicalize().unwrap_or(target);
        return Err(StartError::new(format!(
            "{} is a symbolic link to {}, and a restore replaces files and follows no link; nothing was changed. \
             Remove the link, and restore again: what it leads to stays in {}",
            link.display(),
            target.display(),
            parent_dir(&target).display()
        )));
    }
    Ok(())
}

/// Events of the database that is replaced which nobody has seen; `None` if it cannot be read.
async fn unshipped(database: &Path) -> Option<i64> {
    let mut connection = sqlite::open(database, Access::Read).await.ok()?;
    count(&mut connection, "outbox WHERE shipped_at IS NULL AND set_aside IS NULL").await.ok()
}

/// Moves what is there into a folder of its own, and the staged store into its place. While that is
/// under way a mark says so, so that no store starts between the two.
fn swap(data: &DataDir, staged: &Path) -> io::Result<Option<PathBuf>> {
    let folder = data.path();
    write_atomically(&data.restoring(), b"", 0o600)?;
    let mut replaced = None;
    for name in PARTS.into_iter().filter(|name| folder.join(name).exists()) {
        let aside = match &replaced {
            Some(aside) => aside,
            None => replaced.insert(make_aside(folder)?),
        };
        fs::rename(folder.join(name), aside.join(name))?;
    }
    for name in PARTS.into_iter().filter(|name| staged.join(name).exists()) {
        fs::rename(staged.join(name), folder.join(name))?;
    }
    sync_dir(folder)?;
    fs::remove_file(data.restoring())?;
    sync_dir(folder)?;
    Ok(replaced)
}

fn make_aside(folder: &Path) -> io::Result<PathBuf> {
    let now =
        humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace([':', '.'], "-");
    let aside = folder.join(format!("replaced-{now}"));
    archive::make_folder(&aside)?;
    Ok(aside)
}

/// A file, or a folder with something in it.
fn is_something(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

fn failed(folder: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the backup cannot be put into {}: {error}; see whether the disk is full, and run `merch restore` again",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (data, staged) = (folder.path().join("data"), folder.path().join("staged"));
        for folder in [&data, &staged] {
            archive::make_folder(folder).unwrap();
        }
        let victim = folder.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let data = DataDir::open_as_it_is(&data, &[]).unwrap();
        std::os::unix::fs::symlink(&victim, data.restoring()).unwrap();
        swap(&data, &staged).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert!(!data.restoring().is_symlink());
    }
}
