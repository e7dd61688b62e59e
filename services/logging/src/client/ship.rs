//! Log shipping: a long-lived `StreamLogs` call that sends a source's events.
//!
//! Events stay in their source until acknowledged, and are read again after a stream ends.

mod backoff;
mod metrics;
pub(crate) mod replicas;
mod stream;
mod window;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use merch_chassis::{
    StartError,
    grpc::{
        Transport,
        replicas::{Endpoints, Replicas},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    backoff::Backoff, metrics::ShipMetrics, replicas::LoggingReplicas, stream::StreamEnd,
    window::BatchLimit,
};
use super::{EventSource, SourceError};
use crate::{
    proto::{LogMessage, logging_service_server::SERVICE_NAME},
    rules,
};

/// Per call: databases limit statement parameters.
const MAX_ACKS_PER_CALL: usize = 1000;

/// Shipping options.
#[derive(Clone, Debug)]
pub struct ShipOptions {
    /// Sending service, a metrics label: `api` or `db`.
    pub source: &'static str,
    /// Maximum events in a request, at most 1,000.
    pub batch_events: usize,
    /// Maximum bytes of a request, at most 1 MiB.
    pub batch_bytes: usize,
    /// Maximum unacknowledged requests; limits duplicates after a stream ends.
    pub requests_in_flight: usize,
    /// Interval of polling without notifications, and of reading again from the oldest event.
    pub poll_interval: Duration,
    /// Closes the stream after this time without an acknowledgement. Longer than the service's
    /// delivery timeout, so that the service reports the cause first.
    pub acknowledge_timeout: Duration,
    /// First reconnect delay; doubles up to `reconnect_max`, with jitter of up to half.
    pub reconnect_min: Duration,
    /// Maximum delay between reconnects.
    pub reconnect_max: Duration,
    /// Time limit of the shutdown; unacknowledged events stay in the source.
    pub drain_timeout: Duration,
    /// Receives the last failure.
    pub status: ShipStatus,
}

/// Why the last stream ended, cleared by the next acknowledgement. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ShipStatus(Arc<Mutex<Option<String>>>);

impl ShipStatus {
    /// Returns the last failure since the last acknowledgement.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl ShipOptions {
    /// Returns the default options.
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        Self {
            source,
            batch_events: 500,
            batch_bytes: rules::MAX_REQUEST_BYTES,
            requests_in_flight: 16,
            poll_interval: Duration::from_secs(5),
            acknowledge_timeout: Duration::from_secs(30),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            status: ShipStatus::default(),
        }
    }
}

/// Returns the replicas of the logging service at one or more URIs, separated by commas.
///
/// # Errors
/// If a URI is invalid or `transport` forbids it.
///
/// # Panics
/// If called outside of a tokio runtime.
pub fn find_replicas(endpoint: &str, transport: &Transport) -> Result<Replicas, StartError> {
    Ok(Replicas::discover(Endpoints::parse("logging", endpoint, transport)?, SERVICE_NAME))
}

/// Ships the events of `source`. Cancel `shutdown` after the last write to the source; then returns
/// when all are acknowledged, or after [`ShipOptions::drain_timeout`].
///
/// Senders are spread over the replicas. A draining replica finishes its requests; after a second
/// of silence, unacknowledged events go to another one. Events keep the source's order and may
/// arrive twice after a stream ended.
pub async fn ship<S: EventSource>(
    source: S,
    replicas: Replicas,
    options: ShipOptions,
    shutdown: CancellationToken,
) {
    ship_to(source, replicas, options, rand::random(), shutdown).await;
}

/// As [`ship`]. The seed chooses among the replicas, and differs between senders.
pub(crate) async fn ship_to<S: EventSource, R: LoggingReplicas>(
    source: S,
    replicas: R,
    options: ShipOptions,
    seed: u64,
    shutdown: CancellationToken,
) {
    let drain_timeout = options.drain_timeout;
    let shipper = Shipper {
        replicas,
        seed,
        metrics: ShipMetrics::new(options.source),
        batch_limit: Mutex::new(BatchLimit::new(options.batch_events.clamp(1, rules::MAX_EVENTS))),
        pending_acks: Mutex::default(),
        changed: Notify::new(),
        source,
        options,
        shutdown: shutdown.clone(),
    };
    let drain_deadline = async {
        shutdown.cancelled().await;
        sleep(drain_timeout).await;
    };
    tokio::select! {
        biased;
        () = shipper.run() => {}
        () = shipper.write_acks() => {}
        () = drain_deadline => tracing::warn!(
            drain_seconds = drain_timeout.as_secs_f64(),
            "drain timed out; unacknowledged log events will be sent after the next start"
        ),
    }
    shipper.metrics.disconnected();
}

struct Shipper<S: EventSource, R> {
    source: S,
    replicas: R,
    seed: u64,
    options: ShipOptions,
    shutdown: CancellationToken,
    metrics: ShipMetrics,
    batch_limit: Mutex<BatchLimit>,
    /// Acknowledged by the service, not yet in the source; in order.
    pending_acks: Mutex<Vec<S::Position>>,
    changed: Notify,
}

impl<S: EventSource, R: LoggingReplicas> Shipper<S, R> {
    async fn run(&self) {
        let mut backoff =
            Backoff::new(self.options.reconnect_min, self.options.reconnect_max, self.seed);
        loop {
            if self.shutdown.is_cancelled() && self.is_drained().await {
                return;
            }
            let (end, progressed) = self.stream().await;
            self.metrics.disconnected();
            if progressed {
                backoff.reset();
            }
            let min_delay = match end {
                StreamEnd::Refused(refused) => match self.isolate(*refused).await {
                    // A retry with fewer events or without the refused one needs no delay.
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(
                            source = self.options.source,
                            %error,
                            "failed to store a dead letter; retrying"
                        );
                        Duration::ZERO
                    }
                },
                StreamEnd::Moved => {
                    tracing::debug!(
                        source = self.options.source,
                        "moving the log stream to another replica"
                    );
                    self.metrics.reconnects.inc();
                    continue;
                }
                StreamEnd::Closed => {
                    tracing::debug!(
                        source = self.options.source,
                        "the logging service closed the stream"
                    );
                    Duration::ZERO
                }
                StreamEnd::Failed { reason, retry_after } => {
                    tracing::warn!(
                        source = self.options.source,
                        reason,
                        "the log stream failed; events stay on disk"
                    );
                    self.options.status.set(Some(reason));
                    retry_after.unwrap_or_default()
                }
            };
            self.metrics.reconnects.inc();
            let delay = backoff.next().max(min_delay.min(self.options.reconnect_max));
            tokio::select! {
                biased;
                () = sleep(delay) => {}
                () = self.shutdown.cancelled(), if !self.shutdown.is_cancelled() => {}
            }
        }
    }

    async fn is_drained(&self) -> bool {
        self.pending_acks().is_empty()
            && matches!(self.source.read(None, 1).await, Ok(events) if events.is_empty())
    }

    /// Halves the batches until the refused event is isolated, then dead-letters it.
    async fn isolate(
        &self,
        refused: stream::RefusedRequest<S::Position>,
    ) -> Result<(), SourceError> {
        let stream::RefusedRequest { reason, events, isolated } = refused;
        match isolated {
            Some((position, event)) => {
                self.dead_letter(&position, &event, &reason).await?;
                self.acknowledged([position]);
            }
            None => self.batch_limit().halve(events),
        }
        Ok(())
    }

    async fn dead_letter(
        &self,
        position: &S::Position,
        event: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        // The log may hold the only copy; events contain no secrets. `Debug` is for events without
        // a JSON encoding.
        let text = crate::json::to_vec(event).map_or_else(
            |_| format!("{event:?}"),
            |json| String::from_utf8_lossy(&json).into_owned(),
        );
        tracing::error!(
            source = self.options.source,
            reason,
            event = text,
            "log event refused permanently; storing it as a dead letter"
        );
        self.source.dead_letter(position, event, reason).await?;
        self.metrics.dead_letters.inc();
        Ok(())
    }

    fn acknowledged(&self, positions: impl IntoIterator<Item = S::Position>) {
        self.options.status.set(None);
        self.pending_acks().extend(positions);
        self.changed.notify_waiters();
    }

    async fn write_acks(&self) {
        let mut backoff =
            Backoff::new(self.options.reconnect_min, self.options.reconnect_max, self.seed);
        loop {
            let positions: Vec<S::Position> = self
                .wait_until(|pending_acks| {
                    (!pending_acks.is_empty())
                        .then(|| pending_acks.iter().take(MAX_ACKS_PER_CALL).cloned().collect())
                })
                .await;
            match self.source.acknowledge(&positions).await {
                Ok(()) => {
                    backoff.reset();
                    self.pending_acks().drain(..positions.len());
                    self.changed.notify_waiters();
                }
                Err(error) => {
                    tracing::warn!(
                        source = self.options.source,
                        %error,
                        "failed to write acknowledgements to the event source; retrying"
                    );
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn wait_until<T>(&self, mut wanted: impl FnMut(&[S::Position]) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = wanted(&self.pending_acks());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn pending_acks(&self) -> MutexGuard<'_, Vec<S::Position>> {
        self.pending_acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch_limit(&self) -> MutexGuard<'_, BatchLimit> {
        self.batch_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
