use std::time::Duration;

use tokio::time::{Instant, sleep};

const RETRY_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct StartRetry {
    started: Instant,
    /// [`Pool::start_timeout`](crate::database::Pool::start_timeout).
    limit: Duration,
    has_warned: bool,
}

impl StartRetry {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { started: Instant::now(), limit, has_warned: false }
    }

    /// Waits before the next attempt; returns `false` immediately after the timeout. The first
    /// `reason` is logged as a warning.
    pub(crate) async fn wait(&mut self, reason: &str) -> bool {
        if self.started.elapsed() + RETRY_INTERVAL > self.limit {
            return false;
        }
        if self.has_warned {
            tracing::debug!(reason, "PostgreSQL is not available yet");
        } else {
            self.has_warned = true;
            tracing::warn!(
                reason, patience = ?self.limit,
                "PostgreSQL is not available yet; retrying"
            );
        }
        sleep(RETRY_INTERVAL).await;
        true
    }
}
