//! Skipped numbers of the outbox: a transaction takes its number when it writes and shows it when
//! it commits. Unless they are awaited, a later event of a subject could be shipped first.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Longer than the time limit of a transaction. A number that was rolled back never appears.
const GAP_TIMEOUT: Duration = Duration::from_secs(30);
/// The most numbers awaited, and how far below the first number read they may be.
const MAX_GAPS: i64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The greatest number read. Lower ones are read or missing.
    seen: Option<i64>,
    missing: BTreeMap<i64, Instant>,
}

impl Gaps {
    /// Forgets what was read, because its numbers may appear again. Missing numbers stay awaited.
    pub(super) fn restart(&mut self) {
        self.seen = None;
    }

    pub(super) fn read(&mut self, rows: &[i64], now: Instant) {
        for row in rows {
            self.missing.remove(row);
        }
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            let from = self.seen.unwrap_or(first - 1 - MAX_GAPS).max(last - 1 - MAX_GAPS).max(0);
            let mut found = rows.iter().copied().skip_while(|row| *row <= from).peekable();
            for number in from + 1..=*last {
                if found.next_if_eq(&number).is_none() {
                    self.missing.entry(number).or_insert(now);
                }
            }
            self.seen = self.seen.max(Some(*last));
        }
        self.missing.retain(|_, since| now.saturating_duration_since(*since) < GAP_TIMEOUT);
        // After a restart, as many numbers that were read before seem to be missing.
        while i64::try_from(self.missing.len()).unwrap_or(i64::MAX) > 2 * MAX_GAPS {
            self.missing.pop_first();
        }
    }

    pub(super) fn up_to(&self, position: i64) -> Vec<i64> {
        self.missing.range(..=position).map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_number_is_awaited_until_read() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[5_000, 5_001, 5_003], now);
        assert_eq!(gaps.up_to(5_003).last(), Some(&5_002));
        assert_eq!(
            gaps.up_to(5_003).first(),
            Some(&4_003),
            "the first number read may not be the first one written"
        );
        gaps.read(&[5_002, 5_006], now);
        assert_eq!(
            gaps.up_to(i64::MAX)
                .iter()
                .filter(|number| **number > 5_000)
                .copied()
                .collect::<Vec<_>>(),
            [5_004, 5_005]
        );
        assert_eq!(gaps.up_to(5_004).last(), Some(&5_004));
    }

    #[test]
    fn missing_number_is_awaited_after_a_restart() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, 3], now);
        gaps.read(&(4..=5_000).collect::<Vec<_>>(), now);
        gaps.restart();
        gaps.read(&[5_000, 5_001], now);
        assert_eq!(gaps.up_to(10), [2]);
    }

    #[test]
    fn missing_number_times_out() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, 3], now);
        assert_eq!(gaps.up_to(3), [2]);
        gaps.read(&[], now + GAP_TIMEOUT / 2);
        assert_eq!(gaps.up_to(3), [2]);
        gaps.read(&[], now + GAP_TIMEOUT);
        assert_eq!(gaps.up_to(3), [] as [i64; 0]);
    }

    #[test]
    fn rereading_adds_no_gaps() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, 2, 3, 4, 6], now);
        // 1 and 2 were shipped and deleted.
        gaps.read(&[3, 4], now);
        assert_eq!(gaps.up_to(i64::MAX), [5]);
    }

    #[test]
    fn number_of_gaps_is_bounded() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, i64::MAX - 1], now);
        assert_eq!(i64::try_from(gaps.up_to(i64::MAX).len()).unwrap(), MAX_GAPS);
    }
}
