//! Numbers for the operator about connections, on the admin port's `/metrics`.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};

static METERS: LazyLock<Meters> = LazyLock::new(|| {
    let invariant = "the names are registered here and nowhere else";
    let refused = register_int_counter_vec!(
        "merch_api_connections_refused_total",
        "Connections closed by this server before a request was read to its end, by reason",
        &["reason"]
    )
    .expect(invariant);
    // A counter that is there from the start can be watched for a change.
    for reason in Reason::ALL {
        let _ = refused.with_label_values(&[reason.as_str()]);
    }
    let open = register_int_gauge!("merch_api_connections", "Connections that are open");
    Meters { refused, open: open.expect(invariant) }
});

struct Meters {
    refused: IntCounterVec,
    open: IntGauge,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its client address has too many open.
    AddressLimit,
    /// It sent nothing in time.
    Silent,
    /// The head of a request was too large to be read.
    HeadSize,
    /// The body of a request was too large to be read, with the framing of its chunks.
    BodySize,
    /// Requests hold as much memory as they may.
    Memory,
}

impl Reason {
    const ALL: [Self; 5] =
        [Self::AddressLimit, Self::Silent, Self::HeadSize, Self::BodySize, Self::Memory];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AddressLimit => "address_limit",
            Self::Silent => "silent",
            Self::HeadSize => "head_size",
            Self::BodySize => "body_size",
            Self::Memory => "memory",
        }
    }
}

pub(super) fn refused(reason: Reason) {
    METERS.refused.with_label_values(&[reason.as_str()]).inc();
}

/// Counts an open connection while it lives.
pub(super) struct Open;

impl Open {
    pub(super) fn new() -> Self {
        METERS.open.inc();
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        METERS.open.dec();
    }
}
