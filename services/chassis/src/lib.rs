//! What every role of the store has in common, and nothing of what the store sells. The api and the
//! db service share one type of the store's domain through it: [`WriteClass`].
//!
//! A role is a library with one `serve(listener, config, readiness, shutdown)`. The caller binds
//! ([`bind`]), so that port 0 works and the address is known before anything runs; the role says
//! through [`Readiness`] whether it can do its work; it drains and returns once `shutdown` is
//! cancelled.

pub mod admin;
mod causes;
pub mod clock;
pub mod file_permissions;
pub mod grpc;
mod in_flight;
mod network;
#[cfg(feature = "pki")]
pub mod pki;
mod readiness;
mod refusals;
pub mod shutdown;
mod start;
pub mod tcp;
pub mod telemetry;
mod write_class;

pub use causes::with_causes;
pub use in_flight::{InFlight, InFlightPermit};
pub use network::network;
pub use readiness::{Part, Readiness};
pub use refusals::Refusals;
pub use start::{StartError, bind};
pub use write_class::WriteClass;

/// A role that serves: what every `serve` returns. Boxed, so that a role is compiled once, in its
/// own crate, and not again in each program that starts it.
pub type Serving = std::pin::Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;
