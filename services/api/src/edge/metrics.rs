//! Numbers for the operator, on the admin port's `/metrics`. Labels have few values: never a path,
//! an id or an address.

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    HistogramVec, IntCounter, IntGauge, register_histogram_vec, register_int_counter,
    register_int_gauge,
};

/// Registered once a process, however many servers it runs.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let invariant = "the names are registered here and nowhere else";
    Metrics {
        duration: register_histogram_vec!(
            "merch_api_request_duration_seconds",
            "Time from the end of a request's headers to its answer, by operation and status",
            &["operation", "status"],
            vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        )
        .expect(invariant),
        under_way: register_int_gauge!(
            "merch_api_requests_under_way",
            "Requests that are being answered"
        )
        .expect(invariant),
        abandoned: register_int_counter!(
            "merch_api_requests_abandoned_total",
            "Requests whose client went away before the answer"
        )
        .expect(invariant),
    }
});

/// The metrics of the HTTP server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    duration: HistogramVec,
    under_way: IntGauge,
    abandoned: IntCounter,
}

impl Metrics {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        METRICS.clone()
    }

    pub(super) fn begin(&self) {
        self.under_way.inc();
    }

    pub(super) fn end(&self, operation: &str, status: u16, elapsed: Duration) {
        self.under_way.dec();
        self.duration
            .with_label_values(&[operation, &status.to_string()])
            .observe(elapsed.as_secs_f64());
    }

    pub(super) fn abandoned(&self) {
        self.under_way.dec();
        self.abandoned.inc();
    }
}
