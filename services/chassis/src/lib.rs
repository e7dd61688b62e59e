//! What every role of the store has in common, and nothing of what the store sells.
//!
//! A role is a library with one `serve(listener, config, readiness, shutdown)`. The caller binds ([`bind`]), so that port 0 works and the address is
//! known before anything runs; the role says through [`Readiness`] whether it can do its work; it drains and returns once `shutdown` is cancelled.

pub mod admin;
mod causes;
pub mod clock;
pub mod file_permissions;
pub mod grpc;
mod in_flight;
#[cfg(feature = "pki")]
pub mod pki;
mod readiness;
pub mod shutdown;
mod start;
pub mod tcp;
pub mod telemetry;

pub use causes::with_causes;
pub use in_flight::{InFlight, InFlightPermit, WriteClass};
pub use readiness::{Part, Readiness};
pub use start::{StartError, bind};

/// A role that serves: what every `serve` returns. Boxed, so that a role is compiled once, in its own crate, and not again in each program that starts it.
pub type Serving = std::pin::Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;
