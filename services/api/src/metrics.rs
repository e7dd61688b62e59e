//! What the admin port tells about this service besides its requests, in prometheus' default registry.

use std::sync::LazyLock;

use prometheus::{Gauge, register_gauge};

/// How far the clock of this machine is ahead of the database's.
pub(crate) static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!("merch_api_clock_skew_seconds", "How far this machine's clock is ahead of the database's.")
        .expect("the name is registered here and nowhere else, with valid words")
});
