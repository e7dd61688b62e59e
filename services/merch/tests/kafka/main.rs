//! The roles over Apache Kafka.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

/// Need a Java runtime and Maven; `tools/test` skips them if these are missing.
mod needs_java {
    mod roles;
}
#[path = "../support/mod.rs"]
mod support;
