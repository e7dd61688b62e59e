//! Where the versions of a new or a restored database begin, so that none comes again for different
//! content.

use std::time::{SystemTime, UNIX_EPOCH};

/// The bits below the seconds: half of their range is for chance, and half for the changes of one
/// row within a second.
const LOW_BITS: u32 = 30;
/// The last second that fits: in the year 2242.
const LAST_SECOND: i64 = (1 << 33) - 2;

/// The versions that rows of a new or a restored database go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The least version: greater than any that an earlier database gave, if no clock was set back
    /// since.
    start: i64,
    /// What a version grows by at least: different each time, should a clock have been set back.
    step: i64,
}

impl Era {
    /// Begins an era now.
    #[must_use]
    pub fn begin() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::of(since_1970.as_secs(), rand::random())
    }

    /// The era of a second since 1970 and a random number.
    fn of(second: u64, random: u32) -> Self {
        let step = i64::from(random) % (1 << (LOW_BITS - 1)) + 1;
        let second = i64::try_from(second).unwrap_or(LAST_SECOND).min(LAST_SECOND);
        Self { start: (second << LOW_BITS) + step, step }
    }

    /// The SQL expression of a column's next version: `greatest` is what the database calls its
    /// function of two numbers.
    #[must_use]
    pub fn next(self, column: &str, is_sqlite: bool) -> String {
        let greatest = if is_sqlite { "max" } else { "greatest" };
        let Self { start, step } = self;
        format!("{greatest}({column} + {step}, {start})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_later_era_begins_above_all_versions_of_an_earlier_one() {
        let (first, second) = (Era::of(NOW, u32::MAX), Era::of(NOW + 1, 0));
        assert!(second.start - first.start >= 1 << (LOW_BITS - 1), "{first:?} {second:?}");
        assert!(Era::of(NOW, 0).start > 1 << 60, "above every version that was counted from 1");
        assert!(
            Era::of(u64::MAX, u32::MAX).start > Era::of(NOW * 4, 0).start,
            "two centuries from now it still fits"
        );
    }

    #[test]
    fn an_era_of_the_same_second_begins_elsewhere() {
        assert_ne!(Era::of(NOW, 7), Era::of(NOW, 8));
        let sql = Era::of(NOW, 7).next("version", true);
        assert_eq!(sql, format!("max(version + 8, {})", (1_800_000_000_i64 << 30) + 8));
        assert!(Era::of(NOW, 7).next("version", false).starts_with("greatest(version + 8, "));
    }
}
