//! The data folder: made with the first start, for its owner only, and each of its parts used by
//! one process at a time.

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

use crate::archive::{DATABASE, DATABASE_FILES, make_folder};

/// The file with the operator's credential.
pub(crate) const ADMIN_KEY: &str = "admin.key";
/// The file that is there while a restore puts things in their places: after a crash there may be
/// some of each.
pub(crate) const RESTORING: &str = "restore-unfinished";

/// A data folder that exists, that this process may write to, and parts of which it holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held as long as the process lives; the system lets go of them even after kill -9.
    _locks: Vec<File>,
}

/// What of the folder a process has for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The api's journal of log events.
    Journal,
    /// One of the journals, each of another `merch api`: several may have this part, and none while
    /// one has [`Part::Journal`].
    Journals,
    /// The SQLite database.
    Database,
}

impl Part {
    fn lock_file(self) -> &'static str {
        match self {
            Self::Journal | Self::Journals => "api.lock",
            Self::Database => "db.lock",
        }
    }
}

impl DataDir {
    /// Makes the folder if it is not there (mode 0700), and takes `parts` for this process.
    ///
    /// # Errors
    /// When it cannot be made or written to, another user owns it, or another process has one of
    /// `parts`.
    pub(crate) fn open(path: &Path, parts: &[Part]) -> Result<Self, StartError> {
        let folder = Self::open_as_it_is(path, parts)?;
        if folder.restoring().exists() {
            return Err(half_restored(&folder.path));
        }
        Ok(folder)
    }

    /// The same, also where a restore was cut off: for the restore that mends it.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub(crate) fn open_as_it_is(path: &Path, parts: &[Part]) -> Result<Self, StartError> {
        make_folder(path).map_err(|error| unusable(path, &error))?;
        // Absolute, so that what is printed and handed on is right in any working folder.
        let path = path.canonicalize().map_err(|error| unusable(path, &error))?;
        secure(&path)?;
        let mut locks = Vec::new();
        for part in parts {
            locks.push(lock(&path, *part)?);
        }
        Ok(Self { path, _locks: locks })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that marks a restore which is not finished.
    pub(crate) fn restoring(&self) -> PathBuf {
        self.path.join(RESTORING)
    }

    /// Where the key that signs tokens is kept.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("jwt.key")
    }

    /// Where the operator's credential is kept.
    pub(crate) fn admin_key_file(&self) -> PathBuf {
        self.path.join(ADMIN_KEY)
    }

    /// The folder of the api's journal of log events; those of further replicas stand beside it.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }
}

/// The SQLite database in the folder `path`.
pub(crate) fn database(path: &Path) -> Location {
    Location::file(path.join(DATABASE))
}

/// The socket of a gRPC service of the whole store in the folder `path`.
pub(crate) fn socket(path: &Path, service: &str) -> PathBuf {
    path.join(format!("{service}.sock"))
}

/// That there may be some files of two stores in `folder`.
pub(crate) fn half_restored(folder: &Path) -> StartError {
    StartError::new(format!(
        "a restore into the data folder {} was cut off half-way; run `merch restore FILE --replace` again (what was there before is in its folders `replaced-…`)",
        folder.display()
    ))
}

/// Makes sure that other users cannot replace what is in the folder, as far as that is for its
/// owner to decide.
fn secure(path: &Path) -> Result<(), StartError> {
    let found = fs::metadata(path).map_err(|error| unusable(path, &error))?;
    Owners::own().check(&found).map_err(|error| foreign("data folder", path, &error))?;
    let mode = found.mode() & 0o7777;
    match OthersAccess::of(&found) {
        OthersAccess::None => {}
        OthersAccess::Read => tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "other users of this machine may read the data folder, and with it the hashes of \
            passwords; `chmod 700` it"
        ),
        OthersAccess::Write if found.uid() == effective_user() => {
            let before = revoke_others_write(path, &found).map_err(|error| {
                StartError::new(format!(
                    "other users of this machine may write to the data folder {}, and the right \
                    cannot be taken from them: {error}; choose another folder with --data-dir or MERCH_DATA_DIR",
                    path.display()
                ))
            })?;
            tracing::warn!(
                path = %path.display(),
                mode = format!("{before:o}"),
                "other users of this machine could write to the data folder; the right was taken \
                from them (`chmod go-w`)"
            );
        }
        // Not ours to change: containers' volumes often are like that.
        OthersAccess::Write => tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "other users of this machine may write to the data folder, and replace what the store \
            keeps in it; let root run `chmod go-w` on it, or `chown` it to the user of the store"
        ),
    }
    // SQLite opens these files, also if another user has created them.
    for file in DATABASE_FILES.map(|name| path.join(name)) {
        Owners::own().check_path(&file).map_err(|error| foreign("database file", &file, &error))?;
    }
    Ok(())
}

/// Says that another user owns a part of the store, and so could read and change what it holds.
fn foreign(what: &str, path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the {what} {} cannot be used: {error}; run `merch` as its owner, `chown` it if its \
        content is your own, or choose another folder with --data-dir or MERCH_DATA_DIR",
        path.display()
    ))
}

fn lock(path: &Path, part: Part) -> Result<File, StartError> {
    let file = path.join(part.lock_file());
    let mut file = open_lock(&file).map_err(|error| {
        StartError::new(format!(
            "the lock file {} cannot be opened: {error}; expected a regular file that this user \
            may write, or none; remove it when no store runs on this folder",
            file.display()
        ))
    })?;
    let taken = match part {
        Part::Journal | Part::Database => file.try_lock(),
        Part::Journals => file.try_lock_shared(),
    };
    match taken {
        Ok(()) => {
            // `make down` reads it: others cannot look for the holder in /proc, as the process is
            // not dumpable.
            if !matches!(part, Part::Journals) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(|error| unusable(path, &error))?;
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(StartError::new(format!(
            "the data folder {} is in use by another merch; stop it, or choose another folder (--data-dir or MERCH_DATA_DIR)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    StartError::new(format!(
        "the data folder {} cannot be used: {error}; expected a folder that this user may write to, choose one with --data-dir or MERCH_DATA_DIR",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_new_folder_is_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let data = DataDir::open(&path, &[]).unwrap();
        assert!(data.path().is_dir());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn other_users_lose_the_right_to_write_to_an_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |mode: u32| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode));
        mode(0o777).unwrap();
        DataDir::open(folder.path(), &[]).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o755);
        mode(0o1777).unwrap();
        let error = DataDir::open(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("it is a folder that several users share (mode 1777)"), "{error}");
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn what_another_user_owns_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |what: &str| {
            let error = DataDir::open(folder.path(), &[Part::Journal]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the {what} ")), "{what}: {error}");
            assert!(error.contains("it belongs to the user 65534"), "{what}: {error}");
        };
        // Only root can give a file away.
        if chown(folder.path(), Some(65_534), None).is_err() {
            return;
        }
        refused("data folder");
        chown(folder.path(), Some(effective_user()), None).unwrap();
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
        DataDir::open(folder.path(), &[Part::Journal]).unwrap();
    }

    #[test]
    fn a_lock_file_that_is_a_link_leaves_its_target_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, lock) = (folder.path().join("victim"), folder.path().join("api.lock"));
        fs::write(&victim, "mine").unwrap();
        for link in [std::os::unix::fs::symlink, |from, to| fs::hard_link(from, to)] {
            link(&victim, &lock).unwrap();
            let error = DataDir::open(folder.path(), &[Part::Journal]).unwrap_err().to_string();
            assert!(error.contains("api.lock cannot be opened: it is a "), "{error}");
            fs::remove_file(&lock).unwrap();
        }
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        DataDir::open(folder.path(), &[Part::Journal]).unwrap();
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_process_at_a_time_has_a_part() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), &[Part::Journal]).unwrap();
        DataDir::open(folder.path(), &[Part::Database]).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("api.lock")).unwrap().trim(),
            std::process::id().to_string()
        );
        let error =
            DataDir::open(folder.path(), &[Part::Database, Part::Journal]).unwrap_err().to_string();
        assert!(error.contains("is in use by another merch"), "{error}");
        drop(first);
        DataDir::open(folder.path(), &[Part::Journal]).unwrap();
    }

    #[test]
    fn replicas_share_a_folder_and_a_whole_store_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let replicas = [(); 2].map(|()| DataDir::open(folder.path(), &[Part::Journals]).unwrap());
        let error = DataDir::open(folder.path(), &[Part::Journal]).unwrap_err().to_string();
        assert!(error.contains("is in use by another merch"), "{error}");
        drop(replicas);
        let _store = DataDir::open(folder.path(), &[Part::Journal]).unwrap();
        DataDir::open(folder.path(), &[Part::Journals]).unwrap_err();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDir::open(&path, &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the data folder {} cannot be used: ", path.display())),
            "{error}"
        );
    }
}
