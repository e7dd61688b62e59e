use std::time::{SystemTime, UNIX_EPOCH};

/// The bits below the seconds. Half of their range is random; half is for changes of a row within
/// one second.
const LOW_BITS: u32 = 30;
/// The greatest second that fits, in the year 2242.
const LAST_SECOND: i64 = (1 << 33) - 2;

/// The start of the versions of a new or restored database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionEpoch {
    /// Greater than every version of an earlier database, unless the clock was set back.
    start: i64,
    /// The least increment of a version: random, in case the clock was set back.
    step: i64,
}

impl VersionEpoch {
    /// Returns the epoch of the current second.
    #[must_use]
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::of(since_1970.as_secs(), rand::random())
    }

    fn of(second: u64, random: u32) -> Self {
        let step = i64::from(random) % (1 << (LOW_BITS - 1)) + 1;
        let second = i64::try_from(second).unwrap_or(LAST_SECOND).min(LAST_SECOND);
        Self { start: (second << LOW_BITS) + step, step }
    }

    /// Returns the SQL expression of the next version of `column`.
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
    fn later_epoch_starts_above_all_earlier_versions() {
        let (first, second) = (VersionEpoch::of(NOW, u32::MAX), VersionEpoch::of(NOW + 1, 0));
        assert!(second.start - first.start >= 1 << (LOW_BITS - 1), "{first:?} {second:?}");
        assert!(VersionEpoch::of(NOW, 0).start > 1 << 60, "above every version counted from 1");
        assert!(
            VersionEpoch::of(u64::MAX, u32::MAX).start > VersionEpoch::of(NOW * 4, 0).start,
            "it still fits in two centuries"
        );
    }

    #[test]
    fn epochs_of_one_second_differ() {
        assert_ne!(VersionEpoch::of(NOW, 7), VersionEpoch::of(NOW, 8));
        let sql = VersionEpoch::of(NOW, 7).next("version", true);
        assert_eq!(sql, format!("max(version + 8, {})", (1_800_000_000_i64 << 30) + 8));
        assert!(
            VersionEpoch::of(NOW, 7).next("version", false).starts_with("greatest(version + 8, ")
        );
    }
}
