//! The code that every role of the store shares: admin port, gRPC server and client, telemetry,
//! shutdown.
//!
//! A role is a library with one `serve(listener, config, readiness, shutdown)`. It reports its
//! state through [`Readiness`], and drains and returns when `shutdown` is cancelled.

pub mod admin;
pub mod clock;
mod concurrency_limit;
mod error_chain;
pub mod file_permissions;
pub mod grpc;
mod log_throttle;
mod network;
#[cfg(feature = "pki")]
pub mod pki;
mod readiness;
pub mod shutdown;
mod start;
mod sync;
pub mod tcp;
pub mod telemetry;
mod write_class;

pub use concurrency_limit::{ConcurrencyLimit, ConcurrencyPermit};
pub use error_chain::error_chain;
pub use log_throttle::LogThrottle;
pub use network::network;
pub use readiness::{Part, Readiness};
pub use start::{StartError, bind};
pub use write_class::WriteClass;

/// The future of a role's `serve`, boxed so that a role is compiled in its own crate.
pub type ServeFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;
