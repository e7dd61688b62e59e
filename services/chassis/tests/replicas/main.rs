//! Calls to several replicas of a service that are killed, paused, restarted and renamed meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
#![allow(
    clippy::disallowed_macros,
    reason = "figures, and a child that tells its parent where it listens"
)]
#![cfg(unix)]

mod aging;
mod cost;
mod finding;
mod losing;
mod refuser;
mod repeating;
mod support;

use std::sync::Arc;

use merch_chassis::Readiness;
use tokio_util::sync::CancellationToken;

/// Not a test: a server in a process of its own, until it is killed.
#[tokio::test]
#[ignore = "the child of the tests"]
async fn child() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening on {}", listener.local_addr().unwrap());
    let (seen, limits) = (Arc::default(), support::limits());
    support::serve(listener, seen, limits, Readiness::default(), CancellationToken::new()).await;
}
