//! From settings to what each service takes: the one place where the two meet.

use std::{num::NonZeroU32, time::Duration};

use merch_api::{Cost, Rate, SigningKey};
use merch_chassis::{
    StartError,
    grpc::{Limits, Transport},
};
use merch_db::Location;
use merch_logging::connection::Connection;

use crate::{
    data_dir::DataDir,
    settings::{
        api::Api,
        common::{Grpc, Role},
        db::Db,
        logging::Logging,
    },
};

/// Where a role's broker is: events that a broker in memory forgets are sent to the next one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// Kafka proper, which keeps what it has.
    Kafka,
    /// The one in this process, which starts empty.
    Embedded,
}

/// How many of its last events each source, the api and the db service, keeps for the next start's
/// empty broker, and ships again to it. An event takes about half a kilobyte, so that all of these
/// are some 10 MB there, far below what its eight partitions of 5 MiB hold: more would make each
/// start longer for history that few look at.
const KEPT_FOR_EMBEDDED: u64 = 10_000;

/// Open files that are no connections of clients.
const RESERVED_FILES: u64 = 512;

/// Where the services are that the api calls, and how they are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints<'a> {
    pub(crate) db: &'a str,
    pub(crate) logging: &'a str,
    pub(crate) transport: &'a Transport,
}

/// The keys of tokens.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) signing: SigningKey,
    /// They verify and never sign.
    pub(crate) verifying: Vec<SigningKey>,
}

/// The REST gateway.
///
/// # Errors
/// When the cost of a hash cannot be.
pub(crate) fn api(
    settings: &Api,
    keys: Keys,
    endpoints: Endpoints<'_>,
    data: &DataDir,
    broker: Broker,
    role: &Role,
) -> Result<merch_api::Config, StartError> {
    let mut config =
        merch_api::Config::new(endpoints.db, endpoints.logging, data.journal(), keys.signing);
    config.transport = endpoints.transport.clone();
    config.verify_keys = keys.verifying;
    config.trusted_proxies = settings.trusted_proxies.clone().unwrap_or_default();
    config.cors_origins = settings.cors_origins.clone().unwrap_or_default();
    config.hash_cost = Cost::new(settings.hash_cost)
        .map_err(|error| StartError::new(format!("the cost of a hash (--hash-cost): {error}")))?;
    if config.hash_cost.is_weak() {
        tracing::warn!(
            hash_cost = settings.hash_cost,
            "passwords are hashed at a cost that does not protect them: set --hash-cost to 17 or more outside of tests"
        );
    }
    if let Some(at_once) = settings.hash_concurrency {
        config.hash_concurrency = usize::from(at_once);
        config.hash_queue_capacity =
            merch_api::Config::hash_queue_capacity(config.hash_concurrency);
    }
    config.log_ins_per_address = a_minute(settings.log_in_address_rate);
    config.registrations_per_address = a_minute(settings.registration_address_rate);
    config.write_rate = a_minute(settings.write_rate);
    config.connections = connections(open_files());
    if config.connections < merch_api::Config::CONNECTIONS {
        tracing::warn!(
            connections = config.connections,
            wanted = merch_api::Config::CONNECTIONS,
            "the system limits open files, and with them connections; raise `ulimit -n`"
        );
    }
    config.connections_per_address =
        settings.connections_per_address.map_or(config.connections / 4, usize::from);
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

/// The files that this process may have open. The limit was raised at the start as far as it goes.
fn open_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024)
}

/// How many connections leave room for the other files: databases, journal, calls between services.
fn connections(open_files: u64) -> usize {
    let room = open_files.saturating_sub(RESERVED_FILES).max(open_files / 2);
    usize::try_from(room).map_or(merch_api::Config::CONNECTIONS, |room| {
        room.clamp(1, merch_api::Config::CONNECTIONS)
    })
}

/// The db service.
pub(crate) fn db(
    settings: &Db,
    database: Location,
    logging_endpoint: &str,
    transport: &Transport,
    broker: Broker,
    grpc: &Grpc,
    role: &Role,
) -> merch_db::Config {
    let mut config = merch_db::Config::new(database, logging_endpoint);
    config.transport = transport.clone();
    config.pool.connections = settings.database_connections;
    config.log_ins.per_network = merch_db::Rate::hourly(settings.log_in_rate);
    config.log_ins.over_all = merch_db::Rate::hourly(settings.log_in_account_rate);
    config.shipped_events = match broker {
        Broker::Kafka => merch_db::ShippedEvents::Delete,
        Broker::Embedded => merch_db::ShippedEvents::ShipAgainAtStart { kept: KEPT_FOR_EMBEDDED },
    };
    config.drain = role.drain_timeout;
    config.grpc = limits(grpc, role);
    config
}

/// The logging service.
///
/// # Errors
/// When the topic that is asked for cannot be.
pub(crate) fn logging(
    settings: &Logging,
    kafka: Connection,
    grpc: &Grpc,
    role: &Role,
) -> Result<merch_logging::server::Config, StartError> {
    let mut config = merch_logging::server::Config::new(kafka);
    config.topic = settings.topic.wanted()?;
    config.create_topic = settings.kafka_create_topic;
    config.drain_timeout = role.drain_timeout;
    config.limits = limits(grpc, role);
    Ok(config)
}

fn limits(grpc: &Grpc, role: &Role) -> Limits {
    Limits {
        deadline: role.grpc_deadline,
        drain: role.drain_timeout,
        reflection: grpc.grpc_reflection,
        ..Limits::default()
    }
}

/// So many at once, and so many in each minute after that.
fn a_minute(times: NonZeroU32) -> Rate {
    Rate::new(times, Duration::from_secs(60) / times.get())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{admin_key, settings::Arguments, signing_key};

    #[test]
    fn connections_leave_files_for_everything_else() {
        let all = [256, 1024, 4096, 1 << 20, u64::MAX].map(connections);
        assert_eq!(all, [128, 512, 3584, 16_384, 16_384]);
    }

    #[test]
    fn no_configuration_shows_a_secret() {
        const HUSH: &str = "hush-0123456789abcdef0123456789abcdef";
        let url = format!("postgres://merch:{HUSH}@db.example/merch");
        let line = [
            &[
                "merch",
                "--jwt-key",
                HUSH,
                "--jwt-verify-key",
                HUSH,
                "--admin-token",
                HUSH,
                "--database-url",
                &url,
            ][..],
            &[
                "--database-direct-url",
                &url,
                "--database-password",
                HUSH,
                "--kafka-brokers",
                "kafka.example:9092",
            ],
            &[
                "--kafka-security",
                "sasl_plaintext",
                "--kafka-username",
                "merch",
                "--kafka-password",
                HUSH,
            ],
        ];
        let arguments = Arguments::try_parse_from(line.concat()).unwrap();
        let mut shown = vec![format!("{arguments:?}"), format!("{arguments:#?}")];

        let store = arguments.store;
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path(), &[]).unwrap();
        let given = signing_key::from_settings(&store.keys).unwrap();
        let keys = Keys { signing: given.signing.unwrap(), verifying: given.verifying };
        shown.push(format!("{keys:?}"));
        let transport = Transport::default();
        let endpoints = Endpoints {
            db: "http://127.0.0.1:1",
            logging: "http://127.0.0.1:1",
            transport: &transport,
        };
        shown.push(format!(
            "{:?}",
            api(&store.api, keys, endpoints, &data, Broker::Kafka, &store.role).unwrap()
        ));
        let location = store.database.or_in(folder.path()).unwrap();
        shown.push(format!("{location:?}"));
        let mut db = db(
            &store.db,
            location,
            endpoints.logging,
            &transport,
            Broker::Kafka,
            &store.grpc,
            &store.role,
        );
        db.admin_token = store
            .admin
            .read()
            .unwrap()
            .as_ref()
            .map(|token| admin_key::strong_enough(token).unwrap());
        shown.push(format!("{db:?}"));
        let kafka = store.kafka_security.connection("kafka.example:9092").unwrap();
        shown.push(format!("{kafka:?}"));
        shown.push(format!(
            "{:?}",
            logging(&store.logging, kafka, &store.grpc, &store.role).unwrap()
        ));
        for text in shown {
            assert!(text.len() > 10 && !text.contains("hush"), "{text}");
        }
    }
}
