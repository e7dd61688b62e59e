//! Log events of the store.
//!
//! | feature | module | contents |
//! |---|---|---|
//! | – | [`rules`], [`json`] | validation; JSON encoding |
//! | – | [`client::event`] | event builder |
//! | `client` | [`client`] | journal and shipping |
//! | `server` | [`server`] | logging service, embedded broker |
//! | `server` | [`connection`], [`topic_admin`] | Kafka settings; the topic |
//! | `server` | [`consumer`] | consumer of `merch logs` |

pub mod client;
pub mod json;
pub mod rules;
#[cfg(all(test, feature = "client"))]
mod simulation;
#[cfg(any(feature = "client", feature = "server"))]
mod sync;

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
