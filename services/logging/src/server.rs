//! The logging service: takes log events over gRPC and acknowledges them once Kafka has.

mod batch;
mod dead_letter;
pub mod embedded;
mod error_class;
mod kafka;
mod meters;
mod record;
mod service;
mod stream;
mod watch;

use std::{sync::Arc, time::Duration};

use merch_chassis::{
    Readiness, Serving, StartError,
    grpc::{self, Access, Listener, Role},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{kafka::Kafka, service::Service};
use crate::{
    connection::Connection, proto::logging_service_server::LoggingServiceServer, provision::Topic,
};

/// Bytes of a request that are read before it is refused. More than the contract allows, so that
/// one that is a little too large is told what is wrong.
const READABLE_REQUEST: usize = 4 * 1024 * 1024;

/// The roles that write events.
const ACCESS: Access = &[("/merch.logging.v1.LoggingService/StreamLogs", &[Role::Api, Role::Db])];

/// The settings of the logging service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Kafka is, and how it is spoken to.
    pub kafka: Connection,
    /// The topic, as it is made should it be missing. One that is there is used as it is.
    pub topic: Topic,
    /// Whether it may be made here; else somebody else has to (`merch topic`).
    pub create_topic: bool,
    /// How long Kafka may take to acknowledge an event before the sender is told to send it again.
    /// librdkafka's own default is five minutes.
    pub delivery_timeout: Duration,
    /// Bytes that wait for Kafka, of all streams together; past them the streams are read no
    /// further.
    pub queue_bytes: usize,
    /// Requests of one stream that wait for Kafka.
    pub stream_window: usize,
    /// How often Kafka is asked whether it is there, for `/readyz`.
    pub check_interval: Duration,
    /// How long Kafka may take to answer that.
    pub check_timeout: Duration,
    /// How long a shutdown waits for Kafka.
    pub drain_timeout: Duration,
    /// The bounds of the gRPC server.
    pub limits: grpc::Limits,
}

impl Config {
    /// The defaults, for that Kafka.
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

/// Serves `LoggingService` until `shutdown` is cancelled; then nothing more is taken, and what was
/// taken is acknowledged to its sender, within [`Config::drain_timeout`].
///
/// A Kafka that is not there is no error: the service is not ready (part `kafka`) until it is, and
/// events wait where they come from.
///
/// # Errors
/// When the settings for Kafka make no sense, or the listener cannot be used.
pub fn serve(
    listener: impl Into<Listener>,
    config: Config,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Serving {
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
    let kafka = Arc::new(Kafka::new(config)?);
    let watching = tokio::spawn(watch::watch(Arc::clone(&kafka), part, shutdown.clone()));
    let giving_up = tokio::spawn({
        let kafka = Arc::clone(&kafka);
        async move { kafka.give_up_in_time().await }
    });
    let service = Service::new(Arc::clone(&kafka), shutdown.clone());
    let routes =
        Routes::new(LoggingServiceServer::new(service).max_decoding_message_size(READABLE_REQUEST));
    let contract = grpc::Contract {
        services: &["merch.logging.v1.LoggingService"],
        file_descriptor_set: merch_contract::grpc::FILE_DESCRIPTOR_SET,
        access: ACCESS,
    };
    let served = grpc::serve(listener, routes, contract, limits, readiness, shutdown).await;
    watching.abort();
    giving_up.abort();
    // The streams have waited for what they took; this is for those that were cut off.
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
    fn every_method_of_the_contract_says_who_may_call_it() {
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
