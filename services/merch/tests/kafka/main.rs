//! The roles over Apache Kafka itself.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
#![cfg(unix)]

/// Tests that need a Java runtime and Maven; `tools/test` skips them where those are missing.
mod needs_java {
    mod roles;
}
#[path = "../support/mod.rs"]
mod support;
