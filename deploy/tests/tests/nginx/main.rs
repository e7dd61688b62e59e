//! NGINX in front of mock api replicas that record requests.
//!
//! NGINX runs from its image in the host's network. The mocks listen on loopback addresses that the
//! test's DNS server lists, so a test can add, kill or hang a replica at any time.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_macros,
    reason = "what was measured, and what NGINX wrote, is shown with a failure"
)]
#![cfg(target_os = "linux")]

mod client;
mod dns;
mod mock_api;
mod proxy;

mod balancing;
mod forwarding;
mod limits;
mod problems;
mod retries;
mod tls;
