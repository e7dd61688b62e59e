//! The logging service: acknowledges log events after Kafka has.

pub(crate) mod batch;
mod dead_letter;
pub mod embedded;
mod error_class;
mod health;
pub(crate) mod kafka_client;
mod metrics;
pub(crate) mod producer;
pub(crate) mod record;
mod service;
pub(crate) mod stream;

use std::{sync::Arc, time::Duration};

use merch_chassis::{
    Readiness, ServeFuture, StartError,
    grpc::{self, Access, Listener, Role},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{kafka_client::Rdkafka, producer::KafkaProducer, service::Service};
use crate::{
    connection::Connection, proto::logging_service_server::LoggingServiceServer, topic_admin::Topic,
};

/// Limit in bytes. Above the contract's 1 MiB, so that a slightly larger request gets a helpful
/// error.
const MAX_DECODED_REQUEST: usize = 4 * 1024 * 1024;

const ACCESS: Access = &[("/merch.logging.v1.LoggingService/StreamLogs", &[Role::Api, Role::Db])];

/// Settings of the logging service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses and security of Kafka.
    pub kafka: Connection,
    /// The topic; applied only if the service creates it.
    pub topic: Topic,
    /// Whether to create the topic; if not, the operator runs `merch topic`.
    pub create_topic: bool,
    /// Time limit of a batch; after it, the sender resends. librdkafka's default is five minutes.
    pub delivery_timeout: Duration,
    /// Bytes queued for Kafka over all streams; then the service stops reading.
    pub queue_bytes: usize,
    /// Requests of a stream that may wait for Kafka.
    pub stream_window: usize,
    /// Interval of Kafka health checks.
    pub check_interval: Duration,
    /// Time limit of a health check.
    pub check_timeout: Duration,
    /// Time limit of the final flush.
    pub drain_timeout: Duration,
    /// Limits of the gRPC server.
    pub limits: grpc::Limits,
}

impl Config {
    /// Returns the defaults for a Kafka connection.
    pub fn new(kafka: impl Into<Connection>) -> Self {
        Self {
            kafka: kafka.into(),
            topic: Topic::new("log-channel"),
            create_topic: true,
            delivery_timeout: Duration::from_secs(20),
            queue_bytes: 64 * 1024 * 1024,
            stream_window: 64,
            check_interval: Duration::from_secs(5),
            check_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(10),
            limits: grpc::Limits::default(),
        }
    }
}

/// Serves `LoggingService` until `shutdown` is cancelled; then acknowledges received requests
/// within [`Config::drain_timeout`]. While Kafka is unreachable, part `kafka` is not ready.
///
/// # Errors
/// If the Kafka settings are invalid or the listener fails.
pub fn serve(
    listener: impl Into<Listener>,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> ServeFuture {
    Box::pin(run(listener.into(), config, readiness, shutdown))
}

async fn run(
    listener: Listener,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let part = readiness.part("kafka");
    let (drain_timeout, limits) = (config.drain_timeout, config.limits.clone());
    let kafka = Arc::new(KafkaProducer::new(config, Rdkafka)?);
    let health_check =
        tokio::spawn(health::watch_health(Arc::clone(&kafka), part, shutdown.clone()));
    let timeouts = tokio::spawn({
        let kafka = Arc::clone(&kafka);
        async move { kafka.enforce_delivery_timeout().await }
    });
    let service = Service::new(Arc::clone(&kafka), shutdown.clone());
    let routes = Routes::new(
        LoggingServiceServer::new(service).max_decoding_message_size(MAX_DECODED_REQUEST),
    );
    let contract = grpc::Contract {
        services: &["merch.logging.v1.LoggingService"],
        file_descriptor_set: merch_contract::grpc::FILE_DESCRIPTOR_SET,
        access: ACCESS,
    };
    let served = grpc::serve(listener, routes, contract, limits, readiness, shutdown).await;
    health_check.abort();
    timeouts.abort();
    // For streams that ended before Kafka's acknowledgement.
    kafka.flush(drain_timeout).await;
    served
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_has_an_access_rule() {
        let set = FileDescriptorSet::decode(merch_contract::grpc::FILE_DESCRIPTOR_SET).unwrap();
        let mut methods = BTreeSet::new();
        for file in set.file.iter().filter(|file| file.package() == "merch.logging.v1") {
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }));
            }
        }
        assert_eq!(
            ACCESS.iter().map(|(method, _)| (*method).to_owned()).collect::<BTreeSet<_>>(),
            methods
        );
    }
}
