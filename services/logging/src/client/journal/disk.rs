//! File operations of the journal. Its tests simulate a disk.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use merch_chassis::file_permissions::{self, private};

pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns the names in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Returns the bytes from `offset`, and the size of the file.
    fn read(&self, path: &Path, offset: u64) -> io::Result<(Box<dyn Read>, u64)>;
    /// Opens a file for appending; creates it with mode 0600.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, if it exists.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

pub(super) trait DiskFile: fmt::Debug + Send {
    /// After an error, a part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes the content and the size durable, but not the name.
    fn sync(&mut self) -> io::Result<()>;
}

/// Makes the names of a directory and of its parents durable. Existing ones too: the process that
/// created one may have been killed before the sync.
pub(super) fn sync_parents(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for dir in dir.ancestors().skip(1) {
        match disk.sync_dir(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }) {
            // Not readable by this user, read-only, or on a file system that cannot sync
            // directories.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::Unsupported
                ) => {}
            synced => synced?,
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        file_permissions::sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<(Box<dyn Read>, u64)> {
        let mut file = private().read(true).open(path)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset))?;
        Ok((Box::new(file), bytes))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(private().append(true).create(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
