//! A lock on an SQLite file, for one process at a time.
//!
//! Two stores on one file would each ship part of its events and check orders against stock that
//! the other changes. The data directory's locks are not enough: another directory, a link or a URL
//! can lead to the same file.
//!
//! On Linux this is a flock(2) on the inode. Elsewhere flock(2) conflicts with SQLite's fcntl(2)
//! locks, so the lock is on `merch.db.lock` next to the file. It is held until the process exits:
//! closing any descriptor of a file drops all fcntl(2) locks of the process.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use merch_chassis::{StartError, file_permissions::parent_dir};
use merch_db::Location;

use crate::{archive, data_dir};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    /// For a store, or for a restore.
    Exclusive,
    /// For migrations, which the database serializes.
    Shared,
}

/// Keep it until the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Creates a missing file with mode 0600. Returns `None` for PostgreSQL. Fails if another
    /// process holds the lock or a restore was interrupted.
    pub(crate) fn take(location: &Location, mode: LockMode) -> Result<Option<Self>, StartError> {
        match location.sqlite_file()? {
            None => Ok(None),
            Some(path) => Self::take_file(&path, mode).map(Some),
        }
    }

    pub(crate) fn take_file(path: &Path, mode: LockMode) -> Result<Self, StartError> {
        loop {
            let lock = Self::lock(path, mode)?;
            let dir = parent_dir(path);
            if dir.join(data_dir::RESTORE_MARKER).exists() {
                return Err(data_dir::interrupted_restore(dir));
            }
            // A restore may have replaced the file before the lock was acquired.
            if lock.is_current(path) {
                return Ok(lock);
            }
        }
    }

    /// Like [`DatabaseLock::take_file`], but also if a restore was interrupted.
    pub(crate) fn lock(path: &Path, mode: LockMode) -> Result<Self, StartError> {
        let unusable = |error: io::Error| {
            StartError::new(format!(
                "the database file {} cannot be opened: {error}; check that it and its directory \
                 may be written to",
                path.display()
            ))
        };
        let database = match archive::create_private_file(path) {
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
                "the database file has several hard links; always open it by the same name, or \
                 committed data can be lost after a crash"
            );
        }
        let file = lock_file(path, database).map_err(unusable)?;
        let acquired = match mode {
            LockMode::Exclusive => file.try_lock(),
            LockMode::Shared => file.try_lock_shared(),
        };
        match acquired {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::new(format!(
                "the database file {} is in use by another merch; stop it, or choose another \
                 database (--database-url or MERCH_DATABASE_URL)",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// SQLite keeps the newest commits next to the name that the process opened.
    pub(crate) fn check_links(path: &Path) -> Result<(), StartError> {
        if hard_links(path) > 1
            && let Err(error) = Self::lock(path, LockMode::Shared)
        {
            return Err(StartError::new(format!(
                "{error}. The file has several hard links, and SQLite finds the newest commits \
                 through only one of them; remove the others"
            )));
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn is_current(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self._file.metadata(), fs::metadata(path)) {
            (Ok(locked), Ok(there)) => identity(locked) == identity(there),
            _ => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn is_current(&self, path: &Path) -> bool {
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

/// The path is canonical, so that every name of the database leads to it.
#[cfg(not(target_os = "linux"))]
fn lock_file(path: &Path, _: File) -> io::Result<File> {
    let mut lock_path = path.canonicalize()?.into_os_string();
    lock_path.push(".lock");
    merch_chassis::file_permissions::open_lock(Path::new(&lock_path))
}

/// After a crash, SQLite finds the write-ahead log only under the name that was in use.
fn hard_links(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| std::os::unix::fs::MetadataExt::nlink(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusive(path: &Path) -> Result<Option<DatabaseLock>, String> {
        DatabaseLock::take(&Location::file(path), LockMode::Exclusive)
            .map_err(|error| error.to_string())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn all_names_of_a_file_share_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let first = exclusive(&at("merch.db")).unwrap();
        fs::create_dir(at("other")).unwrap();
        std::os::unix::fs::symlink(at("merch.db"), at("symbolic")).unwrap();
        std::os::unix::fs::symlink(dir.path(), at("other/directory")).unwrap();
        fs::hard_link(at("merch.db"), at("hard")).unwrap();
        for name in [
            "merch.db",
            "symbolic",
            "hard",
            "other/directory/merch.db",
            "other/../merch.db",
            "./merch.db",
        ] {
            let error = exclusive(&at(name)).unwrap_err();
            assert!(error.contains("is in use by another merch; stop it"), "{name}: {error}");
            let error =
                DatabaseLock::take_file(&at(name), LockMode::Shared).unwrap_err().to_string();
            assert!(error.contains("is in use by another merch; stop it"), "{name}: {error}");
        }
        assert!(exclusive(&at("another")).is_ok(), "another file is free");
        drop(first);
        assert!(exclusive(&at("hard")).is_ok(), "and this one is again");
    }

    #[test]
    fn migrations_share_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("merch.db");
        let migrations =
            [(); 2].map(|()| DatabaseLock::take_file(&path, LockMode::Shared).unwrap());
        assert!(exclusive(&path).is_err(), "a store waits for them");
        drop(migrations);
        assert!(exclusive(&path).is_ok());
    }

    #[test]
    fn new_database_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("merch.db");
        let _lock = exclusive(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            exclusive(&dir.path().join("nowhere/merch.db"))
                .unwrap_err()
                .contains("cannot be opened")
        );
    }

    #[test]
    fn interrupted_restore_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(data_dir::RESTORE_MARKER), "").unwrap();
        let error = exclusive(&dir.path().join("merch.db")).unwrap_err();
        assert!(error.contains("was interrupted"), "{error}");
    }

    #[test]
    fn postgres_needs_no_lock() {
        assert!(
            DatabaseLock::take(&Location::from("postgres://h/d"), LockMode::Exclusive)
                .unwrap()
                .is_none()
        );
    }
}
