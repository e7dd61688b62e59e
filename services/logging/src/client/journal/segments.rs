//! The segments of a journal: what is in the folder, what of it is durable, and reading it.
//!
//! Records are numbered 1, 2, 3, … throughout the journal. A segment is named after its first
//! record and ends where the next one begins, whatever its file may hold beyond: after a failed
//! write the rest of a file is worth nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    files,
    record::{self, Found},
};
use crate::proto::LogMessage;

const SUFFIX: &str = ".journal";

/// Just behind a record: its number, the first number of its segment, and the byte behind it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) number: u64,
    segment: u64,
    offset: u64,
}

/// The file of the segment that begins with this record.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) first: u64,
    pub(super) file: File,
    /// Bytes of whole, durable records.
    pub(super) bytes: u64,
}

/// What is known of the folder.
#[derive(Debug)]
pub(super) struct Segments {
    /// First record → durable bytes; of a segment from before this start those of its file, where a
    /// failed write may have left more than counts.
    known: BTreeMap<u64, u64>,
    /// The last record that is durable; 0 if there is none.
    durable: u64,
    /// Reading begins behind this one: acknowledged, or before the retained records that are
    /// replayed.
    start: Position,
    /// The number on disk of the last acknowledged record.
    acknowledged: u64,
    /// Damage that has been reported.
    reported: Option<Position>,
}

impl Segments {
    /// Looks through the folder and mends the end of the last segment. Gives the segment to go on
    /// with, unless a new one is due.
    pub(super) fn open(
        folder: &Path,
        acknowledged: u64,
        replayed: u64,
        segment_bytes: u64,
    ) -> io::Result<(Self, Option<Current>)> {
        let mut known = list(folder)?;
        let mut durable = acknowledged;
        let mut current = None;
        if let Some(mut last) = known.last_entry() {
            let first = *last.key();
            let end = mend(folder, first)?;
            durable = durable.max(end.last);
            // Numbers are never used twice: not those that were acknowledged and are gone, nor
            // those that damage may hide.
            if end.sound {
                last.insert(end.bytes);
            }
            if end.sound && end.last == durable && end.bytes < segment_bytes {
                let file = files::private().append(true).open(path(folder, first))?;
                current = Some(Current { first, file, bytes: end.bytes });
            }
        }
        let mut segments = Self {
            known,
            durable,
            start: Position { number: acknowledged, segment: 0, offset: 0 },
            acknowledged,
            reported: None,
        };
        segments.start = segments.find(folder, acknowledged.saturating_sub(replayed))?;
        Ok((segments, current))
    }

    /// The first records of all segments that are on disk.
    pub(super) fn names(&self) -> Vec<u64> {
        self.known.keys().copied().collect()
    }

    /// Records that are durable and not acknowledged.
    pub(super) fn backlog(&self) -> u64 {
        self.durable.saturating_sub(self.start.number)
    }

    /// Their bytes. Those behind damage count for as long as their segment is there.
    pub(super) fn backlog_bytes(&self) -> u64 {
        let waiting = self.known.range(self.start.segment..);
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

    /// Whether there is a record behind this one.
    pub(super) fn is_after(&self, after: Option<&Position>) -> bool {
        after.unwrap_or(&self.start).number < self.durable
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.durable + 1
    }

    /// A new, empty segment is in the folder.
    pub(super) fn began(&mut self, first: u64) {
        self.known.insert(first, 0);
    }

    /// The segment without durable records is gone.
    pub(super) fn removed(&mut self, first: u64) {
        self.known.remove(&first);
    }

    /// So many records more are durable in the last segment, which has so many bytes now.
    pub(super) fn wrote(&mut self, records: u64, bytes: u64) {
        self.durable += records;
        if let Some(mut last) = self.known.last_entry() {
            last.insert(bytes);
        }
    }

    /// Everything up to here is acknowledged: the last such record, and the one that the disk says.
    pub(super) fn acknowledge(&mut self, last: Position) -> (u64, u64) {
        if last.number > self.start.number {
            self.start = last;
        }
        (self.start.number, self.acknowledged)
    }

    /// The disk says that this record is the last acknowledged one. Forgets, and names, the
    /// segments that hold neither a later one nor one of the last `retained`; never the last
    /// segment.
    pub(super) fn checkpointed(&mut self, acknowledged: u64, retained: u64) -> Vec<u64> {
        self.acknowledged = acknowledged;
        let needed = acknowledged.saturating_sub(retained) + 1;
        let firsts: Vec<u64> = self.known.keys().copied().collect();
        let obsolete: Vec<u64> =
            firsts.windows(2).filter(|pair| pair[1] <= needed).map(|pair| pair[0]).collect();
        for first in &obsolete {
            self.known.remove(first);
        }
        obsolete
    }

    /// The place behind record `number`, or before the first record after it.
    fn find(&self, folder: &Path, number: u64) -> io::Result<Position> {
        let Some((&first, _)) = self.known.range(..=number + 1).next_back() else {
            return Ok(Position { number, segment: 0, offset: 0 });
        };
        let mut at = Position { number: first - 1, segment: first, offset: 0 };
        let mut segment = Reader::open(folder, &at, u64::MAX)?;
        while at.number < number
            && let Found::Record(_, bytes) = segment.next()?
        {
            at.number += 1;
            at.offset += bytes;
        }
        Ok(Position { number, ..at })
    }
}

/// Up to `limit` durable events behind `after` (or not acknowledged), no more than `bytes` of them
/// unless it is one.
pub(super) fn read(
    folder: &Path,
    segments: &Mutex<Segments>,
    after: Option<Position>,
    limit: usize,
    bytes: usize,
) -> io::Result<Vec<(Position, LogMessage)>> {
    let lock =
        || -> MutexGuard<'_, Segments> { segments.lock().unwrap_or_else(PoisonError::into_inner) };
    // A picture of this moment: segments and records that come later are for the next read.
    let (known, durable, mut at) = {
        let segments = lock();
        (segments.known.clone(), segments.durable, after.unwrap_or_else(|| segments.start.clone()))
    };
    let mut firsts = known.range(at.segment..).peekable();
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
        let mut segment = Reader::open(folder, &at, durable_bytes)?;
        while at.number < end {
            if events.len() >= limit || size >= bytes {
                return Ok(events);
            }
            match segment.next()? {
                Found::Record(event, length) => {
                    at.number += 1;
                    at.offset += length;
                    size += usize::try_from(length).unwrap_or(usize::MAX);
                    events.push((at.clone(), *event));
                }
                found @ (Found::End | Found::Damage(_)) => {
                    let reason = if let Found::Damage(reason) = found {
                        reason
                    } else {
                        "records are missing at its end"
                    };
                    let mut segments = lock();
                    if segments.reported.as_ref() != Some(&at) {
                        tracing::error!(
                            segment = %path(folder, first).display(), byte = at.offset, record = at.number + 1, reason,
                            "a segment of the journal is damaged; the log events behind this place in it are not sent"
                        );
                        segments.reported = Some(at.clone());
                    }
                    break;
                }
            }
        }
    }
    Ok(events)
}

/// Reads records from a place on.
struct Reader {
    file: BufReader<File>,
    left: u64,
}

impl Reader {
    /// `bytes`: how much of the file counts.
    fn open(folder: &Path, at: &Position, bytes: u64) -> io::Result<Self> {
        let mut file = File::open(path(folder, at.segment))?;
        let length = file.metadata()?.len().min(bytes);
        file.seek(SeekFrom::Start(at.offset))?;
        Ok(Self {
            file: BufReader::with_capacity(64 * 1024, file),
            left: length.saturating_sub(at.offset),
        })
    }

    fn next(&mut self) -> io::Result<Found> {
        let found = record::read(&mut self.file, self.left)?;
        if let Found::Record(_, bytes) = &found {
            self.left -= bytes;
        }
        Ok(found)
    }
}

/// The segments in the folder: first record → bytes of the file.
fn list(folder: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == 20)
            .and_then(|digits| digits.parse().ok());
        if let Some(first) = first.filter(|first| *first > 0) {
            segments.insert(first, entry.metadata()?.len());
        }
    }
    Ok(segments)
}

/// Whether there is a segment in the folder.
pub(super) fn any_in(folder: &Path) -> io::Result<bool> {
    Ok(!list(folder)?.is_empty())
}

/// The end of the last segment, after mending.
struct End {
    /// The last record, or the last number that damage may hide.
    last: u64,
    /// Bytes up to there.
    bytes: u64,
    /// Whether more may be written behind it.
    sound: bool,
}

/// Reads the last segment through. A torn tail is cut off; damage with records behind it is left
/// for [`read`] to report.
fn mend(folder: &Path, first: u64) -> io::Result<End> {
    let mut at = Position { number: first - 1, segment: first, offset: 0 };
    let mut segment = Reader::open(folder, &at, u64::MAX)?;
    let reason = loop {
        match segment.next()? {
            Found::Record(_, bytes) => {
                at.number += 1;
                at.offset += bytes;
            }
            Found::End => return Ok(End { last: at.number, bytes: at.offset, sound: true }),
            Found::Damage(reason) => break reason,
        }
    };
    let path = path(folder, first);
    let mut rest = Vec::new();
    let mut file = files::private().read(true).write(true).open(&path)?;
    file.seek(SeekFrom::Start(at.offset))?;
    file.read_to_end(&mut rest)?;
    if record::any_in(&rest[1..]) {
        // Records behind the damage: not the trace of a write that was cut short, so nothing here
        // may be thrown away.
        return Ok(End {
            last: at.number + (rest.len() / record::SHORTEST) as u64,
            bytes: at.offset,
            sound: false,
        });
    }
    tracing::warn!(
        segment = %path.display(), byte = at.offset, dropped_bytes = rest.len(), reason,
        "the journal ends in a record that was not written whole; it is cut off"
    );
    file.set_len(at.offset)?;
    file.sync_all()?;
    Ok(End { last: at.number, bytes: at.offset, sound: true })
}
