//! Group commit: one fsync for all waiting appends.

use std::{io, sync::Arc};

use tokio::sync::{mpsc::Receiver, oneshot};

use super::{
    AppendError, Shared, metrics,
    segments::{self, ActiveSegment},
};

/// Exceeded only by a single larger record.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

type Done = oneshot::Sender<Result<(), AppendError>>;

pub(super) struct Append {
    pub(super) record: Vec<u8>,
    pub(super) done: Done,
}

struct Capacity {
    /// Includes the group under construction.
    backlog: u64,
    max: u64,
}

impl Capacity {
    fn reserve(&mut self, bytes: usize) -> Result<(), AppendError> {
        let backlog = self.backlog.saturating_add(bytes as u64);
        if backlog > self.max {
            return Err(AppendError::Full { backlog_bytes: self.backlog, max: self.max });
        }
        self.backlog = backlog;
        Ok(())
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` if the next group starts a new segment.
    pub(super) active: Option<ActiveSegment>,
    full: bool,
}

impl Writer {
    /// The first group starts a segment. The name of another process's segment may not be durable,
    /// and after a failed fsync its page cache may differ from the disk.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, active: None, full: false }
    }

    pub(super) fn run(mut self, mut queue: Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            self.commit(first, || queue.try_recv().ok());
        }
    }

    /// Writes and syncs one group: `first`, and what `next` returns.
    pub(super) fn commit(&mut self, first: Append, mut next: impl FnMut() -> Option<Append>) {
        let backlog = self.shared.segments().backlog_bytes();
        let mut capacity = Capacity { backlog, max: self.shared.options.max_backlog_bytes };
        let (mut records, mut pending) = (Vec::new(), Vec::new());
        let mut append = Some(first);
        while let Some(Append { record, done }) = append.take() {
            if let Err(full) = capacity.reserve(record.len()) {
                // Write the group now, even if refused appends keep arriving.
                self.refuse(done, full);
                break;
            }
            records.extend_from_slice(&record);
            pending.push(done);
            if records.len() < GROUP_BYTES {
                append = next();
            }
        }
        if pending.is_empty() {
            return;
        }
        // Hysteresis: near the limit the state would flap.
        if self.full && capacity.backlog < capacity.max / 2 {
            self.full = false;
            tracing::info!(bytes = capacity.backlog, "the journal accepts log events again");
        }
        let count = pending.len() as u64;
        if planted!(AppendReturnsBeforeSync) {
            pending.drain(..).for_each(|done: Done| drop(done.send(Ok(()))));
        }
        let outcome = self.write(&records, count).map_err(|error| {
            metrics::FAILED.inc();
            tracing::error!(
                %error,
                dir = %self.shared.dir.display(),
                "failed to write the journal"
            );
            AppendError::Disk(Arc::new(error))
        });
        for done in pending {
            drop(done.send(outcome.clone()));
        }
    }

    /// Logs only the first refusal, because clients may cause any number.
    fn refuse(&mut self, done: Done, full: AppendError) {
        metrics::REFUSED.inc();
        if !self.full {
            self.full = true;
            tracing::error!(
                error = %full,
                dir = %self.shared.dir.display(),
                "journal full; refusing log events until some are acknowledged"
            );
        }
        drop(done.send(Err(full)));
    }

    fn write(&mut self, records: &[u8], count: u64) -> io::Result<()> {
        let mut active = match self.active.take() {
            Some(active) if active.bytes < self.shared.options.segment_bytes => active,
            Some(_) | None => self.create_segment()?,
        };
        // After a failed fsync the kernel may mark dirty pages as clean, and a later fsync would
        // succeed without them. So the segment is only kept after a success.
        if let Err(error) = active.file.append(records).and_then(|()| active.file.sync()) {
            if planted!(SegmentKeptAfterFailedSync) {
                self.active = Some(active);
            } else {
                self.discard_partial_write(active);
            }
            return Err(error);
        }
        active.bytes += records.len() as u64;
        {
            let mut segments = self.shared.segments();
            segments.add_records(count, active.bytes);
            self.shared.backlog.report(&segments);
        }
        self.active = Some(active);
        self.shared.changed.notify_one();
        metrics::APPENDED.inc_by(count);
        metrics::SYNCS.inc();
        Ok(())
    }

    /// The directory entry is durable before the first record.
    fn create_segment(&self) -> io::Result<ActiveSegment> {
        let first = self.shared.segments().last() + 1;
        // Has no durable record, because none has this number.
        let path = segments::path(&self.shared.dir, first);
        self.shared.disk.remove(&path)?;
        let file = self.shared.disk.open(&path)?;
        self.shared.disk.sync_dir(&self.shared.dir)?;
        self.shared.segments().add_segment(first);
        Ok(ActiveSegment { first, file, bytes: 0 })
    }

    /// A failure is harmless: the next segment's name marks the end of this one.
    fn discard_partial_write(&self, mut active: ActiveSegment) {
        let path = segments::path(&self.shared.dir, active.first);
        let discarded = if active.bytes == 0 {
            self.shared.segments().remove_segment(active.first);
            self.shared.disk.remove(&path)
        } else {
            active.file.truncate(active.bytes).and_then(|()| active.file.sync())
        };
        if let Err(error) = discarded {
            tracing::warn!(
                %error,
                segment = %path.display(),
                "failed to remove an incomplete write from the journal"
            );
        }
    }
}
