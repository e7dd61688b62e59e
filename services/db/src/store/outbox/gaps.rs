//! The numbers of the outbox that may still turn up behind what was read: transactions take their
//! number when they write and show it when they commit.
//!
//! Reading on from the last number alone would miss such a row until reading begins anew, and send
//! a later event of the same subject before it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a missing number is waited for: longer than a transaction may take. One that is rolled
/// back never turns up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far behind the first number that is ever read others are waited for; and how many numbers
/// are waited for at most.
const DEPTH: i64 = 1_000;

/// What one turn of reading has seen.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The highest number that was ever read; all below it are read or missing.
    seen: Option<i64>,
    missing: BTreeMap<i64, Instant>,
}

impl Gaps {
    /// Takes note of what was read: `rows` are the numbers found, ascending.
    pub(super) fn read(&mut self, rows: &[i64], now: Instant) {
        for row in rows {
            self.missing.remove(row);
        }
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            let from = self.seen.unwrap_or(first - 1 - DEPTH).max(last - 1 - DEPTH).max(0);
            let mut found = rows.iter().copied().skip_while(|row| *row <= from).peekable();
            for number in from + 1..=*last {
                if found.next_if_eq(&number).is_none() {
                    self.missing.entry(number).or_insert(now);
                }
            }
            self.seen = self.seen.max(Some(*last));
        }
        self.missing.retain(|_, since| now.saturating_duration_since(*since) < PATIENCE);
        while i64::try_from(self.missing.len()).unwrap_or(i64::MAX) > DEPTH {
            self.missing.pop_first();
        }
    }

    /// The numbers up to `position` that may still turn up, ascending.
    pub(super) fn up_to(&self, position: i64) -> Vec<i64> {
        self.missing.range(..=position).map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_passed_over_is_waited_for_until_it_turns_up() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[5_000, 5_001, 5_003], now);
        assert_eq!(gaps.up_to(5_003).last(), Some(&5_002));
        assert_eq!(
            gaps.up_to(5_003).first(),
            Some(&4_003),
            "so far back, as one of them may have been first"
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
    fn one_that_never_turns_up_is_forgotten() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, 3], now);
        assert_eq!(gaps.up_to(3), [2]);
        gaps.read(&[], now + PATIENCE / 2);
        assert_eq!(gaps.up_to(3), [2]);
        gaps.read(&[], now + PATIENCE);
        assert_eq!(gaps.up_to(3), [] as [i64; 0]);
    }

    #[test]
    fn reading_again_from_the_oldest_finds_no_new_gaps_in_what_was_seen() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, 2, 3, 4, 6], now);
        // 1 and 2 were shipped and deleted meanwhile.
        gaps.read(&[3, 4], now);
        assert_eq!(gaps.up_to(i64::MAX), [5]);
    }

    #[test]
    fn a_leap_is_not_remembered_number_by_number() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.read(&[1, i64::MAX - 1], now);
        assert_eq!(i64::try_from(gaps.up_to(i64::MAX).len()).unwrap(), DEPTH);
    }
}
