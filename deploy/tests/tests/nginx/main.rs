//! The NGINX in front of the store, the real one, with stand-ins for the api replicas that write
//! down what they get.
//!
//! NGINX runs from its image, on the network of this machine: the stand-ins listen on addresses of
//! loopback, and a name server of the test says which of them there are. So a replica comes, goes,
//! closes connections or says nothing whenever a test wants it to.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
#![allow(
    clippy::disallowed_macros,
    reason = "what was measured, and what NGINX wrote, is shown with a failure"
)]
#![cfg(target_os = "linux")]

mod client;
mod edge;
mod names;
mod replicas;

mod balancing;
mod limits;
mod problems;
mod repeating;
mod tls;
mod trust;
