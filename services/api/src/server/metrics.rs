//! Metrics of connections.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let invariant = "the names are registered only here";
    let refused = register_int_counter_vec!(
        "merch_api_connections_refused_total",
        "Connections refused, or closed before a request was read completely, by reason",
        &["reason"]
    )
    .expect(invariant);
    // So that rates are correct from the first increment.
    for reason in RefusalReason::ALL {
        let _ = refused.with_label_values(&[reason.as_str()]);
    }
    let open = register_int_gauge!("merch_api_connections", "Open connections");
    Metrics { refused, open: open.expect(invariant) }
});

struct Metrics {
    refused: IntCounterVec,
    open: IntGauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    AddressLimit,
    /// No byte arrived in time.
    FirstByteTimeout,
    /// The head was too large to read.
    HeadSize,
    /// With its chunk framing.
    BodySize,
    /// The request memory is used up.
    Memory,
}

impl RefusalReason {
    const ALL: [Self; 5] =
        [Self::AddressLimit, Self::FirstByteTimeout, Self::HeadSize, Self::BodySize, Self::Memory];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AddressLimit => "address_limit",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::HeadSize => "head_size",
            Self::BodySize => "body_size",
            Self::Memory => "memory",
        }
    }
}

pub(super) fn count_refused(reason: RefusalReason) {
    METRICS.refused.with_label_values(&[reason.as_str()]).inc();
}

pub(super) struct OpenConnection;

impl OpenConnection {
    pub(super) fn new() -> Self {
        METRICS.open.inc();
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        METRICS.open.dec();
    }
}
