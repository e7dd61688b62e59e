//! The roles over Apache Kafka.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]
#![cfg(unix)]

/// Need a Java runtime and Maven; `tools/test` skips them if these are missing.
mod needs_java {
    mod roles;
}
#[path = "../support/mod.rs"]
mod support;
