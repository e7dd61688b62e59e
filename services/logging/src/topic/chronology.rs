//! Records of several partitions in the order of time, as far as a bounded memory can put them in
//! order.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::Record;

/// Records that are held back, and bytes of them, at most: the oldest is let go then.
const HELD: usize = 10_000;
const HELD_BYTES: usize = 32 * 1024 * 1024;

/// Holds records back until it is likely that none before them is to come.
#[derive(Default)]
pub(super) struct Chronology {
    held: BinaryHeap<Reverse<Held>>,
    bytes: usize,
    /// The latest time of each partition: within one, no record may overtake another, whatever its
    /// clock said.
    latest: HashMap<i32, (i64, i32)>,
    arrived: u64,
}

/// Ordered by time, and among equals by arrival.
struct Held {
    order: ((i64, i32), u64),
    record: Record,
}

impl Chronology {
    /// Takes a record; gives the oldest if more are held than there is room for.
    pub(super) fn push(&mut self, record: Record) -> Option<Record> {
        let time = match &record.event {
            Ok(event) => event.time.as_ref().map(|time| (time.seconds, time.nanos)),
            Err(_) => None,
        };
        let time = time.unwrap_or_else(|| (record.timestamp.unwrap_or(0).div_euclid(1000), 0));
        let latest = self.latest.entry(record.partition).or_insert(time);
        *latest = time.max(*latest);
        self.arrived += 1;
        self.bytes += record.value.len();
        self.held.push(Reverse(Held { order: (*latest, self.arrived), record }));
        (self.held.len() > HELD || self.bytes > HELD_BYTES).then(|| self.pop()).flatten()
    }

    /// Gives what is held, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Record> {
        std::iter::from_fn(|| self.pop())
    }

    fn pop(&mut self) -> Option<Record> {
        let Reverse(Held { record, .. }) = self.held.pop()?;
        self.bytes -= record.value.len();
        Some(record)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_merged_by_time_and_none_is_out_of_its_own_order() {
        let mut chronology = Chronology::default();
        // Partition, offset, second. In partition 1 the clock went back.
        for (partition, offset, second) in
            [(0, 0, 1), (0, 1, 4), (0, 2, 6), (1, 0, 2), (1, 1, 5), (1, 2, 3)]
        {
            let record = Record {
                partition,
                offset,
                timestamp: Some(second * 1000),
                key: None,
                value: vec![],
                event: Err(String::new()),
            };
            assert!(chronology.push(record).is_none());
        }
        let order: Vec<(i32, i64)> =
            chronology.drain().map(|record| (record.partition, record.offset)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2)]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut chronology = Chronology::default();
        let record = |offset, bytes| Record {
            partition: 0,
            offset,
            timestamp: None,
            key: None,
            value: vec![0; bytes],
            event: Err(String::new()),
        };
        let given =
            (0..HELD as i64 + 5).filter_map(|offset| chronology.push(record(offset, 1))).count();
        assert_eq!(given, 5);
        assert_eq!(chronology.push(record(0, HELD_BYTES)).map(|record| record.offset), Some(5));
    }
}
