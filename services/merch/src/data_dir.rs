//! The data folder: made with the first start, for its owner only, and each of its parts used by one process at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use merch_chassis::StartError;
use merch_db::Location;

use crate::{archive::DATABASE, privacy};

/// The file with the operator's credential.
pub(crate) const ADMIN_KEY: &str = "admin.key";
/// The file that is there while a restore puts things in their places: after a crash there may be some of each.
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
    /// One of the journals, each of another `merch api`: several may have this part, and none while one has [`Part::Journal`].
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
    /// When it cannot be made or written to, or another process has one of `parts`.
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
        create(path).map_err(|error| unusable(path, &error))?;
        // Absolute, so that what is printed and handed on is right in any working folder.
        let path = path.canonicalize().map_err(|error| unusable(path, &error))?;
        // A warning and no refusal: a folder that was there before is its owner's business, and containers' volumes often are like that.
        privacy::warn_if_others_may_use(&path, "read the data folder, and with it the hashes of passwords", "700");
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

fn create(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn lock(path: &Path, part: Part) -> Result<File, StartError> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(part.lock_file()))
        .map_err(|error| unusable(path, &error))?;
    let taken = match part {
        Part::Journal | Part::Database => file.try_lock(),
        Part::Journals => file.try_lock_shared(),
    };
    match taken {
        Ok(()) => {
            // `make down` reads it: others cannot look for the holder in /proc, as the process is not dumpable.
            if !matches!(part, Part::Journals) {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(|error| unusable(path, &error))?;
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
    use super::*;

    #[test]
    fn a_new_folder_is_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let data = DataDir::open(&path, &[]).unwrap();
        assert!(data.path().is_dir());
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o700);
    }

    #[test]
    fn one_process_at_a_time_has_a_part() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), &[Part::Journal]).unwrap();
        DataDir::open(folder.path(), &[Part::Database]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("api.lock")).unwrap().trim(), std::process::id().to_string());
        let error = DataDir::open(folder.path(), &[Part::Database, Part::Journal]).unwrap_err().to_string();
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
        assert!(error.starts_with(&format!("the data folder {} cannot be used: ", path.display())), "{error}");
    }
}
