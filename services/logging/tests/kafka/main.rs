//! The logging service with Apache Kafka.
//!
//! Most tests share a broker. Tests that stop or reconfigure brokers run one after another, because
//! each broker takes 300 MB.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

/// Need a Java runtime and Maven; `tools/test` skips them if those are missing.
mod needs_java {
    mod broker_failures;
    mod clients;
    mod record_format;
    mod refused_records;
    mod security;
    mod topic_admin;
}
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../logging/support.rs"]
mod logging_support;
mod support;
