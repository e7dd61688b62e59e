//! Metrics of requests. No label is a path, an id or an address.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    HistogramVec, IntCounter, IntGauge, register_histogram_vec, register_int_counter,
    register_int_gauge,
};

/// Registered once, for any number of servers in a process.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let invariant = "the names are registered only here";
    Metrics {
        duration: register_histogram_vec!(
            "merch_api_request_duration_seconds",
            "Time from the end of the headers to the response, by operation and status",
            &["operation", "status"],
            vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        )
        .expect(invariant),
        in_flight: register_int_gauge!("merch_api_requests_in_flight", "Requests in flight")
            .expect(invariant),
        cancelled: register_int_counter!(
            "merch_api_requests_cancelled_total",
            "Requests whose client disconnected before the response"
        )
        .expect(invariant),
    }
});

#[derive(Clone)]
pub(crate) struct Metrics {
    duration: HistogramVec,
    in_flight: IntGauge,
    cancelled: IntCounter,
}

impl Metrics {
    pub(crate) fn global() -> Self {
        METRICS.clone()
    }

    pub(super) fn begin(&self) {
        self.in_flight.inc();
    }

    pub(super) fn end(&self, operation: &str, status: &str, elapsed: Duration) {
        self.in_flight.dec();
        self.duration.with_label_values(&[operation, status]).observe(elapsed.as_secs_f64());
    }

    pub(super) fn cancelled(&self) {
        self.in_flight.dec();
        self.cancelled.inc();
    }
}
