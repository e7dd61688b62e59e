//! Journals with any content, on a disk in memory, for fuzz targets. Exists with the feature
//! `fuzzing` only.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Append, JournalOptions, Shared, Writer,
    disk::{Disk, DiskFile},
    record, segments,
};
use crate::proto::LogMessage;

const DIR: &str = "journal";

/// The files of a journal.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>);

impl Files {
    /// Sets the content of the segment whose first record has this number.
    pub fn set_segment(&self, first: u64, content: Vec<u8>) {
        self.lock().insert(segments::path(Path::new(DIR), first), content);
    }

    /// Sets the content of the checkpoint.
    pub fn set_checkpoint(&self, content: Vec<u8>) {
        self.lock().insert(Path::new(DIR).join("acknowledged"), content);
    }

    /// Opens the journal as a new process does.
    ///
    /// # Errors
    /// Never: this disk has no faults.
    pub fn open(&self, options: JournalOptions) -> io::Result<OpenFiles> {
        let shared = Arc::new(Shared::open(Arc::new(self.clone()), DIR.into(), options)?);
        Ok(OpenFiles { writer: Writer::new(Arc::clone(&shared)), shared })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open journal.
pub struct OpenFiles {
    shared: Arc<Shared>,
    writer: Writer,
}

impl OpenFiles {
    /// Reads all unacknowledged events, with their numbers, `limit` of them at a time.
    ///
    /// # Errors
    /// Never: this disk has no faults.
    pub fn read(&self, limit: usize) -> io::Result<Vec<(u64, LogMessage)>> {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let page = self.shared.read(after.clone(), limit)?;
            let Some((last, _)) = page.last() else { return Ok(events) };
            after = Some(last.clone());
            events.extend(page.into_iter().map(|(position, event)| (position.number, event)));
        }
    }

    /// Appends an event. Returns whether it is durable.
    pub fn append(&mut self, event: &LogMessage) -> bool {
        let (done, mut durable) = oneshot::channel();
        self.writer.commit(Append { record: record::encode(event), done }, || None);
        matches!(durable.try_recv(), Ok(Ok(())))
    }

    /// Acknowledges the first `count` unacknowledged events.
    ///
    /// # Errors
    /// Never: this disk has no faults.
    pub fn acknowledge(&self, count: usize) -> io::Result<()> {
        match self.shared.read(None, count)?.pop() {
            Some((last, _)) => self.shared.acknowledge(last),
            None => Ok(()),
        }
    }

    /// Returns the number of unacknowledged events.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.shared.segments().backlog()
    }
}

/// Returns the bytes of a record.
#[must_use]
pub fn encode(event: &LogMessage) -> Vec<u8> {
    record::encode(event)
}

impl Disk for Files {
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.lock().keys().filter_map(|path| path.file_name().map(Into::into)).collect())
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<(Box<dyn Read>, u64)> {
        let content = self.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        let bytes = content.len() as u64;
        let mut file = Cursor::new(content);
        file.set_position(offset);
        Ok((Box::new(file), bytes))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.lock().entry(path.to_owned()).or_default();
        Ok(Box::new(OpenFile { files: self.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.lock();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().remove(path);
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    files: Files,
    path: PathBuf,
}

impl DiskFile for OpenFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files.lock().entry(self.path.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut files = self.files.lock();
        let content = files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
