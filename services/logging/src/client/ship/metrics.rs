use std::sync::LazyLock;

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_gauge_vec,
    register_int_counter_vec, register_int_gauge_vec,
};

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

static CONNECTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "merch_log_ship_connected",
        "1 while the stream to the logging service is open",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static IN_FLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "merch_log_ship_in_flight_events",
        "Log events sent and not yet acknowledged",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static OLDEST: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "merch_log_ship_oldest_timestamp_seconds",
        "Time of the oldest log event sent and not yet acknowledged, in seconds since 1970; 0 if \
         there is none",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static ACKNOWLEDGED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_ship_acknowledged_events_total",
        "Log events that the logging service has acknowledged",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static SENT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_ship_sent_events_total",
        "Log events sent, including repetitions",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static RECONNECTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_ship_reconnects_total",
        "Attempts to reopen the stream",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});
static DEAD_LETTERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_log_ship_dead_letter_events_total",
        "Log events stored as dead letters: invalid, or permanently refused by Kafka",
        &["source"]
    )
    .expect(REGISTERED_ONCE)
});

pub(super) struct ShipMetrics {
    pub(super) connected: IntGauge,
    pub(super) in_flight: IntGauge,
    pub(super) oldest: prometheus::Gauge,
    pub(super) acknowledged: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) reconnects: IntCounter,
    pub(super) dead_letters: IntCounter,
}

impl ShipMetrics {
    pub(super) fn new(source: &str) -> Self {
        Self {
            connected: CONNECTED.with_label_values(&[source]),
            in_flight: IN_FLIGHT.with_label_values(&[source]),
            oldest: OLDEST.with_label_values(&[source]),
            acknowledged: ACKNOWLEDGED.with_label_values(&[source]),
            sent: SENT.with_label_values(&[source]),
            reconnects: RECONNECTS.with_label_values(&[source]),
            dead_letters: DEAD_LETTERS.with_label_values(&[source]),
        }
    }

    pub(super) fn disconnected(&self) {
        self.connected.set(0);
        self.in_flight.set(0);
        self.oldest.set(0.0);
    }
}
