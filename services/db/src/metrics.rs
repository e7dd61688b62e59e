//! What the admin port tells about this service, in prometheus' default registry.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, histogram_opts,
    register_gauge, register_histogram, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

const ONCE: &str = "the name is registered here and nowhere else, with valid words";

/// Orders judged, by `outcome`: `placed`, `replayed`, or the reason of the refusal.
pub(crate) static ORDERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("merch_db_orders_total", "Orders judged, by outcome.", &["outcome"])
        .expect(ONCE)
});

/// Orders of one transaction.
pub(crate) static BATCH_SIZE: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(1.0, 2.0, 9).expect("the bounds are positive and grow");
    register_histogram!(histogram_opts!(
        "merch_db_order_batch_size",
        "Orders of one transaction.",
        buckets
    ))
    .expect(ONCE)
});

/// Orders that wait for a transaction.
pub(crate) static QUEUE_DEPTH: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("merch_db_order_queue_depth", "Orders that wait for a transaction.")
        .expect(ONCE)
});

/// Events that are not shipped yet, counted no further than
/// [`BACKLOG_BOUND`](crate::store::outbox::BACKLOG_BOUND).
pub(crate) static OUTBOX_BACKLOG: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_db_outbox_backlog",
        "Log events that are not shipped yet (100001: more than 100000)."
    )
    .expect(ONCE)
});

/// Whether this process ships the outbox.
pub(crate) static OUTBOX_LEADER: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_db_outbox_leader",
        "1 if this process ships the outbox, 0 if another one does, or nobody."
    )
    .expect(ONCE)
});

/// Password checks that were refused because a budget of the account is exhausted.
pub(crate) static LOG_INS_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_log_ins_refused_total",
        "Password checks refused because a budget of the account is exhausted."
    )
    .expect(ONCE)
});

/// Changes that were refused because their user had too many under way.
pub(crate) static WRITES_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_writes_refused_total",
        "Changes refused because their user had too many under way."
    )
    .expect(ONCE)
});

/// How far the clock of this machine is ahead of the database's.
pub(crate) static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "merch_db_clock_skew_seconds",
        "How far this machine's clock is ahead of the database's (SQLite: has jumped)."
    )
    .expect(ONCE)
});

/// The time of a transaction that writes, from asking for a connection to the end of its commit.
pub(crate) static TRANSACTION_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.000_5, 2.0, 15).expect("the bounds are positive and grow");
    register_histogram!(histogram_opts!(
        "merch_db_transaction_seconds",
        "The time of a transaction that writes.",
        buckets
    ))
    .expect(ONCE)
});
