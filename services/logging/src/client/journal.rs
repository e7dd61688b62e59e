//! Event journal on disk. An event is durable when `append` returns, and is kept until
//! acknowledged.
//!
//! The directory (mode 0700) holds segments such as `00000000000000000001.journal`, named after
//! their first record's number (see [`record`]); `acknowledged`, with the last acknowledged number;
//! `dead-letters.jsonl`; and a lock.
//!
//! Recovery:
//! - A torn tail, left by a crash before `append` returned, is ignored. New records go to a new
//!   segment, so recovery writes nothing.
//! - After a checksum error, the rest of the segment is skipped; the file is kept until its records
//!   count as acknowledged.
//! - If `acknowledged` is missing or corrupt, all remaining records are sent again.

/// Whether a test planted this fault; see `tests/mutants.rs`.
#[cfg(test)]
macro_rules! planted {
    ($mutant:ident) => {
        $crate::client::journal::tests::is_planted($crate::client::journal::tests::Mutant::$mutant)
    };
}
#[cfg(not(test))]
macro_rules! planted {
    ($mutant:ident) => {
        false
    };
}

mod checkpoint;
mod disk;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod metrics;
mod record;
mod segments;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    future::Future,
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use merch_chassis::{
    StartError,
    file_permissions::{Owners, open_lock},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use self::{
    disk::{Disk, FileSystem},
    segments::{Position, Segments},
    writer::{Append, Writer},
};
use super::{EventSource, OldestEvent, SourceError};
use crate::{
    proto::LogMessage,
    rules,
    sync::{Mutex, Notify},
};

const APPEND_QUEUE: usize = 4096;
/// Exceeded only by a single larger event.
const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// Journal options.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Size at which a new segment starts. Acknowledged events are deleted by whole segments.
    pub segment_bytes: u64,
    /// Acknowledged events to keep for the embedded broker, rounded up to segments.
    pub retained_events: u64,
    /// Whether to read the retained events again.
    pub replay_retained: bool,
    /// Maximum bytes of unacknowledged events; then [`AppendError::Full`]. Disk use may exceed it
    /// by one segment and the retained events.
    pub max_backlog_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 8 * 1024 * 1024,
            retained_events: 0,
            replay_retained: false,
            max_backlog_bytes: 256 * 1024 * 1024,
        }
    }
}

/// An event was not made durable, but may be on disk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The event exceeds the size of a request.
    #[error(
        "a log event of {bytes} bytes cannot be sent: expected at most {} bytes",
        rules::MAX_REQUEST_BYTES
    )]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// Too many unacknowledged events.
    #[error(
        "the journal is full: {backlog_bytes} of {max} bytes wait to be shipped; check that the \
         logging service is reachable"
    )]
    Full {
        /// Bytes of unacknowledged events.
        backlog_bytes: u64,
        /// [`JournalOptions::max_backlog_bytes`].
        max: u64,
    },
    /// The disk is full or failing. The next append retries with a new segment.
    #[error("failed to write the journal: {0}; check that the disk is not full")]
    Disk(#[source] Arc<io::Error>),
    /// The writer thread has ended.
    #[error("the journal is closed")]
    Closed,
}

/// Position of an event in a journal.
#[derive(Clone, Debug)]
pub struct JournalPosition(Position);

/// A journal. Clones share one directory, which the last one unlocks on drop.
#[derive(Clone, Debug)]
pub struct Journal(Arc<OpenJournal>);

#[derive(Debug)]
struct OpenJournal {
    appends: Option<mpsc::Sender<Append>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    lock: File,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: JournalOptions,
    segments: Mutex<Segments>,
    changed: Notify,
    /// Locked during writes of `acknowledged` and `dead-letters.jsonl`; true once closed.
    closed: Mutex<bool>,
    backlog: metrics::Backlog,
}

impl Journal {
    /// Opens the journal in `dir`, or creates it. Blocks while it reads the last segment.
    ///
    /// # Errors
    /// If the directory is not usable, or another process has locked it.
    pub fn open(dir: impl Into<PathBuf>, options: JournalOptions) -> Result<Self, StartError> {
        let dir = dir.into();
        let lock = lock(&dir)?.ok_or_else(|| {
            StartError::new(format!(
                "the journal in {} is in use by another process; stop that one, or give each its \
                 own data directory (--data-dir)",
                dir.display()
            ))
        })?;
        Self::open_locked(Arc::new(FileSystem), dir, lock, options)
    }

    /// Like [`Self::open`], but returns `None` if another process has the lock.
    ///
    /// # Errors
    /// If the directory is not usable.
    pub fn open_if_free(
        dir: impl Into<PathBuf>,
        options: JournalOptions,
    ) -> Result<Option<Self>, StartError> {
        let dir = dir.into();
        match lock(&dir)? {
            Some(lock) => Self::open_locked(Arc::new(FileSystem), dir, lock, options).map(Some),
            None => Ok(None),
        }
    }

    fn open_locked(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        lock: File,
        options: JournalOptions,
    ) -> Result<Self, StartError> {
        let open_error = |error: io::Error| {
            StartError::new(format!(
                "the journal in {} cannot be opened: {error}; expected a directory that this user \
                 may read and write",
                dir.display()
            ))
        };
        let shared = Arc::new(Shared::open(disk, dir.clone(), options).map_err(open_error)?);
        let (appends, queue) = mpsc::channel(APPEND_QUEUE);
        let writer = Writer::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(open_error)?;
        Ok(Self(Arc::new(OpenJournal {
            appends: Some(appends),
            thread: Some(thread),
            shared,
            lock,
        })))
    }

    /// Appends an event and waits for its fsync, which concurrent appends share. If the future is
    /// dropped, the event may still be written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(
        &self,
        event: LogMessage,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        // Keeps the journal open until the append completes.
        let open = Arc::clone(&self.0);
        async move {
            let bytes = rules::size_in_request(&event);
            if bytes + rules::REQUEST_OVERHEAD > rules::MAX_REQUEST_BYTES {
                return Err(AppendError::TooLarge { bytes });
            }
            let appends = open.appends.as_ref().ok_or(AppendError::Closed)?;
            let (done, durable) = oneshot::channel();
            appends
                .send(Append { record: record::encode(&event), done })
                .await
                .map_err(|_| AppendError::Closed)?;
            durable.await.map_err(|_| AppendError::Closed)?
        }
    }

    /// Closes the journal and deletes its segments if all events are acknowledged. Returns whether
    /// it is empty; `false` also if another clone exists. Record numbers continue.
    ///
    /// # Errors
    /// If a file cannot be deleted; the journal stays usable.
    pub fn clear(self) -> io::Result<bool> {
        let Some(open) = Arc::into_inner(self.0) else { return Ok(false) };
        let shared = Arc::clone(&open.shared);
        // Duplicated, so that the directory stays locked after `open` is dropped.
        let lock = open.lock.try_clone()?;
        drop(open);
        let cleared = shared.clear();
        drop(lock);
        cleared
    }

    /// Returns whether the directory has a segment.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn may_hold_events(dir: &Path) -> io::Result<bool> {
        segments::has_segment(&FileSystem, dir)
    }

    /// Returns the number of unacknowledged events.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.0.shared.segments().backlog()
    }

    /// Returns the bytes of unacknowledged events.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.0.shared.segments().backlog_bytes()
    }
}

impl Drop for OpenJournal {
    fn drop(&mut self) {
        self.appends = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer thread panicked");
        }
        // A dropped acknowledge future may still run; it must not write after the unlock.
        *self.shared.closed() = true;
    }
}

impl EventSource for Journal {
    type Position = JournalPosition;

    fn read(
        &self,
        after: Option<&JournalPosition>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(JournalPosition, LogMessage)>, SourceError>> + Send {
        let (shared, after) =
            (Arc::clone(&self.0.shared), after.map(|position| position.0.clone()));
        async move {
            // Usual case; avoids a blocking thread.
            if !shared.segments().has_records_after(after.as_ref()) {
                return Ok(Vec::new());
            }
            let events = blocking(move || shared.read(after, limit)).await?;
            Ok(events
                .into_iter()
                .map(|(position, event)| (JournalPosition(position), event))
                .collect())
        }
    }

    fn acknowledge(
        &self,
        positions: &[JournalPosition],
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let shared = Arc::clone(&self.0.shared);
        // `EventSource` guarantees that all earlier positions are acknowledged.
        let last = positions.last().map(|position| position.0.clone());
        async move {
            match last {
                Some(last) => blocking(move || shared.acknowledge(last)).await,
                None => Ok(()),
            }
        }
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        self.0.shared.changed.notified()
    }

    async fn oldest(&self) -> Result<Option<OldestEvent>, SourceError> {
        let oldest =
            self.read(None, 1).await?.into_iter().next().map(|(_, event)| OldestEvent::of(event));
        // Replayed events were shipped before, so their age is meaningless.
        let replays = self.0.shared.options.replay_retained;
        Ok(oldest.map(|oldest| if replays { OldestEvent { time: None, ..oldest } } else { oldest }))
    }

    fn dead_letter(
        &self,
        _position: &JournalPosition,
        event: &LogMessage,
        reason: &str,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let shared = Arc::clone(&self.0.shared);
        // A time or level out of range cannot be encoded as JSON.
        let event = crate::json::to_vec(event)
            .and_then(|json| serde_json::from_slice(&json))
            .unwrap_or_else(|_| serde_json::json!(format!("{event:?}")));
        let line = serde_json::json!({ "reason": reason, "event": event }).to_string();
        async move { blocking(move || shared.dead_letter(&line)).await }
    }
}

impl Shared {
    fn open(disk: Arc<dyn Disk>, dir: PathBuf, options: JournalOptions) -> io::Result<Self> {
        disk::sync_parents(&*disk, &dir)?;
        // A killed process may have replaced the checkpoint without syncing its name.
        disk.sync_dir(&dir)?;
        let acknowledged = checkpoint::read(&*disk, &dir)?;
        let replayed = if options.replay_retained { options.retained_events } else { 0 };
        let segments = Segments::open(&*disk, &dir, acknowledged, replayed)?;
        let backlog = metrics::Backlog::default();
        backlog.report(&segments);
        Ok(Self {
            disk,
            dir,
            options,
            segments: Mutex::new(segments),
            changed: Notify::new(),
            closed: Mutex::new(false),
            backlog,
        })
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> io::Result<Vec<(Position, LogMessage)>> {
        segments::read(&*self.disk, &self.dir, &self.segments, after, limit, MAX_READ_BYTES)
    }

    fn acknowledge(&self, last: Position) -> io::Result<()> {
        let closed = self.closed();
        if *closed && !planted!(AcknowledgedAfterClose) {
            return Ok(());
        }
        let (acknowledged, on_disk) = self.segments().acknowledge(last);
        // During a replay, the checkpoint is already ahead.
        if acknowledged > on_disk {
            if planted!(SegmentDeletedBeforeCheckpoint) {
                self.delete_obsolete(acknowledged);
            }
            checkpoint::write(&*self.disk, &self.dir, acknowledged)?;
            self.delete_obsolete(acknowledged);
        }
        self.backlog.report(&self.segments());
        Ok(())
    }

    fn delete_obsolete(&self, acknowledged: u64) {
        let obsolete = self.segments().apply_checkpoint(acknowledged, self.options.retained_events);
        for first in obsolete {
            // A remaining file is deleted after the next start.
            if let Err(error) = self.disk.remove(&segments::path(&self.dir, first)) {
                tracing::warn!(%error, "failed to delete an obsolete journal segment");
            }
        }
    }

    fn dead_letter(&self, line: &str) -> io::Result<()> {
        let closed = self.closed();
        if *closed {
            return Err(io::Error::other("the journal is closed"));
        }
        let path = self.dir.join("dead-letters.jsonl");
        let mut file = self.disk.open(&path)?;
        let bytes = self.disk.read(&path, 0)?.1;
        let mut end = Vec::new();
        self.disk.read(&path, bytes.saturating_sub(1))?.0.read_to_end(&mut end)?;
        // A crash may have torn the last line.
        let is_whole = matches!(*end, [] | [b'\n']) || planted!(TornDeadLetterContinued);
        let separator = if is_whole { "" } else { "\n" };
        let written =
            file.append(format!("{separator}{line}\n").as_bytes()).and_then(|()| file.sync());
        if written.is_err() && !planted!(FailedDeadLetterKept) {
            // The retry must write these bytes again; see `Writer::write`.
            drop(file.truncate(bytes));
        }
        written?;
        self.disk.sync_dir(&self.dir)
    }

    fn clear(&self) -> io::Result<bool> {
        let (last, on_disk, firsts) = match self.segments() {
            segments if segments.backlog() > 0 => return Ok(false),
            segments => (segments.last(), segments.checkpoint(), segments.first_records()),
        };
        // Record numbers continue from the checkpoint, which is behind after a failed write. A full
        // disk refuses another one.
        if on_disk < last && !planted!(ClearedWithoutCheckpoint) {
            checkpoint::write(&*self.disk, &self.dir, last)?;
        }
        for first in firsts {
            self.disk.remove(&segments::path(&self.dir, first))?;
        }
        Ok(true)
    }
}

/// Returns `None` if another process has locked the directory.
fn lock(dir: &Path) -> Result<Option<File>, StartError> {
    create_private_dir(dir).map_err(|error| {
        StartError::new(format!(
            "the journal's directory {} cannot be used: {error}; \
             expected a directory of this user, or a parent directory that it may write",
            dir.display()
        ))
    })?;
    let path = dir.join("lock");
    let open_error = |error: io::Error| {
        StartError::new(format!(
            "the journal's lock file {} cannot be locked: {error}; expected a file that this user \
             may write",
            path.display()
        ))
    };
    let file = open_lock(&path).map_err(open_error)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(open_error(error)),
    }
}

/// Creates a directory with mode 0700, or sets that mode.
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Owners::own().check_path(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SourceError> {
    spawn_blocking(work).await.map_err(SourceError::new)?.map_err(SourceError::new)
}

#[cfg(test)]
mod tests;
