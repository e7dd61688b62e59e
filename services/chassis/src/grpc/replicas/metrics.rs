use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_int_counter_vec,
    register_int_gauge_vec,
};

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

static SERVING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "merch_replicas_serving",
        "Healthy replicas of a service, from this process",
        &["service"]
    )
    .expect(REGISTERED_ONCE)
});
static REMOVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_replicas_removed_total",
        "Removed replicas: closed (connection ended), silent (health checks timed out), \
        not_serving, unlisted (no longer resolved), untrusted (certificate or authority)",
        &["service", "reason"]
    )
    .expect(REGISTERED_ONCE)
});
static RETRIED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_calls_retried_total",
        "Retried calls: unprocessed (always retried), or, if idempotent, lost (connection \
        failed), draining, busy, abandoned (replica removed)",
        &["service", "reason"]
    )
    .expect(REGISTERED_ONCE)
});

#[derive(Debug)]
pub(super) struct Metrics {
    service: &'static str,
    pub(super) serving: IntGauge,
}

impl Metrics {
    pub(super) fn new(service: &'static str) -> Self {
        Self { service, serving: SERVING.with_label_values(&[service]) }
    }

    pub(super) fn removed(&self, reason: &str) -> IntCounter {
        REMOVED.with_label_values(&[self.service, reason])
    }

    pub(super) fn retried(&self, reason: &str) -> IntCounter {
        RETRIED.with_label_values(&[self.service, reason])
    }
}
