//! The logging service over Apache Kafka itself: what librdkafka's own broker cannot show.
//!
//! One broker is shared by those tests that do it no harm, each with a topic of its own. The others
//! have theirs one after another, as each takes 300 MB.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

/// Tests that need a Java runtime and Maven; `tools/test` skips them where those are missing.
mod needs_java {
    mod clients;
    mod generations;
    mod provision;
    mod refusals;
    mod security;
    mod trouble;
}
mod support;
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../logging/support.rs"]
mod with;
