use std::sync::LazyLock;

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

pub(super) static STREAMS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("merch_logging_streams", "Streams of log events that are open")
        .expect(REGISTERED_ONCE)
});
pub(super) static TAKEN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("merch_logging_received_events_total", "Log events received from senders")
        .expect(REGISTERED_ONCE)
});
pub(super) static DELIVERED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_delivered_events_total",
        "Log events that Kafka has acknowledged"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_failed_events_total",
        "Log events that Kafka refused or did not acknowledge in time"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static DEAD_LETTERS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_dead_letter_events_total",
        "Log events that Kafka refused permanently; their senders store them as dead letters"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_refused_requests_total",
        "Requests refused because they violate the contract"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static REPLACED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_logging_producer_replacements_total",
        "Kafka producers replaced after an error"
    )
    .expect(REGISTERED_ONCE)
});
