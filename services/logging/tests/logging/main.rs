//! Journal, shipping, logging service and consumer over gRPC, with the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
#![allow(clippy::disallowed_macros, reason = "figures")]

mod consumer;
mod journal;
mod outages;
mod replicas;
mod service;
mod shipping;
mod support;
