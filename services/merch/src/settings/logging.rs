//! Settings of the logging service, and of those who send it events.

use std::net::SocketAddr;

use clap::Args;

use super::values;

/// What the logging service listens on, and where events go.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Where the logging service takes gRPC calls: not for the public [default: 127.0.0.1:50052 for `merch logging`; any free port of 127.0.0.1 for the
    /// whole store]
    #[arg(long, env = "MERCH_LOGGING_LISTEN", value_name = "ADDRESS", value_parser = values::address, help_heading = "Addresses")]
    pub(crate) logging_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) topic: Topic,
}

/// The topic of the events.
#[derive(Debug, Args)]
pub(crate) struct Topic {
    /// The Kafka topic of the log events
    #[arg(long, env = "MERCH_KAFKA_TOPIC", value_name = "TOPIC", default_value = "log-channel", value_parser = values::topic, help_heading = "Storage")]
    pub(crate) kafka_topic: String,
}

/// Where the services send their events.
#[derive(Debug, Args)]
pub(crate) struct Endpoint {
    /// Where the logging service is. It need not be up: events wait on disk
    #[arg(long, env = "MERCH_LOGGING_ENDPOINT", value_name = "URL", default_value = "http://127.0.0.1:50052", value_parser = values::endpoint, help_heading = "Addresses")]
    pub(crate) logging_endpoint: String,
}
