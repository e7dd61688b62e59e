//! The one thread that writes: all that wait are written together and share one fsync.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Arc,
};

use tokio::sync::{mpsc::Receiver, oneshot};

use super::{
    AppendError, Shared, files, meters,
    segments::{self, Current},
};

/// Bytes that are written together, at most, unless a single record is larger.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Makes what was written to a file durable.
pub(super) type SyncFile = Box<dyn FnMut(&File) -> io::Result<()> + Send>;

/// A record that waits to be written.
pub(super) struct Append {
    pub(super) record: Vec<u8>,
    pub(super) done: oneshot::Sender<Result<(), AppendError>>,
}

/// What may still be written before the journal is full.
struct Room {
    /// Bytes that wait to be shipped, with those that are about to be written.
    backlog: u64,
    most: u64,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), AppendError> {
        let backlog = self.backlog.saturating_add(bytes as u64);
        if backlog > self.most {
            return Err(AppendError::Full { waiting: self.backlog, most: self.most });
        }
        self.backlog = backlog;
        Ok(())
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` when the next group begins a new segment.
    current: Option<Current>,
    sync: SyncFile,
    /// Whether the log says that the journal is full.
    full: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, current: Option<Current>, sync: SyncFile) -> Self {
        Self { shared, current, sync, full: false }
    }

    /// Writes until the last sender is gone.
    pub(super) fn run(mut self, mut queue: Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            let backlog = self.shared.segments().backlog_bytes();
            let mut room = Room { backlog, most: self.shared.options.max_backlog_bytes };
            let (mut records, mut waiting) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(append) = next.take() {
                match room.take(append.record.len()) {
                    Ok(()) => {
                        records.extend_from_slice(&append.record);
                        waiting.push(append.done);
                    }
                    // What was taken before is not kept waiting by those that may follow as fast as
                    // they are refused.
                    Err(full) => {
                        self.refuse(append, full);
                        break;
                    }
                }
                if records.len() < GROUP_BYTES {
                    // None waits, or the journal is being closed.
                    next = queue.try_recv().ok();
                }
            }
            if waiting.is_empty() {
                continue;
            }
            // Not before half of it is free: while it is emptied slowly it is full and not full
            // many times a second.
            if self.full && room.backlog < room.most / 2 {
                self.full = false;
                tracing::info!(bytes = room.backlog, "the journal has room again");
            }
            let outcome = self.write(&records, waiting.len() as u64).map_err(|error| {
                meters::FAILED.inc();
                tracing::error!(%error, folder = %self.shared.folder.display(), "the journal cannot be written");
                AppendError::Disk(Arc::new(error))
            });
            for done in waiting {
                // Whoever has stopped waiting does not want to know.
                drop(done.send(outcome.clone()));
            }
        }
    }

    /// Answers an event that there is no room for. The log is told once, not for each: they come as
    /// fast as somebody likes to send what causes them.
    fn refuse(&mut self, append: Append, full: AppendError) {
        meters::REFUSED.inc();
        if !self.full {
            self.full = true;
            tracing::error!(folder = %self.shared.folder.display(), "{full}; until then events are refused");
        }
        // Whoever has stopped waiting does not want to know.
        drop(append.done.send(Err(full)));
    }

    fn write(&mut self, records: &[u8], count: u64) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) if current.bytes < self.shared.options.segment_bytes => current,
            Some(_) | None => self.begin()?,
        };
        // The segment is put back only after a success: once an fsync has failed, the system may
        // have thrown the pages away and call them clean, so that a later fsync of the same file
        // would succeed without them. What was durable before stays so.
        if let Err(error) =
            current.file.write_all(records).and_then(|()| (self.sync)(&current.file))
        {
            self.abandon(&current);
            return Err(error);
        }
        current.bytes += records.len() as u64;
        {
            let mut segments = self.shared.segments();
            segments.wrote(count, current.bytes);
            self.shared.meter.report(&segments);
        }
        self.current = Some(current);
        self.shared.changed.notify_one();
        meters::APPENDED.inc_by(count);
        meters::SYNCS.inc();
        Ok(())
    }

    /// Begins a new segment, whose name is durable before the first record in it.
    fn begin(&self) -> io::Result<Current> {
        let first = self.shared.segments().next();
        // A file of this name can hold nothing durable, as no record of this number is.
        let path = segments::path(&self.shared.folder, first);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = files::private().append(true).create_new(true).open(path)?;
        files::sync_folder(&self.shared.folder)?;
        self.shared.segments().began(first);
        Ok(Current { first, file, bytes: 0 })
    }

    /// Throws away what was not made durable. Should that fail, too, it does no harm: the name of
    /// the next segment says where this one ends.
    fn abandon(&self, current: &Current) {
        let path = segments::path(&self.shared.folder, current.first);
        let thrown_away = if current.bytes == 0 {
            self.shared.segments().removed(current.first);
            std::fs::remove_file(&path)
        } else {
            current.file.set_len(current.bytes).and_then(|()| current.file.sync_all())
        };
        if let Err(error) = thrown_away {
            tracing::warn!(%error, segment = %path.display(), "what was not written whole cannot be taken out of the journal");
        }
    }
}
