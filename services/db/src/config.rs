//! What the operator can set about the db service, with the defaults that suit one machine.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use merch_logging::client::rate_limit::EventRateLimits;

use crate::{
    admin_token::AdminToken,
    clock::{MachineClock, SystemClock},
    database::Location,
};

/// Settings of the db service. [`Config::new`] fills in defaults; change what you need.
#[derive(Clone)]
pub struct Config {
    /// A URL such as `postgres://user:password@host:port/database`, or an SQLite file.
    pub database: Location,
    /// How the database is used.
    pub pool: Pool,
    /// How orders are taken.
    pub orders: Orders,
    /// How many passwords may be checked of one account, at all replicas together.
    pub log_ins: LogIns,
    /// How many changes one user may have under way in this process; more are refused with
    /// RESOURCE_EXHAUSTED, `ERROR_REASON_TOO_MANY_WRITES`.
    pub writes_per_user: NonZeroUsize,
    /// Who ships the outbox where several replicas share it.
    pub turns: Turns,
    /// The logging service, `https://host:port`, `http://host:port` or `unix:/path`. Need not be
    /// up: events wait in the outbox.
    pub logging_endpoint: String,
    /// How this process proves who it is, and what it may use to reach others.
    pub transport: merch_chassis::grpc::Transport,
    /// What becomes of an event that has been shipped.
    pub shipped_events: ShippedEvents,
    /// How many refusals of one client become log events of their own; the rest are counted.
    pub refusals: EventRateLimits,
    /// How long the oldest event may wait to be shipped before the service calls itself degraded
    /// (`/readyz`); it serves on.
    pub event_age_limit: Duration,
    /// How long the last events may take to ship when the service stops. What is left waits in the
    /// outbox for the next start.
    pub drain: Duration,
    /// The time between two rounds of housekeeping: old idempotency keys and shipped events.
    pub housekeeping_interval: Duration,
    /// The operator's credential. Without one the operator's service,
    /// `merch.admin.v1.AdminService`, is not offered.
    pub admin_token: Option<AdminToken>,
    /// Bounds of the gRPC server.
    pub grpc: merch_chassis::grpc::Limits,
    /// The clocks of this machine.
    pub clock: Arc<dyn MachineClock>,
}

/// How connections to the database are used. Times are upper bounds; what passes one is answered
/// with UNAVAILABLE.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Connections to PostgreSQL, or readers of an SQLite file (which has one writer besides). At
    /// least 1.
    pub connections: u32,
    /// The wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long a PostgreSQL that cannot be reached yet, or does not accept connections yet, is
    /// waited for at the start.
    pub start_patience: Duration,
    /// One statement (PostgreSQL).
    pub statement_timeout: Duration,
    /// The wait for a lock: of a row in PostgreSQL, of the file in SQLite.
    pub lock_timeout: Duration,
    /// One transaction as a whole.
    pub transaction_timeout: Duration,
    /// How long PostgreSQL lets a transaction stand idle between two statements. Who does that is
    /// frozen or cut off, and holds the rows that every other replica waits for: so it has to be
    /// well below `lock_timeout`, or they all fail with it.
    pub idle_timeout: Duration,
    /// What stands before PostgreSQL, if anything does.
    pub pooler: Option<Pooler>,
    /// A file that holds PostgreSQL's password, which then counts and not that of the URL. It is
    /// looked at again when the server refuses the password, so that it may be changed while the
    /// service runs.
    pub password_file: Option<PathBuf>,
}

/// What stands before PostgreSQL and hands out its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// A connection of PostgreSQL's is one client's for the time of a transaction (PgBouncer with
    /// `pool_mode=transaction`).
    Transaction,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            connections: 16,
            acquire_timeout: Duration::from_secs(3),
            start_patience: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            transaction_timeout: Duration::from_secs(8),
            idle_timeout: Duration::from_secs(1),
            pooler: None,
            password_file: None,
        }
    }
}

/// How orders are taken.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Orders of one transaction, at most. At least 256, as a call may bring as many and is never
    /// divided.
    pub batch: usize,
    /// Orders taken in and not answered yet: those that wait, and those of the transaction in
    /// flight. More are refused with UNAVAILABLE, `ERROR_REASON_OVERLOADED`. At least `batch`; with
    /// less than twice that, less than a batch can wait behind a full one.
    pub queue: usize,
    /// How long an idempotency key is kept. At least 24 hours, by the contract.
    pub idempotency_retention: Duration,
}

impl Default for Orders {
    fn default() -> Self {
        Self { batch: 256, queue: 4096, idempotency_retention: Duration::from_secs(24 * 60 * 60) }
    }
}

/// So many at once, and then one more after each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many may follow one another at once.
    pub burst: NonZeroU32,
    /// The time after which one more is allowed, in whole microseconds; at least one.
    pub period: Duration,
}

impl Rate {
    /// `times` at once, and then `times` an hour.
    #[must_use]
    pub const fn hourly(times: NonZeroU32) -> Self {
        Self { burst: times, period: Duration::from_micros(3_600_000_000 / times.get() as u64) }
    }
}

/// The budgets of password checks: log-ins and changes of a password. A check whose password was
/// right or not hashed is given back, so that these are budgets of wrong passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIns {
    /// For each account in each client network: an IPv4 address or an IPv6 /64.
    pub per_network: Rate,
    /// For each account over all client networks at which it is not known.
    pub over_all: Rate,
    /// For how long an account is known in a client network after it proved its password there.
    pub known_for: Duration,
}

impl Default for LogIns {
    /// 10 wrong passwords an hour from one client network, 100 an hour from all of them, 30 days.
    ///
    /// NIST SP 800-63B allows 100 consecutive failures. Ten networks are needed to exhaust the
    /// second budget, and the networks at which the account is known do not draw from it.
    fn default() -> Self {
        Self {
            per_network: Rate::hourly(NonZeroU32::new(10).expect("not zero")),
            over_all: Rate::hourly(NonZeroU32::new(100).expect("not zero")),
            known_for: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// How several replicas on one PostgreSQL take turns in shipping the outbox. The same for all of
/// them, but while one after another is changed.
#[derive(Clone, Debug)]
pub struct Turns {
    /// How long events wait at most when the replica that ships them is killed: for so long its
    /// lease is made out. 1 s to 60 s.
    pub lease: Duration,
    /// How long a replica tries to ship without any event coming through, before it lets another
    /// try. More than the logging service takes to say that Kafka is away.
    pub patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self { lease: Duration::from_secs(5), patience: Duration::from_secs(30) }
    }
}

/// What becomes of an event in the outbox once Kafka has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShippedEvents {
    /// It is deleted: the broker keeps it.
    Delete,
    /// The newest are kept and shipped again at the next start: the broker lives in this process's
    /// memory and starts empty.
    ShipAgainAtStart {
        /// How many are kept, about: the rest is removed by housekeeping.
        kept: u64,
    },
}

impl Config {
    /// More than a person has under way, and too few to hold up others: a change takes a few
    /// milliseconds of the lock that all sales share.
    pub const WRITES_PER_USER: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

    /// The defaults, for this database and this logging service.
    pub fn new(database: impl Into<Location>, logging_endpoint: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            pool: Pool::default(),
            orders: Orders::default(),
            log_ins: LogIns::default(),
            writes_per_user: Self::WRITES_PER_USER,
            turns: Turns::default(),
            logging_endpoint: logging_endpoint.into(),
            transport: merch_chassis::grpc::Transport::default(),
            shipped_events: ShippedEvents::Delete,
            refusals: EventRateLimits { clients: 4096, ..EventRateLimits::default() },
            event_age_limit: merch_logging::client::DEFAULT_AGE_LIMIT,
            drain: Duration::from_secs(5),
            housekeeping_interval: Duration::from_secs(120),
            admin_token: None,
            grpc: merch_chassis::grpc::Limits::default(),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

/// Without the URL, as it may hold a password.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("database", &self.database)
            .field("pool", &self.pool)
            .field("orders", &self.orders)
            .field("log_ins", &self.log_ins)
            .field("writes_per_user", &self.writes_per_user)
            .field("turns", &self.turns)
            .field("logging_endpoint", &self.logging_endpoint)
            .field("shipped_events", &self.shipped_events)
            .field("drain", &self.drain)
            .field("housekeeping_interval", &self.housekeeping_interval)
            .field("refusals", &self.refusals)
            .field("event_age_limit", &self.event_age_limit)
            .field("admin_token", &self.admin_token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_full_batch_more_than_another_may_wait() {
        let orders = Orders::default();
        assert!(orders.queue > 2 * orders.batch, "{orders:?}");
    }
}
