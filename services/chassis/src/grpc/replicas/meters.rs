//! The metrics of calls to replicas, by the service that is called.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_int_counter_vec,
    register_int_gauge_vec,
};

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

static SERVING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "merch_replicas_serving",
        "Replicas of a service that get calls from this process",
        &["service"]
    )
    .expect(REGISTERED_ONCE)
});
static REMOVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_replicas_removed_total",
        "Replicas that get no more calls: closed (the connection ended), silent, not_serving, unlisted (no longer among the addresses), or untrusted (the certificate or its authority)",
        &["service", "reason"]
    )
    .expect(REGISTERED_ONCE)
});
static REPEATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "merch_calls_repeated_total",
        "Calls that were tried again: never_left (nobody had begun with them), or, if they may be repeated, lost, going_down, busy and abandoned",
        &["service", "reason"]
    )
    .expect(REGISTERED_ONCE)
});

#[derive(Debug)]
pub(super) struct Meters {
    service: &'static str,
    pub(super) serving: IntGauge,
}

impl Meters {
    pub(super) fn new(service: &'static str) -> Self {
        Self { service, serving: SERVING.with_label_values(&[service]) }
    }

    pub(super) fn removed(&self, reason: &str) -> IntCounter {
        REMOVED.with_label_values(&[self.service, reason])
    }

    pub(super) fn repeated(&self, reason: &str) -> IntCounter {
        REPEATED.with_label_values(&[self.service, reason])
    }
}
