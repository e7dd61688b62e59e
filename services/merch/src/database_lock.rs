//! One process at a time works on an SQLite file, whatever name it has for it.
//!
//! Two stores on one file would each ship a part of its events, and each judge orders by a stock
//! that the other changes. The folder's locks do not see that: the file may be reached by another
//! data folder, a symbolic link, a hard link or a URL. So the file itself is locked.
//!
//! On Linux the lock is flock(2)'s, which belongs to the inode and does not interact with the
//! fcntl(2) locks that SQLite takes on the same file. Elsewhere the two exclude each other, so the
//! lock is on a file beside it, `merch.db.lock`. The lock is held until the process ends: closing
//! any descriptor of a file drops the fcntl(2) locks of the whole process.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use merch_chassis::{StartError, file_permissions::parent_dir};
use merch_db::Location;

use crate::{archive, data_dir};

/// How the file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// By one process: a store, or what takes its place.
    Alone,
    /// By several that change the schema: the database lets one migrate at a time.
    Migration,
}

/// An SQLite file that this process holds. Keep it until the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the file of `location`, which is made, for its owner only, if it is not there.
    /// PostgreSQL needs no lock.
    ///
    /// # Errors
    /// If another process has it, a restore of it was cut off, or it cannot be opened.
    pub(crate) fn take(location: &Location, purpose: Use) -> Result<Option<Self>, StartError> {
        match location.sqlite_file()? {
            None => Ok(None),
            Some(path) => Self::take_file(&path, purpose).map(Some),
        }
    }

    /// As [`DatabaseLock::take`].
    ///
    /// # Errors
    /// As [`DatabaseLock::take`].
    pub(crate) fn take_file(path: &Path, purpose: Use) -> Result<Self, StartError> {
        loop {
            let lock = Self::lock(path, purpose)?;
            let folder = parent_dir(path);
            if folder.join(data_dir::RESTORING).exists() {
                return Err(data_dir::half_restored(folder));
            }
            // A restore may have put another file in its place just before the lock was taken.
            if lock.is_at(path) {
                return Ok(lock);
            }
        }
    }

    /// As [`DatabaseLock::take_file`], also where a restore was cut off: for the restore that mends
    /// it.
    ///
    /// # Errors
    /// If another process has it, or it cannot be opened.
    pub(crate) fn lock(path: &Path, purpose: Use) -> Result<Self, StartError> {
        let unusable = |error: io::Error| {
            StartError::new(format!(
                "the database file {} cannot be opened: {error}; check that it and its folder may be written to",
                path.display()
            ))
        };
        let database = match archive::private(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open(path).map_err(unusable)?
            }
            Err(error) => return Err(unusable(error)),
        };
        let links = hard_links(path);
        if links > 1 {
            tracing::warn!(
                path = %path.display(),
                links,
                "the database file has several hard links; always open it by the same name, or committed data can be lost after a crash"
            );
        }
        let file = lock_file(path, database).map_err(unusable)?;
        let taken = match purpose {
            Use::Alone => file.try_lock(),
            Use::Migration => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::new(format!(
                "the database file {} is in use by another merch; stop it, or choose another database (--database-url or MERCH_DATABASE_URL)",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Refuses a file with several hard links that another process works on: SQLite keeps the
    /// newest commits beside the name that the process has for it, and would not see them here.
    ///
    /// # Errors
    /// If it is so.
    pub(crate) fn check_links(path: &Path) -> Result<(), StartError> {
        if hard_links(path) > 1
            && let Err(error) = Self::lock(path, Use::Migration)
        {
            return Err(StartError::new(format!(
                "{error}. It has several hard links, and SQLite sees the newest commits by one of them only: remove the others"
            )));
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self._file.metadata(), fs::metadata(path)) {
            (Ok(locked), Ok(there)) => identity(locked) == identity(there),
            _ => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

#[cfg(target_os = "linux")]
fn lock_file(_: &Path, database: File) -> io::Result<File> {
    Ok(database)
}

/// The file that stands for the database; canonical, so that all names of the database lead to the
/// same one.
#[cfg(not(target_os = "linux"))]
fn lock_file(path: &Path, _: File) -> io::Result<File> {
    let mut beside = path.canonicalize()?.into_os_string();
    beside.push(".lock");
    merch_chassis::file_permissions::open_lock(Path::new(&beside))
}

/// How many names the file has. After a crash, a store that opens it by another one does not find
/// the write-ahead log.
fn hard_links(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| std::os::unix::fs::MetadataExt::nlink(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(path: &Path) -> Result<Option<DatabaseLock>, String> {
        DatabaseLock::take(&Location::file(path), Use::Alone).map_err(|error| error.to_string())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn every_name_of_a_file_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let first = alone(&at("merch.db")).unwrap();
        fs::create_dir(at("other")).unwrap();
        std::os::unix::fs::symlink(at("merch.db"), at("symbolic")).unwrap();
        std::os::unix::fs::symlink(folder.path(), at("other/folder")).unwrap();
        fs::hard_link(at("merch.db"), at("hard")).unwrap();
        for name in [
            "merch.db",
            "symbolic",
            "hard",
            "other/folder/merch.db",
            "other/../merch.db",
            "./merch.db",
        ] {
            let error = alone(&at(name)).unwrap_err();
            assert!(error.contains("is in use by another merch; stop it"), "{name}: {error}");
            let error = DatabaseLock::take_file(&at(name), Use::Migration).unwrap_err().to_string();
            assert!(error.contains("is in use by another merch; stop it"), "{name}: {error}");
        }
        assert!(alone(&at("another")).is_ok(), "another file is free");
        drop(first);
        assert!(alone(&at("hard")).is_ok(), "and this one is again");
    }

    #[test]
    fn migrations_wait_for_one_another_in_the_database_and_not_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merch.db");
        let migrations = [(); 2].map(|()| DatabaseLock::take_file(&path, Use::Migration).unwrap());
        assert!(alone(&path).is_err(), "a store waits for them");
        drop(migrations);
        assert!(alone(&path).is_ok());
    }

    #[test]
    fn a_new_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merch.db");
        let _lock = alone(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            alone(&folder.path().join("nowhere/merch.db"))
                .unwrap_err()
                .contains("cannot be opened")
        );
    }

    #[test]
    fn a_half_restored_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(data_dir::RESTORING), "").unwrap();
        let error = alone(&folder.path().join("merch.db")).unwrap_err();
        assert!(error.contains("was cut off half-way"), "{error}");
    }

    #[test]
    fn postgres_needs_no_lock() {
        assert!(
            DatabaseLock::take(&Location::from("postgres://h/d"), Use::Alone).unwrap().is_none()
        );
    }
}
