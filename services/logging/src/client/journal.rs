//! A journal on disk for a service that has no database: an event is durable when `append` returns,
//! and stays until it is acknowledged.
//!
//! The folder (mode 0700) holds segments, `00000000000000000001.journal`, named after the number of
//! their first record, each a sequence of records (length, checksum, event; see [`record`]); the
//! number of the last acknowledged record in `acknowledged`; events that can never be sent in
//! `dead-letters.jsonl`; and a lock, so that two processes do not share it.
//!
//! What each kind of damage costs:
//! - a torn tail (the process or the machine died while records were being written, whose `append`
//!   had not returned) is cut off when the journal is opened, with a warning;
//! - a record with a wrong checksum before the end of its segment is reported, and reading goes on
//!   with the next segment: the records behind it in the same segment are not sent. The file is
//!   left as it is until its records count as acknowledged;
//! - without `acknowledged`, or with one that cannot be read, all records that are left are sent
//!   once more.

mod checkpoint;
mod files;
mod meters;
mod record;
mod segments;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use merch_chassis::{StartError, file_permissions::open_lock};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
};

use self::{
    segments::{Position, Segments},
    writer::{Append, SyncFile, Writer},
};
use super::{EventSource, Oldest, SourceError};
use crate::{proto::LogMessage, rules};

/// Appends that wait for the disk at the same time; further ones wait for a place.
const QUEUE: usize = 4096;
/// Bytes that one `read` gives, at most, unless a single event is larger: a read is held in memory.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// A segment that has reached so many bytes is followed by a new one. Acknowledged events leave
    /// the disk by whole segments.
    pub segment_bytes: u64,
    /// How many acknowledged events stay on disk all the same (rounded up to whole segments), so
    /// that the broker in the process can be filled again. 0 where Kafka keeps them.
    pub retained_events: u64,
    /// Whether those are read once more after this start.
    pub replay_retained: bool,
    /// Bytes of events that wait to be acknowledged, at most; then [`AppendError::Full`]. So that
    /// who may cause events, and that may be anybody, cannot fill the disk while they are not
    /// shipped. On disk there is up to a segment more, and the retained events.
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

/// An event could not be made durable. It may be on disk, or not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The event is larger than any request may be, so it could never be sent.
    #[error(
        "a log event of {bytes} bytes cannot be sent: expected at most {} bytes",
        rules::MAX_REQUEST_BYTES
    )]
    TooLarge {
        /// Its size, encoded.
        bytes: usize,
    },
    /// Too many events wait to be shipped. There is room again as soon as some of them are
    /// acknowledged.
    #[error(
        "the journal is full: {waiting} bytes of log events wait to be shipped, of at most {most}; see why the logging service does not take them"
    )]
    Full {
        /// Bytes that wait.
        waiting: u64,
        /// [`JournalOptions::max_backlog_bytes`].
        most: u64,
    },
    /// The disk is full or failing. The next append tries again, in a new segment.
    #[error("the journal cannot be written: {0}; see whether the disk is full")]
    Disk(#[source] Arc<io::Error>),
    /// The journal's thread has ended, which it does only with the journal.
    #[error("the journal is closed")]
    Closed,
}

/// Where an event stands in a journal.
#[derive(Clone, Debug)]
pub struct JournalPosition(Position);

/// A journal. Cheap to clone; clones share one folder, which is free for others when the last one
/// is dropped.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Open>);

/// An open journal; ends the writing thread, then frees the folder.
#[derive(Debug)]
struct Open {
    appends: Option<mpsc::Sender<Append>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Locked for as long as this is, and no longer.
    lock: File,
}

/// What appending, reading and acknowledging share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    options: JournalOptions,
    segments: Mutex<Segments>,
    /// One permit is kept while nobody waits.
    changed: Notify,
    /// Held while `acknowledged` or `dead-letters.jsonl` is written; true once the journal is
    /// closed.
    closed: Mutex<bool>,
    meter: meters::Backlog,
}

impl Journal {
    /// Opens the journal in `folder`, made if it is not there; blocks for as long as the last
    /// segment takes to read.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written, or another process has it.
    pub fn open(folder: impl Into<PathBuf>, options: JournalOptions) -> Result<Self, StartError> {
        Self::open_with(folder.into(), options, Box::new(File::sync_data))
    }

    /// The same, and `None` when another process has it.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub fn open_if_free(
        folder: impl Into<PathBuf>,
        options: JournalOptions,
    ) -> Result<Option<Self>, StartError> {
        let folder = folder.into();
        match lock(&folder)? {
            Some(lock) => {
                Self::open_locked(folder, lock, options, Box::new(File::sync_data)).map(Some)
            }
            None => Ok(None),
        }
    }

    /// `sync` makes what was written to a file durable; another one is for tests of disks that
    /// fail.
    fn open_with(
        folder: PathBuf,
        options: JournalOptions,
        sync: SyncFile,
    ) -> Result<Self, StartError> {
        let lock = lock(&folder)?.ok_or_else(|| {
            StartError::new(format!(
                "the journal in {} is in use by another process; stop that one, or give each its own data folder (--data-dir)",
                folder.display()
            ))
        })?;
        Self::open_locked(folder, lock, options, sync)
    }

    fn open_locked(
        folder: PathBuf,
        lock: File,
        options: JournalOptions,
        sync: SyncFile,
    ) -> Result<Self, StartError> {
        let unusable = |error: io::Error| {
            StartError::new(format!(
                "the journal in {} cannot be opened: {error}; expected a folder that this user may read and write",
                folder.display()
            ))
        };
        let acknowledged = checkpoint::read(&folder).map_err(unusable)?;
        let replayed = if options.replay_retained { options.retained_events } else { 0 };
        let (segments, current) =
            Segments::open(&folder, acknowledged, replayed, options.segment_bytes)
                .map_err(unusable)?;
        let shared = Arc::new(Shared {
            folder: folder.clone(),
            options,
            segments: Mutex::new(segments),
            changed: Notify::new(),
            closed: Mutex::new(false),
            meter: meters::Backlog::default(),
        });
        shared.meter.report(&shared.segments());
        let (appends, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(Arc::clone(&shared), current, sync);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(unusable)?;
        Ok(Self(Arc::new(Open { appends: Some(appends), thread: Some(thread), shared, lock })))
    }

    /// Writes an event; ready when it is on disk for good (fsync). Events that are appended at the
    /// same time share one fsync.
    ///
    /// If the future is dropped before it is ready, the event may be written all the same.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(
        &self,
        event: LogMessage,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        // The whole journal, so that it stays open for as long as somebody waits for it.
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

    /// Closes the journal and takes every segment off the disk, if all that is in them is
    /// acknowledged; for a journal that nobody will append to soon. Its numbers go on where they
    /// were when it is opened again. Answers whether it is empty now; it is not, and nothing is
    /// done, while another clone of it is about.
    ///
    /// # Errors
    /// When a file cannot be removed. The journal is sound all the same.
    pub fn clear(self) -> io::Result<bool> {
        let Some(open) = Arc::into_inner(self.0) else { return Ok(false) };
        let shared = Arc::clone(&open.shared);
        // The same lock, which outlives what is dropped in the next line, so that nobody has the
        // folder between the two.
        let lock = open.lock.try_clone()?;
        drop(open);
        let obsolete = match shared.segments() {
            segments if segments.backlog() > 0 => return Ok(false),
            segments => segments.names(),
        };
        for first in obsolete {
            fs::remove_file(segments::path(&shared.folder, first))?;
        }
        drop(lock);
        Ok(true)
    }

    /// Whether a journal in this folder may hold events: it has a segment. Looks without opening
    /// it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn may_hold_events(folder: &Path) -> io::Result<bool> {
        segments::any_in(folder)
    }

    /// Events that are durable and not acknowledged.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.0.shared.segments().backlog()
    }

    /// The bytes of those on disk.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.0.shared.segments().backlog_bytes()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.appends = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
        // An acknowledgement whose future was dropped may still be on its way to the disk: not past
        // this line, where the folder may change hands.
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
            // The usual answer, without a thread and the disk.
            if !shared.segments().is_after(after.as_ref()) {
                return Ok(Vec::new());
            }
            let events = blocking(move || {
                segments::read(&shared.folder, &shared.segments, after, limit, READ_BYTES)
            })
            .await?;
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
        // By the contract of `EventSource` those before it are acknowledged, too.
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

    async fn oldest(&self) -> Result<Option<Oldest>, SourceError> {
        let oldest =
            self.read(None, 1).await?.into_iter().next().map(|(_, event)| Oldest::of(event));
        // What is replayed was shipped before, to a broker that is gone.
        let replays = self.0.shared.options.replay_retained;
        Ok(oldest.map(|oldest| if replays { Oldest { time: None, ..oldest } } else { oldest }))
    }

    fn dead_letter(
        &self,
        _position: &JournalPosition,
        event: &LogMessage,
        reason: &str,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let shared = Arc::clone(&self.0.shared);
        // An event whose time or level is out of range has no JSON; the error is in the place of
        // it, and the log has the rest.
        let event = crate::json::to_vec(event)
            .and_then(|json| serde_json::from_slice(&json))
            .unwrap_or_else(|_| serde_json::json!(format!("{event:?}")));
        let line = format!("{}\n", serde_json::json!({ "reason": reason, "event": event }));
        async move { blocking(move || shared.dead_letter(&line)).await }
    }
}

impl Shared {
    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down how far is acknowledged, then removes the segments that nobody needs any more.
    fn acknowledge(&self, last: Position) -> io::Result<()> {
        let closed = self.closed();
        if *closed {
            return Ok(());
        }
        let (acknowledged, on_disk) = self.segments().acknowledge(last);
        // While retained events are replayed, the disk already says more.
        if acknowledged > on_disk {
            checkpoint::write(&self.folder, acknowledged)?;
            let obsolete = self.segments().checkpointed(acknowledged, self.options.retained_events);
            for first in obsolete {
                // One that stays is removed after the next start.
                if let Err(error) = fs::remove_file(segments::path(&self.folder, first)) {
                    tracing::warn!(%error, "a segment of the journal that is no longer needed cannot be removed");
                }
            }
        }
        self.meter.report(&self.segments());
        Ok(())
    }

    fn dead_letter(&self, line: &str) -> io::Result<()> {
        let _held = self.closed();
        let mut file = files::private()
            .append(true)
            .create(true)
            .open(self.folder.join("dead-letters.jsonl"))?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    }
}

/// Makes the folder and takes it for this process; `None` when another one has it.
fn lock(folder: &Path) -> Result<Option<File>, StartError> {
    files::create_folder(folder).map_err(|error| {
        StartError::new(format!(
            "the journal's folder {} cannot be used: {error}; \
            expected a folder of this user's own, or a place for one",
            folder.display()
        ))
    })?;
    let path = folder.join("lock");
    let unusable = |error: io::Error| {
        StartError::new(format!(
            "the journal's lock {} cannot be taken: {error}; expected a file that this user may write",
            path.display()
        ))
    };
    let file = open_lock(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Runs what waits for the disk where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SourceError> {
    spawn_blocking(work).await.map_err(SourceError::new)?.map_err(SourceError::new)
}

#[cfg(test)]
mod tests;
