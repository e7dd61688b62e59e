use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use merch_logging::client::rate_limit::EventRateLimits;

use crate::{
    admin_token::AdminToken,
    clock::{MachineClock, SystemClock},
    database::{Location, Pool},
};

/// Settings of the db service. [`Config::new`] fills in the defaults, which suit one machine.
#[derive(Clone)]
pub struct Config {
    /// A PostgreSQL URL or an SQLite file.
    pub database: Location,
    /// Limits on the database connections.
    pub pool: Pool,
    /// Limits on placing orders.
    pub orders: Orders,
    /// Budgets of password checks per account, over all replicas.
    pub log_ins: LogIns,
    /// Changes in flight per user in this process. Any more are refused with
    /// `ERROR_REASON_TOO_MANY_WRITES` (`RESOURCE_EXHAUSTED`).
    pub writes_per_user: NonZeroUsize,
    /// How replicas elect the one that ships the outbox.
    pub leader_election: LeaderElection,
    /// The logging service: `https://host:port`, `http://host:port` or `unix:/path`. Events wait in
    /// the outbox while it is down.
    pub logging_endpoint: String,
    /// This process's certificate and the authorities that it trusts.
    pub transport: merch_chassis::grpc::Transport,
    /// What happens to an event after it is shipped.
    pub shipped_events: ShippedEvents,
    /// Refusals per client that are logged as separate events; the rest are only counted.
    pub refusals: EventRateLimits,
    /// The age of the oldest unshipped event at which `/readyz` reports degraded. The service
    /// continues to serve.
    pub event_age_limit: Duration,
    /// The time to ship the last events after a stop signal. The rest wait for the next start.
    pub drain: Duration,
    /// The interval at which expired keys and shipped events are deleted.
    pub housekeeping_interval: Duration,
    /// Without an admin token, `merch.admin.v1.AdminService` is not served.
    pub admin_token: Option<AdminToken>,
    /// Limits of the gRPC server.
    pub grpc: merch_chassis::grpc::Limits,
    /// The clocks of this machine.
    pub clock: Arc<dyn MachineClock>,
}

/// Limits on placing orders.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Orders per transaction. At least 256, as a call may have that many and is never split.
    pub batch: usize,
    /// Orders in the queue and in flight; more are refused with `ERROR_REASON_OVERLOADED`
    /// (`UNAVAILABLE`). At least `batch`; more than twice `batch` lets a full batch wait behind
    /// another.
    pub queue: usize,
    /// The retention of idempotency keys. The contract requires at least 24 hours.
    pub idempotency_retention: Duration,
}

impl Default for Orders {
    fn default() -> Self {
        Self { batch: 256, queue: 4096, idempotency_retention: Duration::from_secs(24 * 60 * 60) }
    }
}

/// A token bucket: `burst` at once, then one after each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The size of the bucket.
    pub burst: NonZeroU32,
    /// The time after which one more is available, in whole microseconds and at least 1 µs.
    pub period: Duration,
}

impl Rate {
    /// Returns a rate with a burst of `times`, and `times` more per hour.
    #[must_use]
    pub const fn hourly(times: NonZeroU32) -> Self {
        Self { burst: times, period: Duration::from_micros(3_600_000_000 / times.get() as u64) }
    }
}

/// Budgets of wrong passwords in log-ins and password changes. Other checks are refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIns {
    /// Per account and client network: an IPv4 address or an IPv6 /64.
    pub per_network: Rate,
    /// Per account over all networks where it is not known.
    pub over_all: Rate,
    /// How long a network stays known for an account after a correct password from it.
    pub known_for: Duration,
}

impl Default for LogIns {
    /// Allows 10 wrong passwords an hour per network and 100 over all networks. A network stays
    /// known for 30 days.
    ///
    /// NIST SP 800-63B allows 100 consecutive failures. Exhausting the second budget takes ten
    /// networks, and known networks do not draw from it.
    fn default() -> Self {
        Self {
            per_network: Rate::hourly(NonZeroU32::new(10).expect("not zero")),
            over_all: Rate::hourly(NonZeroU32::new(100).expect("not zero")),
            known_for: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// How replicas on one PostgreSQL elect the leader, which ships the outbox. Must be the same on all
/// replicas, except during a rolling change.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// The duration of the lease, 1 s to 60 s: the longest pause of shipping after the leader is
    /// killed.
    pub lease: Duration,
    /// A leader that ships no event for this long steps down. Longer than the logging service takes
    /// to report that Kafka is unavailable.
    pub stall_timeout: Duration,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self { lease: Duration::from_secs(5), stall_timeout: Duration::from_secs(30) }
    }
}

/// What happens to an event of the outbox after Kafka has stored it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShippedEvents {
    /// The event is deleted.
    Delete,
    /// The newest events are kept and shipped again at the next start, as the embedded broker is in
    /// memory.
    ShipAgainAtStart {
        /// The approximate number; housekeeping deletes older events.
        kept: u64,
    },
}

impl Config {
    /// More than a person has in flight. Few enough not to delay others, as a change holds the
    /// stock lock for a few milliseconds.
    pub const WRITES_PER_USER: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

    /// Returns the defaults for this database and logging service.
    pub fn new(database: impl Into<Location>, logging_endpoint: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            pool: Pool::default(),
            orders: Orders::default(),
            log_ins: LogIns::default(),
            writes_per_user: Self::WRITES_PER_USER,
            leader_election: LeaderElection::default(),
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

/// Omits the URL, which may contain a password.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("database", &self.database)
            .field("pool", &self.pool)
            .field("orders", &self.orders)
            .field("log_ins", &self.log_ins)
            .field("writes_per_user", &self.writes_per_user)
            .field("leader_election", &self.leader_election)
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
    fn queue_holds_more_than_two_batches() {
        let orders = Orders::default();
        assert!(orders.queue > 2 * orders.batch, "{orders:?}");
    }
}
