//! Log events of the store: building, journaling and shipping them, writing them to Kafka, and
//! reading them back.
//!
//! | feature | module | contents |
//! |---|---|---|
//! | – | [`rules`], [`json`] | validation rules of `logging.proto`; JSON encoding of records |
//! | – | [`client::event`] | event builder |
//! | `client` | [`client`] | journal and shipping, for services that write events |
//! | `server` | [`server`] | the logging service and the embedded broker |
//! | `server` | [`connection`], [`topic_admin`] | connection to Kafka; creation of the topic |
//! | `server` | [`consumer`] | consumer behind `merch logs` |

pub mod client;
pub mod json;
pub mod rules;

#[cfg(feature = "server")]
pub mod connection;
#[cfg(feature = "server")]
pub mod consumer;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod topic_admin;

/// The generated contract.
pub use merch_contract::grpc::logging::v1 as proto;
