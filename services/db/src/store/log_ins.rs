//! How often one name may be tried to log in with, counted in the database: as often at ten replicas as at one.
//!
//! The generic cell rate algorithm (GCRA): of each name one number is kept, the time at which its allowance is whole again. Every attempt counts,
//! a successful one too, and before its password is looked at: an attempt that is counted only afterwards lets any number run at the same time.
//! Names that nobody has count alike, or the difference would tell who has an account.
//!
//! An attempt that is refused costs one look at a row by its key and writes nothing, as a flood must not keep the disk busy; and it is no log event:
//! no password was looked at, and those that led here are all in the log.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Value};
use sha2::{Digest as _, Sha256};

use super::sql::Sql;
use super::users::fold;
use super::{Store, plain};
use crate::config::Rate;
use crate::failure::Failure;
use crate::metrics;

/// How often it is looked again, when others count the same name at the same time.
const ROUNDS: u32 = 4;
/// Rows that one statement removes at most: it must not hold up a log-in.
const BOUND: i64 = 1_000;
/// More than clocks are set back by, little by little. A time further ahead than any attempt can bring about is not believed: the clock was set back by
/// much, or another rate was set, and the name begins anew.
const SLACK: i64 = 1_000_000;

/// The database's time, in microseconds since 1970.
macro_rules! now {
    (postgres) => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
    (sqlite) => {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    };
}

/// How far ahead a name's time is: `$1` the name.
const AHEAD: Sql = Sql {
    postgres: concat!("SELECT whole_at - ", now!(postgres), " AS ahead FROM log_in_attempts WHERE name_digest = $1"),
    sqlite: concat!("SELECT whole_at - ", now!(sqlite), " AS ahead FROM log_in_attempts WHERE name_digest = $1"),
};
/// Counts an attempt, if it may be made: `$1` the name, `$2` what an attempt takes, `$3` how far ahead its time may be for another one, `$4` how far
/// it can be at all.
const COUNT: Sql = Sql {
    postgres: concat!(
        "INSERT INTO log_in_attempts AS a (name_digest, whole_at) VALUES ($1, ",
        now!(postgres),
        " + $2) ON CONFLICT (name_digest) DO UPDATE SET whole_at = $2 + CASE WHEN a.whole_at > ",
        now!(postgres),
        " + $4 THEN ",
        now!(postgres),
        " ELSE greatest(a.whole_at, ",
        now!(postgres),
        ") END WHERE NOT (a.whole_at > ",
        now!(postgres),
        " + $3 AND a.whole_at <= ",
        now!(postgres),
        " + $4)"
    ),
    sqlite: concat!(
        "INSERT INTO log_in_attempts AS a (name_digest, whole_at) VALUES ($1, ",
        now!(sqlite),
        " + $2) ON CONFLICT (name_digest) DO UPDATE SET whole_at = $2 + CASE WHEN a.whole_at > ",
        now!(sqlite),
        " + $4 THEN ",
        now!(sqlite),
        " ELSE max(a.whole_at, ",
        now!(sqlite),
        ") END WHERE NOT (a.whole_at > ",
        now!(sqlite),
        " + $3 AND a.whole_at <= ",
        now!(sqlite),
        " + $4)"
    ),
};
/// Removes names whose allowance is whole; `$1` how many at most.
const FORGET: Sql = Sql {
    postgres: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest IN (SELECT name_digest FROM log_in_attempts WHERE whole_at < ",
        now!(postgres),
        " ORDER BY whole_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    sqlite: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest IN (SELECT name_digest FROM log_in_attempts WHERE whole_at < ",
        now!(sqlite),
        " ORDER BY whole_at LIMIT $1)"
    ),
};

/// A rate in the numbers of the statements, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    /// What an attempt takes.
    each: i64,
    /// How far ahead a name's time may be for another attempt.
    most: i64,
}

impl From<Rate> for Cells {
    fn from(rate: Rate) -> Self {
        // Far beyond any rate, and so small that the numbers can be added to one another and to the time of today.
        const MOST: i64 = i64::MAX / 16;
        let each = i64::try_from(rate.period.as_micros()).unwrap_or(MOST).clamp(1, MOST);
        Self { each, most: (i64::from(rate.burst.get()) - 1).saturating_mul(each).min(MOST) }
    }
}

impl Cells {
    /// How far ahead a name's time can be at all.
    fn whole(self) -> i64 {
        self.most + self.each + SLACK
    }

    /// How long to wait with a name whose time is so far `ahead`.
    fn wait(self, ahead: i64) -> Option<Duration> {
        let wait = (ahead > self.most && ahead <= self.whole()).then_some((ahead - self.most).min(self.each))?;
        u64::try_from(wait).ok().map(Duration::from_micros)
    }
}

impl Store {
    /// Counts an attempt to log in as `username`, in whatever case.
    ///
    /// # Errors
    /// How long to wait, if there were too many; it is not counted then. Or that the database is away.
    pub(crate) async fn count_log_in(&self, username: &str) -> Result<(), Failure> {
        let (name, cells, backend) = (digest(username), Cells::from(self.log_ins), self.database.backend());
        let mut wait = Duration::from_micros(cells.each.unsigned_abs());
        for _ in 0..ROUNDS {
            let look = AHEAD.with(backend, [name.clone()]);
            let row = self.read(|| self.database.reader().query_one_raw(look.clone())).await?;
            let ahead: Option<i64> = row.map(|row| row.try_get("", "ahead")).transpose().map_err(plain)?;
            if let Some(found) = ahead.and_then(|ahead| cells.wait(ahead)) {
                wait = found;
                break;
            }
            let count = COUNT.with(backend, [name.clone(), cells.each.into(), cells.most.into(), cells.whole().into()]);
            if self.database.writer().execute_raw(count).await.map_err(plain)?.rows_affected() == 1 {
                return Ok(());
            }
        }
        metrics::LOG_INS_REFUSED.inc();
        Err(Failure::TooManyLogIns(wait))
    }

    /// Removes the names that have not been tried for so long that their allowance is whole again, a bounded number with each statement. Yields how
    /// many.
    pub(crate) async fn forget_log_ins(&self) -> Result<u64, DbErr> {
        let mut forgotten = 0;
        loop {
            let statement = FORGET.with(self.database.backend(), [BOUND.into()]);
            let removed = self.database.within(self.database.writer().execute_raw(statement)).await?.rows_affected();
            forgotten += removed;
            if removed < BOUND.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }
}

/// What is kept of a name: it may be a password that was typed in the wrong field.
fn digest(username: &str) -> Value {
    Sha256::digest(fold(username)).to_vec().into()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn cells(burst: u32, period: Duration) -> Cells {
        Cells::from(Rate { burst: NonZeroU32::new(burst).unwrap(), period })
    }

    #[test]
    fn a_name_waits_only_while_its_allowance_is_used_up() {
        let cells = cells(10, Duration::from_secs(6));
        assert_eq!(cells.wait(54_000_000), None, "nine were made: one is left");
        assert_eq!(cells.wait(60_000_000), Some(Duration::from_secs(6)));
        assert_eq!(cells.wait(54_000_001), Some(Duration::from_micros(1)));
        assert_eq!(cells.wait(-5), None);
        assert_eq!(cells.wait(60_500_000), Some(Duration::from_secs(6)), "a clock that was set back by a little");
        assert_eq!(cells.wait(3_600_000_000), None, "no attempt can bring this about");
    }

    #[test]
    fn no_rate_is_too_much_for_the_numbers() {
        for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let cells = cells(u32::MAX, period);
            assert!(cells.each >= 1 && cells.whole() > cells.most && cells.whole() < i64::MAX / 2, "{cells:?}");
        }
    }

    #[test]
    fn a_name_is_the_same_in_any_case_and_is_not_kept() {
        assert_eq!(digest("Ada"), digest("aDA"));
        assert_ne!(digest("ada"), digest("adb"));
        assert!(!format!("{:?}", digest("olga")).contains("olga"));
    }
}
