//! The promises of a journal, as a model of what a client saw.

use std::collections::{BTreeMap, BTreeSet};

use super::LogMessage;

/// Events have consecutive ids from 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    appended: u64,
    /// Appends that returned `Ok`.
    durable: BTreeSet<u64>,
    /// Of all events that were read.
    id_by_number: BTreeMap<u64, u64>,
    number_by_id: BTreeMap<u64, u64>,
    /// The last number for which an acknowledgement was begun.
    acknowledging: u64,
    /// The last number whose acknowledgement returned `Ok`.
    acknowledged: u64,
    /// Dead letters whose write returned `Ok`.
    dead_letters: BTreeSet<u64>,
    /// Acknowledged events that this process reads again.
    retained: u64,
    /// The last number that a cleared journal had.
    cleared: u64,
}

impl Model {
    pub(super) fn event(id: u64) -> LogMessage {
        let padding = "x".repeat(usize::try_from(id % 3).unwrap());
        LogMessage { message: format!("{id} {padding}"), ..LogMessage::default() }
    }

    /// Returns the id of an event, or 0.
    pub(super) fn id(event: &LogMessage) -> u64 {
        event.message.split(' ').next().and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    pub(super) fn dead_letter(id: u64) -> String {
        format!("{{\"event\":{id}}}")
    }

    /// Returns the id of the next event.
    pub(super) fn append(&mut self) -> u64 {
        self.appended += 1;
        self.appended
    }

    pub(super) fn appended(&mut self, id: u64) {
        self.durable.insert(id);
    }

    pub(super) fn acknowledge(&mut self, number: u64) {
        self.acknowledging = self.acknowledging.max(number);
    }

    pub(super) fn acknowledged(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
    }

    pub(super) fn dead_lettered(&mut self, id: u64) {
        self.dead_letters.insert(id);
    }

    /// A process opens the journal, and reads this many acknowledged events again.
    pub(super) fn opened(&mut self, retained: u64) {
        self.retained = retained;
    }

    /// The segments may have been deleted, also the retained ones.
    pub(super) fn cleared(&mut self) {
        self.cleared = self.acknowledging;
    }

    /// Forgets events that were read before they were durable: a failed fsync in an earlier process
    /// may have dropped them from the page cache.
    pub(super) fn forget_volatile_reads(&mut self) {
        let (durable, acknowledged) = (&self.durable, self.acknowledged);
        self.id_by_number.retain(|number, id| *number <= acknowledged || durable.contains(id));
        self.number_by_id.retain(|id, number| *number <= acknowledged || durable.contains(id));
    }

    /// Checks events that follow each other, as record numbers and events. Returns their ids.
    pub(super) fn read(&mut self, events: &[(u64, LogMessage)]) -> Result<BTreeSet<u64>, String> {
        let mut ids = BTreeSet::new();
        let mut last = (0, 0);
        for (number, event) in events {
            let id = Self::id(event);
            if id == 0 || id > self.appended || *event != Self::event(id) {
                return Err(format!("record {number} was never appended: {event:?}"));
            }
            if *number <= last.0 || id <= last.1 {
                return Err(format!("event {id} as record {number} follows {last:?}: wrong order"));
            }
            last = (*number, id);
            ids.insert(id);
            let (other, moved) =
                (self.id_by_number.insert(*number, id), self.number_by_id.insert(id, *number));
            if other.is_some_and(|other| other != id) || moved.is_some_and(|from| from != *number) {
                return Err(format!(
                    "record {number} is event {id}, and was {other:?}; the event was {moved:?}"
                ));
            }
            if number + self.retained <= self.acknowledged {
                return Err(format!("record {number} is read again after its acknowledgement"));
            }
        }
        Ok(ids)
    }

    /// Checks everything that a read from the oldest event returns. The journal counts the records
    /// up to `start` as acknowledged.
    pub(super) fn check(&mut self, start: u64, events: &[(u64, LogMessage)]) -> Result<(), String> {
        if start > self.acknowledging {
            return Err(format!("the events up to {start} are skipped, but not acknowledged"));
        }
        let ids = self.read(events)?;
        let floor = start.max(self.cleared);
        let is_due = |id: &u64| self.number_by_id.get(id).is_none_or(|number| *number > floor);
        match self.durable.iter().find(|id| is_due(id) && !ids.contains(id)) {
            Some(lost) => Err(format!("event {lost} is lost; read: {ids:?}")),
            None => Ok(()),
        }
    }

    /// Checks the file of dead letters. A line may start with `zeros` if neither the write before
    /// it nor the removal of that write reached the disk.
    pub(super) fn check_dead_letters(&self, file: &[u8], zeros: bool) -> Result<(), String> {
        let lines: BTreeSet<&[u8]> =
            file.split(|byte| *byte == b'\n' || (zeros && *byte == 0)).collect();
        match self
            .dead_letters
            .iter()
            .find(|id| !lines.contains(Self::dead_letter(**id).as_bytes()))
        {
            Some(lost) => Err(format!(
                "dead letter {lost} is lost; read: {:?}",
                String::from_utf8_lossy(file)
            )),
            None => Ok(()),
        }
    }
}
