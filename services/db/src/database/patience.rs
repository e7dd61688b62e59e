//! How long the start waits for a PostgreSQL that is not there yet.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The time between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// The wait for one start.
pub(crate) struct Patience {
    begun: Instant,
    /// [`Pool::start_patience`](crate::config::Pool::start_patience).
    limit: Duration,
    is_told: bool,
}

impl Patience {
    /// Begins now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, is_told: false }
    }

    /// Waits until the next try and returns `true`, or returns `false` at once if the time is up.
    ///
    /// `reason` is why the last try failed. It is logged as a warning once.
    pub(crate) async fn wait(&mut self, reason: &str) -> bool {
        if self.begun.elapsed() + AGAIN > self.limit {
            return false;
        }
        if self.is_told {
            tracing::debug!(reason, "PostgreSQL is not there yet");
        } else {
            self.is_told = true;
            tracing::warn!(reason, patience = ?self.limit, "PostgreSQL is not there yet; waiting for it");
        }
        sleep(AGAIN).await;
        true
    }
}
