//! From settings to what each service takes: the one place where the two meet.

use std::{num::NonZeroU32, time::Duration};

use merch_api::{Cost, Rate, SigningKey};
use merch_chassis::{StartError, grpc::Limits};

use crate::{
    data_dir::DataDir,
    settings::{api::Api, common::Role, db::Db, logging::Topic},
};

/// Where a role's broker is: events that a broker in memory forgets are sent to the next one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// Kafka proper, which keeps what it has.
    Kafka,
    /// The one in this process, which starts empty.
    Embedded,
}

/// How many of its last events each source, the api and the db service, keeps for the next start's empty broker, and ships again to it. An event takes
/// about half a kilobyte, so that all of these are some 10 MB there, far below what its eight partitions of 5 MiB hold: more would make each start longer
/// for history that few look at.
const KEPT_FOR_EMBEDDED: u64 = 10_000;

/// Where the services are that the gateway calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints<'a> {
    pub(crate) db: &'a str,
    pub(crate) logging: &'a str,
}

/// The REST gateway.
///
/// # Errors
/// When the cost of a hash cannot be.
pub(crate) fn api(
    settings: &Api,
    key: SigningKey,
    endpoints: Endpoints<'_>,
    data: &DataDir,
    broker: Broker,
    role: &Role,
) -> Result<merch_api::Config, StartError> {
    let mut config = merch_api::Config::new(endpoints.db, endpoints.logging, data.journal(), key);
    config.hash_cost =
        Cost::new(settings.hash_cost).map_err(|error| StartError::new(format!("the cost of a hash (--hash-cost): {error}")))?;
    if config.hash_cost.is_weak() {
        tracing::warn!(
            hash_cost = settings.hash_cost,
            "passwords are hashed at a cost that does not protect them: set --hash-cost to 17 or more outside of tests"
        );
    }
    if let Some(at_once) = settings.hash_concurrency {
        config.hashes_at_once = usize::from(at_once);
        config.hashes_waiting = merch_api::Config::hashes_waiting(config.hashes_at_once);
    }
    config.log_ins_per_account = a_minute(settings.log_in_rate);
    config.log_ins_per_address = a_minute(settings.log_in_address_rate);
    config.body_limit = settings.body_limit;
    config.header_limit = settings.header_limit;
    config.request_timeout = settings.request_timeout;
    config.call_deadline = role.grpc_deadline;
    config.drain_timeout = role.drain_timeout;
    config.ship_timeout = role.drain_timeout;
    if broker == Broker::Embedded {
        config.journal.retained_events = KEPT_FOR_EMBEDDED;
        config.journal.replay_retained = true;
    }
    Ok(config)
}

/// The db service.
pub(crate) fn db(settings: &Db, database_url: String, logging_endpoint: &str, broker: Broker, role: &Role) -> merch_db::Config {
    let mut config = merch_db::Config::new(database_url, logging_endpoint);
    config.pool.connections = settings.database_connections;
    config.shipped_events = match broker {
        Broker::Kafka => merch_db::ShippedEvents::Delete,
        Broker::Embedded => merch_db::ShippedEvents::ShipAgainAtStart { kept: KEPT_FOR_EMBEDDED },
    };
    config.drain = role.drain_timeout;
    config.grpc = limits(role);
    config
}

/// The logging service.
pub(crate) fn logging(brokers: &str, topic: &Topic, role: &Role) -> merch_logging::server::Config {
    let mut config = merch_logging::server::Config::new(brokers);
    config.topic.clone_from(&topic.kafka_topic);
    config.drain_timeout = role.drain_timeout;
    config.limits = limits(role);
    config
}

fn limits(role: &Role) -> Limits {
    Limits { deadline: role.grpc_deadline, drain: role.drain_timeout, ..Limits::default() }
}

/// So many at once, and so many in each minute after that.
fn a_minute(times: NonZeroU32) -> Rate {
    Rate::new(times, Duration::from_secs(60) / times.get())
}
