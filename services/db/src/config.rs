//! What the operator can set about the db service, with the defaults that suit one machine.

use std::fmt;
use std::time::Duration;

/// Settings of the db service. [`Config::new`] fills in defaults; change what you need.
#[derive(Clone)]
pub struct Config {
    /// `postgres://user:password@host:port/database` or `sqlite:///path/to/file`.
    pub database_url: String,
    /// How the database is used.
    pub pool: Pool,
    /// How orders are taken.
    pub orders: Orders,
    /// The logging service, `http://host:port`. Need not be up: events wait in the outbox.
    pub logging_endpoint: String,
    /// What becomes of an event that has been shipped.
    pub shipped_events: ShippedEvents,
    /// How long the last events may take to ship when the service stops. What is left waits in the outbox for the next start.
    pub drain: Duration,
    /// The time between two rounds of housekeeping: old idempotency keys and shipped events.
    pub housekeeping_interval: Duration,
    /// Bounds of the gRPC server.
    pub grpc: merch_chassis::grpc::Limits,
}

/// How connections to the database are used. Times are upper bounds; what passes one is answered with UNAVAILABLE.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Connections to PostgreSQL, or readers of an SQLite file (which has one writer besides). At least 1.
    pub connections: u32,
    /// The wait for a free connection.
    pub acquire_timeout: Duration,
    /// One statement (PostgreSQL).
    pub statement_timeout: Duration,
    /// The wait for a lock: of a row in PostgreSQL, of the file in SQLite.
    pub lock_timeout: Duration,
    /// One transaction as a whole; also how long PostgreSQL lets one stand idle.
    pub transaction_timeout: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            connections: 16,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            transaction_timeout: Duration::from_secs(8),
        }
    }
}

/// How orders are taken.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Orders of one transaction, at most. At least 256, as a call may bring as many and is never divided.
    pub batch: usize,
    /// Orders taken in and not answered yet: those that wait, and those of the transaction in flight. More are refused with UNAVAILABLE,
    /// `ERROR_REASON_OVERLOADED`. At least `batch`; with less than twice that, less than a batch can wait behind a full one.
    pub queue: usize,
    /// How long an idempotency key is kept. At least 24 hours, by the contract.
    pub idempotency_retention: Duration,
}

impl Default for Orders {
    fn default() -> Self {
        Self { batch: 256, queue: 4096, idempotency_retention: Duration::from_secs(24 * 60 * 60) }
    }
}

/// What becomes of an event in the outbox once Kafka has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShippedEvents {
    /// It is deleted: the broker keeps it.
    Delete,
    /// The newest are kept and shipped again at the next start: the broker lives in this process's memory and starts empty.
    ShipAgainAtStart {
        /// How many are kept, about: the rest is removed by housekeeping.
        kept: u64,
    },
}

impl Config {
    /// The defaults, for this database and this logging service.
    pub fn new(database_url: impl Into<String>, logging_endpoint: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            pool: Pool::default(),
            orders: Orders::default(),
            logging_endpoint: logging_endpoint.into(),
            shipped_events: ShippedEvents::Delete,
            drain: Duration::from_secs(5),
            housekeeping_interval: Duration::from_secs(120),
            grpc: merch_chassis::grpc::Limits::default(),
        }
    }
}

/// Without the URL, as it may hold a password.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("database_url", &"(redacted)")
            .field("pool", &self.pool)
            .field("orders", &self.orders)
            .field("logging_endpoint", &self.logging_endpoint)
            .field("shipped_events", &self.shipped_events)
            .field("drain", &self.drain)
            .field("housekeeping_interval", &self.housekeeping_interval)
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
