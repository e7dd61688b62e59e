//! The clock that decides expiry and leases: the database's.
//!
//! On PostgreSQL, this machine's monotonic clock extends readings of the server's clock. The server
//! itself compares the times of keys and leases.
//!
//! On SQLite, shown times are this machine's. Keys age by the monotonic clock, only while this
//! process runs, so no jump of the clock removes one early.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pbjson_types::Timestamp;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement, Value};
use time::OffsetDateTime;

use crate::database::Database;

/// Extra retention of keys: SQLite compares times as text without trailing zeros, which may be
/// wrong within a second.
const SLACK: Duration = Duration::from_secs(1);

/// The clocks of a machine.
pub trait MachineClock: Send + Sync + 'static {
    /// Returns the time of day in UTC. May jump.
    fn now(&self) -> OffsetDateTime;

    /// Returns the time since a fixed moment. Monotonic.
    fn uptime(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl MachineClock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

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

/// How far this machine's clock is ahead of the database's; negative if it is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Skew {
    pub(crate) seconds: f64,
    /// The greatest error of `seconds`.
    pub(crate) uncertainty: f64,
}

#[derive(Clone)]
pub(crate) struct Clock(Arc<Inner>);

struct Inner {
    machine: Arc<dyn MachineClock>,
    backend: DbBackend,
    started: Reading,
    /// On PostgreSQL, a reading that differs by more than its uncertainty replaces it.
    latest: Mutex<Reading>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    pub(crate) async fn start(
        database: &Database,
        machine: Arc<dyn MachineClock>,
    ) -> Result<Self, DbErr> {
        let (started, _) = read(database, machine.as_ref()).await?;
        Ok(Self(Arc::new(Inner {
            machine,
            backend: database.backend(),
            started,
            latest: Mutex::new(started),
        })))
    }

    /// Reads the database's clock again and returns the skew. On SQLite, that is this machine's
    /// jump since the start.
    pub(crate) async fn synchronise(&self, database: &Database) -> Result<Skew, DbErr> {
        let (mut reading, uncertainty) = read(database, self.0.machine.as_ref()).await?;
        if self.is_server_clock() {
            let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
            if (reading.time - latest.at(reading.uptime)).unsigned_abs() > uncertainty {
                *latest = reading;
            }
        } else {
            reading = self.0.started;
        }
        let ahead = self.0.machine.now() - reading.at(self.0.machine.uptime());
        Ok(Skew { seconds: ahead.as_seconds_f64(), uncertainty: uncertainty.as_secs_f64() })
    }

    pub(crate) fn is_server_clock(&self) -> bool {
        self.0.backend == DbBackend::Postgres
    }

    /// Returns the time in UTC, truncated to microseconds as PostgreSQL stores it, so that a row
    /// read later shows the time of the first response.
    pub(crate) fn now(&self) -> OffsetDateTime {
        if self.is_server_clock() {
            self.monotonic()
        } else {
            truncate_to_micros(self.0.machine.now())
        }
    }

    /// Returns the time by the monotonic clock, which never jumps.
    pub(crate) fn monotonic(&self) -> OffsetDateTime {
        let latest = *self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        truncate_to_micros(latest.at(self.0.machine.uptime()))
    }

    /// Returns the parameter for deleting expired rows: on PostgreSQL the retention in seconds, on
    /// SQLite the latest expired time. `None` if no row may expire yet.
    pub(crate) fn expiry(&self, retention: Duration) -> Option<Value> {
        if self.is_server_clock() {
            return Some((retention + SLACK).as_secs_f64().into());
        }
        let running_for = self.0.machine.uptime().saturating_sub(self.0.started.uptime);
        (running_for >= retention).then(|| (self.monotonic() - retention - SLACK).into())
    }
}

/// Also returns the greatest error of the reading.
async fn read(
    database: &Database,
    machine: &dyn MachineClock,
) -> Result<(Reading, Duration), DbErr> {
    if database.backend() != DbBackend::Postgres {
        database.ping().await?;
        return Ok((Reading { time: machine.now(), uptime: machine.uptime() }, Duration::ZERO));
    }
    let sent = machine.uptime();
    let statement = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp() AS now");
    let row = database.within(database.reader().query_one_raw(statement)).await?;
    let uncertainty = machine.uptime().saturating_sub(sent) / 2;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the database's clock".to_owned()))?;
    Ok((Reading { time: row.try_get("", "now")?, uptime: sent + uncertainty }, uncertainty))
}

/// Returns this machine's time, for times that decide nothing.
pub(crate) fn machine_time() -> OffsetDateTime {
    truncate_to_micros(OffsetDateTime::now_utc())
}

fn truncate_to_micros(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(time.nanosecond() / 1_000 * 1_000).unwrap_or(time)
}

pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("the nanoseconds of a second fit an i32");
    Timestamp { seconds: time.unix_timestamp(), nanos }
}
