use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use merch_chassis::{
    StartError,
    file_permissions::{OthersAccess, Owners, effective_user, open_lock, revoke_others_write},
};
use merch_db::Location;

use crate::archive::{DATABASE, DATABASE_FILES, create_private_dir};

pub(crate) const ADMIN_KEY: &str = "admin.key";
/// Exists while a restore moves files; a crash may leave them half moved.
pub(crate) const RESTORE_MARKER: &str = "restore-unfinished";

#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The kernel releases these when the process ends.
    _locks: Vec<File>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DirLock {
    Journal,
    /// One of several journals, each of another `merch api`; excludes [`DirLock::Journal`].
    SharedJournal,
    Database,
}

impl DirLock {
    fn lock_file(self) -> &'static str {
        match self {
            Self::Journal | Self::SharedJournal => "api.lock",
            Self::Database => "db.lock",
        }
    }
}

impl DataDir {
    /// Creates a missing directory (mode 0700) and takes `locks`. Fails if another user owns it or
    /// another process holds a lock.
    pub(crate) fn open(path: &Path, locks: &[DirLock]) -> Result<Self, StartError> {
        let dir = Self::open_for_restore(path, locks)?;
        if dir.restore_marker().exists() {
            return Err(interrupted_restore(&dir.path));
        }
        Ok(dir)
    }

    /// Also accepts a directory with an interrupted restore.
    pub(crate) fn open_for_restore(path: &Path, locks: &[DirLock]) -> Result<Self, StartError> {
        create_private_dir(path).map_err(|error| unusable(path, &error))?;
        // Absolute, so that printed paths work in any working directory.
        let path = path.canonicalize().map_err(|error| unusable(path, &error))?;
        restrict_permissions(&path)?;
        let mut files = Vec::new();
        for kind in locks {
            files.push(lock(&path, *kind)?);
        }
        Ok(Self { path, _locks: files })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn restore_marker(&self) -> PathBuf {
        self.path.join(RESTORE_MARKER)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("jwt.key")
    }

    pub(crate) fn admin_key_file(&self) -> PathBuf {
        self.path.join(ADMIN_KEY)
    }

    /// Returns the journal of the first replica. The journals of further replicas are next to it.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }
}

pub(crate) fn database(path: &Path) -> Location {
    Location::file(path.join(DATABASE))
}

pub(crate) fn socket(path: &Path, service: &str) -> PathBuf {
    path.join(format!("{service}.sock"))
}

pub(crate) fn interrupted_restore(dir: &Path) -> StartError {
    StartError::new(format!(
        "a restore into the data directory {} was interrupted; run `merch restore FILE --replace` \
         again (the previous files are in its directories `replaced-…`)",
        dir.display()
    ))
}

/// Revokes other users' write access if this user owns the directory, and warns otherwise.
fn restrict_permissions(path: &Path) -> Result<(), StartError> {
    let metadata = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    Owners::own().check(&metadata).map_err(|error| wrong_owner("data directory", path, &error))?;
    let mode = metadata.mode() & 0o7777;
    match OthersAccess::of(&metadata) {
        OthersAccess::None => {}
        OthersAccess::Read => tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "other users can read the data directory, which contains password hashes; \
            run `chmod 700` on it"
        ),
        OthersAccess::Write if metadata.uid() == effective_user() => {
            let before = revoke_others_write(path, &metadata).map_err(|error| {
                StartError::new(format!(
                    "other users can write to the data directory {}, and its mode cannot be \
                     changed: {error}; choose another directory with --data-dir or MERCH_DATA_DIR",
                    path.display()
                ))
            })?;
            tracing::warn!(
                path = %path.display(),
                mode = format!("{before:o}"),
                "other users could write to the data directory; removed their permission \
                (`chmod go-w`)"
            );
        }
        // Owned by root, as container volumes often are.
        OthersAccess::Write => tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "other users can write to the data directory and replace the store's files; \
            run `chmod go-w` on it as root, or `chown` it to the store's user"
        ),
    }
    // SQLite would open these files even if another user created them.
    for file in DATABASE_FILES.map(|name| path.join(name)) {
        Owners::own()
            .check_path(&file)
            .map_err(|error| wrong_owner("database file", &file, &error))?;
    }
    Ok(())
}

fn wrong_owner(what: &str, path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the {what} {} cannot be used: {error}; run `merch` as its owner, `chown` it if its \
        content is your own, or choose another directory with --data-dir or MERCH_DATA_DIR",
        path.display()
    ))
}

fn lock(path: &Path, kind: DirLock) -> Result<File, StartError> {
    let file = path.join(kind.lock_file());
    let mut file = open_lock(&file).map_err(|error| {
        StartError::new(format!(
            "the lock file {} cannot be opened: {error}; expected a regular file that this user \
            may write, or none; remove it when no store runs on this directory",
            file.display()
        ))
    })?;
    let acquired = match kind {
        DirLock::Journal | DirLock::Database => file.try_lock(),
        DirLock::SharedJournal => file.try_lock_shared(),
    };
    match acquired {
        Ok(()) => {
            // For `make down`: /proc does not show the files of a non-dumpable process.
            if !matches!(kind, DirLock::SharedJournal) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(|error| unusable(path, &error))?;
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(StartError::new(format!(
            "the data directory {} is in use by another merch; stop it, or choose another \
             directory (--data-dir or MERCH_DATA_DIR)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the data directory {} cannot be used: {error}; expected a directory that this user may \
         write to, choose one with --data-dir or MERCH_DATA_DIR",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn new_data_directory_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let data = DataDir::open(&path, &[]).unwrap();
        assert!(data.path().is_dir());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn write_access_of_other_users_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode: u32| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
        mode(0o777).unwrap();
        DataDir::open(dir.path(), &[]).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o755);
        mode(0o1777).unwrap();
        let error = DataDir::open(dir.path(), &[]).unwrap_err().to_string();
        assert!(
            error.contains("it is a directory that several users share (mode 1777)"),
            "{error}"
        );
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn files_of_another_user_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |what: &str| {
            let error = DataDir::open(dir.path(), &[DirLock::Journal]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the {what} ")), "{what}: {error}");
            assert!(error.contains("it belongs to the user 65534"), "{what}: {error}");
        };
        if chown(dir.path(), Some(65_534), None).is_err() {
            return;
        }
        refused("data directory");
        chown(dir.path(), Some(effective_user()), None).unwrap();
        let files = [
            ("merch.db", "database file"),
            ("merch.db-wal", "database file"),
            ("api.lock", "lock file"),
        ];
        for (name, what) in files {
            fs::write(at(name), "").unwrap();
            chown(at(name), Some(65_534), None).unwrap();
            refused(what);
            fs::remove_file(at(name)).unwrap();
        }
        DataDir::open(dir.path(), &[DirLock::Journal]).unwrap();
    }

    #[test]
    fn lock_file_link_is_refused_and_target_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, lock) = (dir.path().join("victim"), dir.path().join("api.lock"));
        fs::write(&victim, "mine").unwrap();
        for link in [std::os::unix::fs::symlink, |from, to| fs::hard_link(from, to)] {
            link(&victim, &lock).unwrap();
            let error = DataDir::open(dir.path(), &[DirLock::Journal]).unwrap_err().to_string();
            assert!(error.contains("api.lock cannot be opened: it is a "), "{error}");
            fs::remove_file(&lock).unwrap();
        }
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        DataDir::open(dir.path(), &[DirLock::Journal]).unwrap();
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn locks_are_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), &[DirLock::Journal]).unwrap();
        DataDir::open(dir.path(), &[DirLock::Database]).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("api.lock")).unwrap().trim(),
            std::process::id().to_string()
        );
        let error = DataDir::open(dir.path(), &[DirLock::Database, DirLock::Journal])
            .unwrap_err()
            .to_string();
        assert!(error.contains("is in use by another merch"), "{error}");
        drop(first);
        DataDir::open(dir.path(), &[DirLock::Journal]).unwrap();
    }

    #[test]
    fn shared_journal_excludes_the_whole_store() {
        let dir = tempfile::tempdir().unwrap();
        let replicas =
            [(); 2].map(|()| DataDir::open(dir.path(), &[DirLock::SharedJournal]).unwrap());
        let error = DataDir::open(dir.path(), &[DirLock::Journal]).unwrap_err().to_string();
        assert!(error.contains("is in use by another merch"), "{error}");
        drop(replicas);
        let _store = DataDir::open(dir.path(), &[DirLock::Journal]).unwrap();
        DataDir::open(dir.path(), &[DirLock::SharedJournal]).unwrap_err();
    }

    #[test]
    fn file_in_place_of_the_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDir::open(&path, &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the data directory {} cannot be used: ", path.display())),
            "{error}"
        );
    }
}
