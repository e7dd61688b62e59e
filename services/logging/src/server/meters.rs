//! The metrics of the logging service.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

/// Streams that are open.
pub(super) static STREAMS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("merch_logging_streams", "Streams of log events that are open")
        .expect(REGISTERED_ONCE)
});
/// Events given to the producer.
pub(super) static TAKEN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("merch_logging_taken_events_total", "Log events taken from senders")
        .expect(REGISTERED_ONCE)
});
/// Events that Kafka acknowledged.
pub(super) static DELIVERED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_delivered_events_total",
        "Log events that Kafka has acknowledged"
    )
    .expect(REGISTERED_ONCE)
});
/// Events that Kafka did not take in time, or refused.
pub(super) static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_failed_events_total",
        "Log events that Kafka refused or did not acknowledge in time"
    )
    .expect(REGISTERED_ONCE)
});
/// Events that Kafka refused for good.
pub(super) static DEAD_LETTERS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_dead_letter_events_total",
        "Log events that Kafka refused for good; their senders keep them"
    )
    .expect(REGISTERED_ONCE)
});
/// Requests that break the contract.
pub(super) static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_refused_requests_total",
        "Requests that break the contract"
    )
    .expect(REGISTERED_ONCE)
});
/// Producers that were given up: after a fatal error, or as Kafka did not take what they held in
/// time.
pub(super) static REPLACED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_replaced_producers_total",
        "Kafka producers that were given up and replaced"
    )
    .expect(REGISTERED_ONCE)
});
