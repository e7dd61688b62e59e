//! Events from the disk of a service to the topic and back, over real parts: gRPC, and librdkafka's
//! broker as Kafka.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
#![allow(clippy::disallowed_macros, reason = "figures")]

mod journal;
mod outages;
mod replicas;
mod service;
mod shipping;
mod support;
mod topic;
