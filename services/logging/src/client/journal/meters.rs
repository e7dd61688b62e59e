//! The metrics of the journal.

use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

use super::segments::Segments;

const REGISTERED_ONCE: &str = "a metric of a valid name is registered once";

/// Log events that were made durable.
pub(super) static APPENDED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_appended_events_total",
        "Log events made durable in the journal"
    )
    .expect(REGISTERED_ONCE)
});
/// Groups of them.
pub(super) static SYNCS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_syncs_total",
        "Groups of log events that were made durable with one fsync"
    )
    .expect(REGISTERED_ONCE)
});
/// Groups that the disk refused.
pub(super) static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_log_journal_failed_syncs_total",
        "Groups of log events that the disk refused"
    )
    .expect(REGISTERED_ONCE)
});
/// Events that there was no room for.
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

/// One journal's part of the backlog. A process may have several open: its own, and what others
/// left behind.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<(i64, i64)>);

impl Backlog {
    /// What is durable and not acknowledged now.
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

/// What is closed is not this process's any more.
impl Drop for Backlog {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
