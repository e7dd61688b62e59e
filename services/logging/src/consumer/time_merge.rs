use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::ConsumerRecord;

/// Limits of the buffer. Beyond them, the oldest record is released.
const MAX_BUFFERED: usize = 10_000;
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(super) struct TimeMerge {
    buffered: BinaryHeap<Reverse<Buffered>>,
    bytes: usize,
    /// Records per partition: a record never precedes an earlier one, even if its clock was behind.
    latest: HashMap<i32, (i64, i32)>,
    arrivals: u64,
}

/// Ordered by time, then by arrival.
struct Buffered {
    order: ((i64, i32), u64),
    record: ConsumerRecord,
}

impl TimeMerge {
    /// Returns the oldest record if the buffer is full.
    pub(super) fn push(&mut self, record: ConsumerRecord) -> Option<ConsumerRecord> {
        let time = match &record.event {
            Ok(event) => event.time.as_ref().map(|time| (time.seconds, time.nanos)),
            Err(_) => None,
        };
        let time = time.unwrap_or_else(|| (record.timestamp.unwrap_or(0).div_euclid(1000), 0));
        let latest = self.latest.entry(record.partition).or_insert(time);
        *latest = time.max(*latest);
        self.arrivals += 1;
        self.bytes += record.value.len();
        self.buffered.push(Reverse(Buffered { order: (*latest, self.arrivals), record }));
        (self.buffered.len() > MAX_BUFFERED || self.bytes > MAX_BUFFERED_BYTES)
            .then(|| self.pop())
            .flatten()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = ConsumerRecord> {
        std::iter::from_fn(|| self.pop())
    }

    fn pop(&mut self) -> Option<ConsumerRecord> {
        let Reverse(Buffered { record, .. }) = self.buffered.pop()?;
        self.bytes -= record.value.len();
        Some(record)
    }
}

impl PartialEq for Buffered {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Buffered {}

impl PartialOrd for Buffered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Buffered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_is_by_time_and_keeps_partition_order() {
        let mut merge = TimeMerge::default();
        // Partition, offset, second. The clock of partition 1 was set back.
        for (partition, offset, second) in
            [(0, 0, 1), (0, 1, 4), (0, 2, 6), (1, 0, 2), (1, 1, 5), (1, 2, 3)]
        {
            let record = ConsumerRecord {
                partition,
                offset,
                timestamp: Some(second * 1000),
                key: None,
                value: vec![],
                event: Err(String::new()),
            };
            assert!(merge.push(record).is_none());
        }
        let order: Vec<(i32, i64)> =
            merge.drain().map(|record| (record.partition, record.offset)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2)]);
    }

    #[test]
    fn buffer_is_bounded() {
        let mut merge = TimeMerge::default();
        let record = |offset, bytes| ConsumerRecord {
            partition: 0,
            offset,
            timestamp: None,
            key: None,
            value: vec![0; bytes],
            event: Err(String::new()),
        };
        let released =
            (0..MAX_BUFFERED as i64 + 5).filter_map(|offset| merge.push(record(offset, 1))).count();
        assert_eq!(released, 5);
        assert_eq!(merge.push(record(0, MAX_BUFFERED_BYTES)).map(|record| record.offset), Some(5));
    }
}
