//! Log events of the store: written once, kept on disk until Kafka has them, read back by the
//! operator.
//!
//! | feature | module | for |
//! |---|---|---|
//! | – | [`rules`], [`json`] | what `proto/merch/logging/v1/logging.proto` demands of an event, and its form on the topic |
//! | – | [`client::event`] | building an event |
//! | `client` | [`client`] | the services that write events: a [journal](client::journal::Journal), [shipping](client::ship) |
//! | `server` | [`server`] | the logging service, and the broker in the process |
//! | `server` | [`connection`], [`provision`] | how Kafka is reached, and how its topic is made |
//! | `server` | [`topic`] | `merch logs`: reading the topic |

pub mod client;
pub mod json;
pub mod rules;

#[cfg(feature = "server")]
pub mod connection;
#[cfg(feature = "server")]
pub mod provision;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod topic;

/// The generated contract.
pub use merch_contract::grpc::logging::v1 as proto;
