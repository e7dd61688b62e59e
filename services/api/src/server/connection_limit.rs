//! Limits the number of open connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const WARNING_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct ConnectionLimit {
    permits: Arc<Semaphore>,
    max: usize,
    last_warning: Option<Instant>,
}

impl ConnectionLimit {
    /// Creates a limit of `max` connections (minimum 1).
    pub(super) fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(max)), max, last_warning: None }
    }

    pub(super) async fn acquire(&mut self) -> OwnedSemaphorePermit {
        let permits = Arc::clone(&self.permits);
        if permits.available_permits() == 0
            && self
                .last_warning
                .is_none_or(|last_warning| last_warning.elapsed() > WARNING_INTERVAL)
        {
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                connections = self.max,
                "connection limit reached; accepting no more until one closes"
            );
        }
        permits.acquire_owned().await.expect("the semaphore is never closed")
    }
}
