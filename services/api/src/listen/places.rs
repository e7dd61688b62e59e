//! How many connections may be open at the same time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The log is told that no place is free no more often than this.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The places for connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    /// When the log was last told that none is free.
    told: Option<Instant>,
}

impl Places {
    /// So many, and at least one.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most, told: None }
    }

    /// Waits until there is one; it is free again when this is dropped.
    pub(super) async fn take(&mut self) -> OwnedSemaphorePermit {
        let free = Arc::clone(&self.free);
        if free.available_permits() == 0 && self.told.is_none_or(|told| told.elapsed() > TELL_AGAIN)
        {
            self.told = Some(Instant::now());
            tracing::warn!(
                connections = self.most,
                "no more connections are accepted until one of these is closed"
            );
        }
        free.acquire_owned().await.expect("nothing closes this semaphore")
    }
}
