use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

use super::segments::Segments;

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

pub(super) static APPENDED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_appended_events_total",
        "Log events made durable in the journal"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static SYNCS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_syncs_total",
        "Groups of log events made durable with one fsync"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_failed_syncs_total",
        "Groups of log events whose write or fsync failed"
    )
    .expect(REGISTERED_ONCE)
});
pub(super) static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_refused_events_total",
        "Log events refused because the journal is full"
    )
    .expect(REGISTERED_ONCE)
});
static BACKLOG: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_log_journal_backlog_events",
        "Log events in the journal that are not acknowledged"
    )
    .expect(REGISTERED_ONCE)
});

static BACKLOG_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "merch_log_journal_backlog_bytes",
        "Bytes of the log events in the journal that are not acknowledged"
    )
    .expect(REGISTERED_ONCE)
});

/// A process may have several journals open, including those of exited processes.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<(i64, i64)>);

impl Backlog {
    pub(super) fn report(&self, segments: &Segments) {
        self.set(number(segments.backlog()), number(segments.backlog_bytes()));
    }

    fn set(&self, events: i64, bytes: i64) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        BACKLOG.add(events - reported.0);
        BACKLOG_BYTES.add(bytes - reported.1);
        *reported = (events, bytes);
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
