//! The one thread that writes: all that wait are written together and share one fsync.

use std::{fs::File, io, io::Write as _, sync::Arc};

use tokio::sync::{
    mpsc::{Receiver, error::TryRecvError},
    oneshot,
};

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

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` when the next group begins a new segment.
    current: Option<Current>,
    sync: SyncFile,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, current: Option<Current>, sync: SyncFile) -> Self {
        Self { shared, current, sync }
    }

    /// Writes until the last sender is gone.
    pub(super) fn run(mut self, mut queue: Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            let mut records = first.record;
            let mut waiting = vec![first.done];
            while records.len() < GROUP_BYTES {
                match queue.try_recv() {
                    Ok(append) => {
                        records.extend_from_slice(&append.record);
                        waiting.push(append.done);
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
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

    fn write(&mut self, records: &[u8], count: u64) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) if current.bytes < self.shared.options.segment_bytes => current,
            Some(_) | None => self.begin()?,
        };
        // The segment is put back only after a success: once an fsync has failed, the system may have thrown the pages away and call them clean, so
        // that a later fsync of the same file would succeed without them. What was durable before stays so.
        if let Err(error) = current.file.write_all(records).and_then(|()| (self.sync)(&current.file)) {
            self.abandon(&current);
            return Err(error);
        }
        current.bytes += records.len() as u64;
        let backlog = {
            let mut segments = self.shared.segments();
            segments.wrote(count, current.bytes);
            segments.backlog()
        };
        self.current = Some(current);
        self.shared.changed.notify_one();
        meters::APPENDED.inc_by(count);
        meters::SYNCS.inc();
        meters::backlog(backlog);
        Ok(())
    }

    /// Begins a new segment, whose name is durable before the first record in it.
    fn begin(&self) -> io::Result<Current> {
        let first = self.shared.segments().next();
        // A file of this name can hold nothing durable, as no record of this number is.
        let file = files::private().append(true).create(true).open(segments::path(&self.shared.folder, first))?;
        file.set_len(0)?;
        files::sync_folder(&self.shared.folder)?;
        self.shared.segments().began(first);
        Ok(Current { first, file, bytes: 0 })
    }

    /// Throws away what was not made durable. Should that fail, too, it does no harm: the name of the next segment says where this one ends.
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
