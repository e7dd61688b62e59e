//! Tests client-side load balancing.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(
    clippy::disallowed_macros,
    reason = "measurements, and a child that reports its address to the parent"
)]
#![cfg(unix)]

mod connection_age;
mod discovery;
mod failover;
mod overhead;
mod rejecting_server;
mod retries;
mod support;
#[path = "../fixtures/unary.rs"]
mod unary;

use std::sync::Arc;

use merch_chassis::Readiness;
use tokio_util::sync::CancellationToken;

/// The child process of the tests: a server.
#[tokio::test]
#[ignore = "the child of the tests"]
async fn child() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening on {}", listener.local_addr().unwrap());
    let (observed, limits) = (Arc::default(), support::limits());
    support::serve(listener, observed, limits, Readiness::default(), CancellationToken::new())
        .await;
}
