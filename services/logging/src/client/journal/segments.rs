//! Segments of a journal.
//!
//! Records are numbered from 1 throughout the journal. A segment ends where the next one starts;
//! bytes after that are left by a failed write.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{MutexGuard, PoisonError},
};

use super::{
    disk::{Disk, DiskFile},
    record::{self, RecordRead},
};
use crate::{proto::LogMessage, sync::Mutex};

const SUFFIX: &str = ".journal";
/// Greater numbers in the names of files and in the checkpoint are not the journal's. With one, the
/// next number would overflow.
pub(super) const MAX_NUMBER: u64 = u64::MAX / 2;

/// The position after a record: its number, its segment and the byte offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) number: u64,
    segment: u64,
    offset: u64,
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SUFFIX}"))
}

#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) first: u64,
    pub(super) file: Box<dyn DiskFile>,
    /// Bytes of durable records.
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Segments {
    /// First record → durable bytes. For segments of an earlier process: the file size, which may
    /// include a failed write.
    segments_by_first: BTreeMap<u64, u64>,
    /// Number of the last record, or 0.
    durable: u64,
    /// The position after the last acknowledged record, or before the replayed ones.
    start: Position,
    /// Number in the checkpoint file.
    acknowledged: u64,
    reported_corruption: Option<Position>,
}

impl Segments {
    /// Scans the directory and recovers its tail.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        acknowledged: u64,
        replayed: u64,
    ) -> io::Result<Self> {
        let mut segments_by_first = BTreeMap::new();
        for first in list(disk, dir)? {
            segments_by_first.insert(first, disk.read(&path(dir, first), 0)?.1);
        }
        let mut durable = acknowledged;
        if let Some(mut last) = segments_by_first.last_entry() {
            // The records of a killed process may only be in the page cache.
            disk.open(&path(dir, *last.key()))?.sync()?;
            let tail = read_tail(disk, dir, *last.key())?;
            // Record numbers are never reused, not even those of deleted or corrupt records.
            durable = if planted!(RecordNumberReused) { tail.last } else { durable.max(tail.last) };
            last.insert(tail.bytes);
        }
        let mut segments = Self {
            segments_by_first,
            durable,
            start: Position { number: acknowledged, segment: 0, offset: 0 },
            acknowledged,
            reported_corruption: None,
        };
        segments.start = segments.locate(disk, dir, acknowledged.saturating_sub(replayed))?;
        Ok(segments)
    }

    pub(super) fn first_records(&self) -> Vec<u64> {
        self.segments_by_first.keys().copied().collect()
    }

    pub(super) fn backlog(&self) -> u64 {
        self.durable.saturating_sub(self.start.number)
    }

    /// Unreadable records count until their segment is deleted.
    pub(super) fn backlog_bytes(&self) -> u64 {
        let waiting = self.segments_by_first.range(self.start.segment..);
        waiting
            .map(|(first, bytes)| {
                if *first == self.start.segment {
                    bytes.saturating_sub(self.start.offset)
                } else {
                    *bytes
                }
            })
            .sum()
    }

    pub(super) fn has_records_after(&self, after: Option<&Position>) -> bool {
        after.unwrap_or(&self.start).number < self.durable
    }

    pub(super) fn last(&self) -> u64 {
        self.durable
    }

    /// Returns the number in the checkpoint file.
    pub(super) fn checkpoint(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn add_segment(&mut self, first: u64) {
        self.segments_by_first.insert(first, 0);
    }

    pub(super) fn remove_segment(&mut self, first: u64) {
        self.segments_by_first.remove(&first);
    }

    pub(super) fn add_records(&mut self, records: u64, bytes: u64) {
        self.durable += records;
        if let Some(mut last) = self.segments_by_first.last_entry() {
            last.insert(bytes);
        }
    }

    /// Returns the acknowledged number, and the one in the checkpoint file.
    pub(super) fn acknowledge(&mut self, last: Position) -> (u64, u64) {
        if last.number > self.start.number {
            self.start = last;
        }
        (self.start.number, self.acknowledged)
    }

    /// Returns segments without unacknowledged records or the last `retained` ones; never the last.
    pub(super) fn apply_checkpoint(&mut self, acknowledged: u64, retained: u64) -> Vec<u64> {
        self.acknowledged = acknowledged;
        let retained = if planted!(RetainedSegmentDeleted) { 0 } else { retained };
        let needed = acknowledged.saturating_sub(retained) + 1;
        let firsts: Vec<u64> = self.segments_by_first.keys().copied().collect();
        let obsolete: Vec<u64> =
            firsts.windows(2).filter(|pair| pair[1] <= needed).map(|pair| pair[0]).collect();
        for first in &obsolete {
            self.segments_by_first.remove(first);
        }
        obsolete
    }

    /// Returns the position after record `number`, or before the first record after it.
    fn locate(&self, disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<Position> {
        let Some((&first, _)) = self.segments_by_first.range(..=number + 1).next_back() else {
            return Ok(Position { number, segment: 0, offset: 0 });
        };
        let mut at = Position { number: first - 1, segment: first, offset: 0 };
        let mut segment = Reader::open(disk, dir, &at, u64::MAX)?;
        while at.number < number
            && let RecordRead::Record(_, bytes) = segment.next()?
        {
            at.number += 1;
            at.offset += bytes;
        }
        Ok(Position { number, ..at })
    }
}

/// Reads from `after`, or from the start position. Only a single larger event exceeds `bytes`.
pub(super) fn read(
    disk: &dyn Disk,
    dir: &Path,
    segments: &Mutex<Segments>,
    after: Option<Position>,
    limit: usize,
    bytes: usize,
) -> io::Result<Vec<(Position, LogMessage)>> {
    let lock =
        || -> MutexGuard<'_, Segments> { segments.lock().unwrap_or_else(PoisonError::into_inner) };
    let (segments_by_first, durable, mut at) = {
        let segments = lock();
        (
            segments.segments_by_first.clone(),
            segments.durable,
            after.unwrap_or_else(|| segments.start.clone()),
        )
    };
    let mut firsts = segments_by_first.range(at.segment..).peekable();
    let mut events = Vec::new();
    let mut size = 0;
    while let Some((&first, &durable_bytes)) = firsts.next() {
        if first != at.segment {
            at = Position { number: first - 1, segment: first, offset: 0 };
        }
        let end = firsts.peek().map_or(durable, |(next, _)| (**next - 1).min(durable));
        if at.number >= end {
            continue;
        }
        let mut segment = match Reader::open(disk, dir, &at, durable_bytes) {
            // Its events were acknowledged meanwhile, and the file was deleted.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !lock().segments_by_first.contains_key(&first) =>
            {
                continue;
            }
            opened => opened?,
        };
        while at.number < end {
            if events.len() >= limit || size >= bytes {
                return Ok(events);
            }
            match segment.next()? {
                RecordRead::Record(event, length) => {
                    at.number += 1;
                    at.offset += length;
                    size += usize::try_from(length).unwrap_or(usize::MAX);
                    events.push((at.clone(), *event));
                }
                read @ (RecordRead::End | RecordRead::Corrupt(_)) => {
                    let reason = if let RecordRead::Corrupt(reason) = read {
                        reason
                    } else {
                        "records are missing at its end"
                    };
                    let mut segments = lock();
                    if segments.reported_corruption.as_ref() != Some(&at) {
                        tracing::error!(
                            segment = %path(dir, first).display(),
                            byte = at.offset,
                            record = at.number + 1,
                            reason,
                            "journal segment is corrupt; skipping its remaining log events"
                        );
                        segments.reported_corruption = Some(at.clone());
                    }
                    break;
                }
            }
        }
    }
    Ok(events)
}

struct Reader {
    file: BufReader<Box<dyn Read>>,
    left: u64,
}

impl Reader {
    fn open(disk: &dyn Disk, dir: &Path, at: &Position, bytes: u64) -> io::Result<Self> {
        let (file, size) = disk.read(&path(dir, at.segment), at.offset)?;
        Ok(Self {
            file: BufReader::with_capacity(64 * 1024, file),
            left: size.min(bytes).saturating_sub(at.offset),
        })
    }

    fn next(&mut self) -> io::Result<RecordRead> {
        let read = record::read(&mut self.file, self.left)?;
        if let RecordRead::Record(_, bytes) = &read {
            self.left -= bytes;
        }
        Ok(read)
    }
}

/// Returns the first record of each segment.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let first = |name: &str| -> Option<u64> {
        let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
        digits.parse().ok().filter(|first| (1..=MAX_NUMBER).contains(first))
    };
    let names = disk.list(dir)?;
    Ok(names.iter().filter_map(|name| first(name.to_str()?)).collect())
}

pub(super) fn has_segment(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    Ok(!list(disk, dir)?.is_empty())
}

struct Tail {
    /// The number of the last record, or the highest number that corruption may hide.
    last: u64,
    /// Without a torn write.
    bytes: u64,
}

/// Finds the end of the last segment. Corruption before valid records is left for [`read`] to
/// report.
fn read_tail(disk: &dyn Disk, dir: &Path, first: u64) -> io::Result<Tail> {
    let mut at = Position { number: first - 1, segment: first, offset: 0 };
    let mut segment = Reader::open(disk, dir, &at, u64::MAX)?;
    let reason = loop {
        match segment.next()? {
            RecordRead::Record(_, bytes) => {
                at.number += 1;
                at.offset += bytes;
            }
            RecordRead::End => return Ok(Tail { last: at.number, bytes: at.offset }),
            RecordRead::Corrupt(reason) => break reason,
        }
    };
    let path = path(dir, first);
    let mut rest = Vec::new();
    disk.read(&path, at.offset)?.0.read_to_end(&mut rest)?;
    if record::contains_record(&rest[1..]) {
        // Valid records follow, so this is not a torn write.
        return Ok(Tail {
            last: at.number + (rest.len() / record::MIN_RECORD) as u64,
            bytes: at.offset + rest.len() as u64,
        });
    }
    tracing::warn!(
        segment = %path.display(), byte = at.offset, ignored_bytes = rest.len(), reason,
        "ignoring an incomplete record at the end of the journal"
    );
    Ok(Tail { last: at.number, bytes: at.offset })
}
