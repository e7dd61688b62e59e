//! What every role of the store has in common, and nothing of what the store sells.
//!
//! A role is a library with one `serve(listener, config, readiness, shutdown)`. The caller binds ([`bind`]), so that port 0 works and the address is
//! known before anything runs; the role says through [`Readiness`] whether it can do its work; it drains and returns once `shutdown` is cancelled.

pub mod admin;
pub mod grpc;
mod readiness;
pub mod shutdown;
mod start;
pub mod telemetry;

pub use readiness::{Part, Readiness};
pub use start::{StartError, bind};
