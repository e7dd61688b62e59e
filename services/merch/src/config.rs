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
        common::{Grpc, ProcessSettings},
        db::Db,
        logging::Logging,
    },
};

/// The Kafka broker. The embedded one loses its events at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    Kafka,
    Embedded,
}

/// Events that the api and the db service each retain for the embedded broker, which starts empty.
/// At about 500 bytes each, these are 10 MB of its 40 MiB.
const RETAINED_EVENTS: u64 = 10_000;

/// Reserved for files that are not client connections.
const RESERVED_FILES: u64 = 512;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceEndpoints<'a> {
    pub(crate) db: &'a str,
    pub(crate) logging: &'a str,
    pub(crate) transport: &'a Transport,
}

#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) signing: SigningKey,
    pub(crate) verifying: Vec<SigningKey>,
}

pub(crate) fn api(
    settings: &Api,
    keys: Keys,
    endpoints: ServiceEndpoints<'_>,
    data: &DataDir,
    broker: Broker,
    role: &ProcessSettings,
) -> Result<merch_api::Config, StartError> {
    let mut config =
        merch_api::Config::new(endpoints.db, endpoints.logging, data.journal(), keys.signing);
    config.transport = endpoints.transport.clone();
    config.verify_keys = keys.verifying;
    config.trusted_proxies = settings.trusted_proxies.clone().unwrap_or_default();
    config.cors_origins = settings.cors_origins.clone().unwrap_or_default();
    config.hash_cost = Cost::new(settings.hash_cost)
        .map_err(|error| StartError::new(format!("--hash-cost (MERCH_HASH_COST): {error}")))?;
    if config.hash_cost.is_weak() {
        tracing::warn!(
            hash_cost = settings.hash_cost,
            "password hashes are too cheap to protect passwords; set --hash-cost to 17 or more \
             outside of tests"
        );
    }
    if let Some(at_once) = settings.hash_concurrency {
        config.hash_concurrency = usize::from(at_once);
        config.hash_queue_capacity =
            merch_api::Config::hash_queue_capacity(config.hash_concurrency);
    }
    config.log_ins_per_address = per_minute(settings.log_in_address_rate);
    config.registrations_per_address = per_minute(settings.registration_address_rate);
    config.write_rate = per_minute(settings.write_rate);
    config.connections = connection_limit(open_files());
    if config.connections < merch_api::Config::CONNECTIONS {
        tracing::warn!(
            connections = config.connections,
            wanted = merch_api::Config::CONNECTIONS,
            "the open file limit lowers the connection limit; raise `ulimit -n`"
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
        config.journal.retained_events = RETAINED_EVENTS;
        config.journal.replay_retained = true;
    }
    Ok(config)
}

/// `main` has raised the limit to the hard limit.
fn open_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024)
}

fn connection_limit(open_files: u64) -> usize {
    let room = open_files.saturating_sub(RESERVED_FILES).max(open_files / 2);
    usize::try_from(room).map_or(merch_api::Config::CONNECTIONS, |room| {
        room.clamp(1, merch_api::Config::CONNECTIONS)
    })
}

pub(crate) fn db(
    settings: &Db,
    database: Location,
    logging_endpoint: &str,
    transport: &Transport,
    broker: Broker,
    grpc: &Grpc,
    role: &ProcessSettings,
) -> merch_db::Config {
    let mut config = merch_db::Config::new(database, logging_endpoint);
    config.transport = transport.clone();
    config.pool.connections = settings.database_connections;
    config.log_ins.per_network = merch_db::Rate::hourly(settings.log_in_rate);
    config.log_ins.over_all = merch_db::Rate::hourly(settings.log_in_account_rate);
    config.shipped_events = match broker {
        Broker::Kafka => merch_db::ShippedEvents::Delete,
        Broker::Embedded => merch_db::ShippedEvents::ShipAgainAtStart { kept: RETAINED_EVENTS },
    };
    config.drain = role.drain_timeout;
    config.grpc = limits(grpc, role);
    config
}

pub(crate) fn logging(
    settings: &Logging,
    kafka: Connection,
    grpc: &Grpc,
    role: &ProcessSettings,
) -> Result<merch_logging::server::Config, StartError> {
    let mut config = merch_logging::server::Config::new(kafka);
    config.topic = settings.topic.to_topic()?;
    config.create_topic = settings.kafka_create_topic;
    config.drain_timeout = role.drain_timeout;
    config.limits = limits(grpc, role);
    Ok(config)
}

fn limits(grpc: &Grpc, role: &ProcessSettings) -> Limits {
    Limits {
        deadline: role.grpc_deadline,
        drain: role.drain_timeout,
        reflection: grpc.grpc_reflection,
        ..Limits::default()
    }
}

/// Refills once a minute.
fn per_minute(times: NonZeroU32) -> Rate {
    Rate::new(times, Duration::from_secs(60) / times.get())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{admin_key, settings::Arguments, signing_key};

    #[test]
    fn connection_limit_reserves_descriptors() {
        let all = [256, 1024, 4096, 1 << 20, u64::MAX].map(connection_limit);
        assert_eq!(all, [128, 512, 3584, 16_384, 16_384]);
    }

    #[test]
    fn debug_output_hides_secrets() {
        const SECRET: &str = "hush-0123456789abcdef0123456789abcdef";
        let url = format!("postgres://merch:{SECRET}@db.example/merch");
        let line = [
            &[
                "merch",
                "--jwt-key",
                SECRET,
                "--jwt-verify-key",
                SECRET,
                "--admin-token",
                SECRET,
                "--database-url",
                &url,
            ][..],
            &[
                "--database-direct-url",
                &url,
                "--database-password",
                SECRET,
                "--kafka-brokers",
                "kafka.example:9092",
            ],
            &[
                "--kafka-security",
                "sasl_plaintext",
                "--kafka-username",
                "merch",
                "--kafka-password",
                SECRET,
            ],
        ];
        let arguments = Arguments::try_parse_from(line.concat()).unwrap();
        let mut shown = vec![format!("{arguments:?}"), format!("{arguments:#?}")];

        let store = arguments.whole_store;
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path(), &[]).unwrap();
        let configured = signing_key::from_settings(&store.keys).unwrap();
        let keys = Keys { signing: configured.signing.unwrap(), verifying: configured.verifying };
        shown.push(format!("{keys:?}"));
        let transport = Transport::default();
        let endpoints = ServiceEndpoints {
            db: "http://127.0.0.1:1",
            logging: "http://127.0.0.1:1",
            transport: &transport,
        };
        shown.push(format!(
            "{:?}",
            api(&store.api, keys, endpoints, &data, Broker::Kafka, &store.role).unwrap()
        ));
        let location = store.database.or_in(dir.path()).unwrap();
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
        db.admin_token =
            store.admin.read().unwrap().as_ref().map(|token| admin_key::validate(token).unwrap());
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
