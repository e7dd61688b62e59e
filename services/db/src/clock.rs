//! Time. What times decide is decided by the database's clock, whatever the clock of this machine
//! says.
//!
//! On PostgreSQL the server's clock is read regularly, and goes on from a reading by this machine's
//! monotonic clock: no jump of this machine's clock reaches a row. Keys and leases, which decide
//! something for as long as a day, are compared by the server itself.
//!
//! On SQLite the database has no other clock than this machine's. Times that are shown are of that
//! clock. The age of a key is measured by the monotonic clock of this process alone: a key expires
//! only after this process itself has run for as long as keys are kept, so that no jump, forwards
//! or backwards, before or after a restart, removes one early.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pbjson_types::Timestamp;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement, Value};
use time::OffsetDateTime;

use crate::database::Database;

/// Two times within a second may compare wrongly on SQLite, as text without trailing zeros: keys
/// are kept for this much longer.
const SLACK: Duration = Duration::from_secs(1);

/// The clocks of a machine.
pub trait MachineClock: Send + Sync + 'static {
    /// Returns the time of day, UTC. May jump.
    fn now(&self) -> OffsetDateTime;

    /// Returns the time since any fixed moment. Never goes back.
    fn uptime(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    begun: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl MachineClock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A time of the database, and the uptime of this machine at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    time: OffsetDateTime,
    uptime: Duration,
}

impl Reading {
    fn at(self, uptime: Duration) -> OffsetDateTime {
        self.time + uptime.saturating_sub(self.uptime)
    }
}

/// How far the clock of this machine is ahead of the database's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Skew {
    /// Seconds; negative when it is behind.
    pub(crate) seconds: f64,
    /// Seconds by which that may be wrong.
    pub(crate) uncertainty: f64,
}

/// The database's clock.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Inner>);

struct Inner {
    machine: Arc<dyn MachineClock>,
    backend: DbBackend,
    /// The first reading.
    begun: Reading,
    /// The reading from which the time goes on: replaced by a later one that disagrees with it by
    /// more than its uncertainty; on SQLite the first one.
    latest: Mutex<Reading>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    /// Reads the database's clock for the first time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn begin(
        database: &Database,
        machine: Arc<dyn MachineClock>,
    ) -> Result<Self, DbErr> {
        let (begun, _) = read(database, machine.as_ref()).await?;
        Ok(Self(Arc::new(Inner {
            machine,
            backend: database.backend(),
            begun,
            latest: Mutex::new(begun),
        })))
    }

    /// Reads the database's clock again. Says how far this machine's clock is ahead of it; on
    /// SQLite, how far it has jumped since the start.
    ///
    /// # Errors
    /// If the database does not answer in time.
    pub(crate) async fn synchronise(&self, database: &Database) -> Result<Skew, DbErr> {
        let (mut reading, uncertainty) = read(database, self.0.machine.as_ref()).await?;
        if self.is_of_a_server() {
            let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
            if (reading.time - latest.at(reading.uptime)).unsigned_abs() > uncertainty {
                *latest = reading;
            }
        } else {
            reading = self.0.begun;
        }
        let ahead = self.0.machine.now() - reading.at(self.0.machine.uptime());
        Ok(Skew { seconds: ahead.as_seconds_f64(), uncertainty: uncertainty.as_secs_f64() })
    }

    /// Whether the database has a clock of its own.
    pub(crate) fn is_of_a_server(&self) -> bool {
        self.0.backend == DbBackend::Postgres
    }

    /// Returns the time of the database, in UTC and whole microseconds: what PostgreSQL keeps, so
    /// that a row that is read later shows the time that was answered at first.
    pub(crate) fn now(&self) -> OffsetDateTime {
        if self.is_of_a_server() { self.steady() } else { in_microseconds(self.0.machine.now()) }
    }

    /// Returns the same by the monotonic clock, on SQLite too: it goes on from the start of this
    /// process and never jumps.
    pub(crate) fn steady(&self) -> OffsetDateTime {
        let latest = *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        in_microseconds(latest.at(self.0.machine.uptime()))
    }

    /// The value to which a statement that expires rows compares their age, `None` if none may
    /// expire yet: for PostgreSQL the seconds that they are kept, for SQLite the time before which
    /// they were made.
    pub(crate) fn expiry(&self, retention: Duration) -> Option<Value> {
        if self.is_of_a_server() {
            return Some((retention + SLACK).as_secs_f64().into());
        }
        let running_for = self.0.machine.uptime().saturating_sub(self.0.begun.uptime);
        (running_for >= retention).then(|| (self.steady() - retention - SLACK).into())
    }
}

/// Reads the database's clock, and how far the reading may be wrong. On SQLite it is this
/// machine's.
async fn read(
    database: &Database,
    machine: &dyn MachineClock,
) -> Result<(Reading, Duration), DbErr> {
    if database.backend() != DbBackend::Postgres {
        database.answers().await?;
        return Ok((Reading { time: machine.now(), uptime: machine.uptime() }, Duration::ZERO));
    }
    let asked = machine.uptime();
    let question = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp() AS now");
    let row = database.within(database.reader().query_one_raw(question)).await?;
    let uncertainty = machine.uptime().saturating_sub(asked) / 2;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the database's clock".to_owned()))?;
    Ok((Reading { time: row.try_get("", "now")?, uptime: asked + uncertainty }, uncertainty))
}

/// The time of this machine, for what decides nothing.
pub(crate) fn machine_now() -> OffsetDateTime {
    in_microseconds(OffsetDateTime::now_utc())
}

fn in_microseconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(time.nanosecond() / 1_000 * 1_000).unwrap_or(time)
}

/// For the wire.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos =
        i32::try_from(time.nanosecond()).expect("a second has fewer nanoseconds than fit an i32");
    Timestamp { seconds: time.unix_timestamp(), nanos }
}
