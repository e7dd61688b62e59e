//! The Prometheus metrics of the service.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, histogram_opts,
    register_gauge, register_histogram, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

const REGISTERED_ONCE: &str = "the metric is registered once, with a valid name";

/// Outcomes of orders, by `outcome`: `placed`, `replayed`, or the reason of the refusal.
pub(crate) static ORDERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("merch_db_orders_total", "Orders by outcome.", &["outcome"])
        .expect(REGISTERED_ONCE)
});

pub(crate) static BATCH_SIZE: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(1.0, 2.0, 9).expect("the bounds are positive and increase");
    register_histogram!(histogram_opts!(
        "merch_db_order_batch_size",
        "Orders per transaction.",
        buckets
    ))
    .expect(REGISTERED_ONCE)
});

pub(crate) static QUEUE_DEPTH: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("merch_db_order_queue_depth", "Orders in the queue.")
        .expect(REGISTERED_ONCE)
});

/// Counted up to [`BACKLOG_BOUND`](crate::store::outbox::table::BACKLOG_BOUND).
pub(crate) static OUTBOX_BACKLOG: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_db_outbox_backlog",
        "Unshipped log events (100001: more than 100000)."
    )
    .expect(REGISTERED_ONCE)
});

pub(crate) static OUTBOX_LEADER: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_db_outbox_leader",
        "1 if this process is the leader of the outbox, else 0."
    )
    .expect(REGISTERED_ONCE)
});

pub(crate) static LOG_INS_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_log_ins_refused_total",
        "Password checks refused because a budget of the account is exhausted."
    )
    .expect(REGISTERED_ONCE)
});

pub(crate) static WRITES_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_writes_refused_total",
        "Changes refused because their user had too many in flight."
    )
    .expect(REGISTERED_ONCE)
});

pub(crate) static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "merch_db_clock_skew_seconds",
        "How far this machine's clock is ahead of the database's (SQLite: has jumped)."
    )
    .expect(REGISTERED_ONCE)
});

/// From the request for a connection to the end of the commit.
pub(crate) static TRANSACTION_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets =
        exponential_buckets(0.000_5, 2.0, 15).expect("the bounds are positive and increase");
    register_histogram!(histogram_opts!(
        "merch_db_transaction_seconds",
        "Duration of transactions that write.",
        buckets
    ))
    .expect(REGISTERED_ONCE)
});
