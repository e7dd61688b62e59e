//! Shipping: one long-lived `StreamLogs` call that carries a source's events to the logging service
//! until the process ends.
//!
//! Nothing is kept here but positions: an event stays in its source until it is acknowledged, and
//! what was under way when a stream ended is read from there again.

mod backoff;
mod meters;
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

use self::{backoff::Backoff, meters::Meters, stream::End, window::Pace};
use super::{EventSource, SourceError};
use crate::{
    proto::{LogMessage, logging_service_server::SERVICE_NAME},
    rules,
};

/// Positions given to [`EventSource::acknowledge`] at once; a database has a bound on the
/// parameters of a statement.
const ACKNOWLEDGED_AT_ONCE: usize = 1000;

/// How events are shipped. The defaults are right for the store.
#[derive(Clone, Debug)]
pub struct ShipOptions {
    /// The sending service, as a label of the metrics: `api` or `db`.
    pub source: &'static str,
    /// Events in one request, at most; the contract allows 1,000.
    pub batch_events: usize,
    /// Bytes of one request, at most; the contract allows 1 MiB.
    pub batch_bytes: usize,
    /// Requests that may be under way without an acknowledgement. This bounds what is sent twice
    /// when a stream ends.
    pub requests_in_flight: usize,
    /// How often the source is asked when it has not said that it changed, and how often reading
    /// starts again from the oldest event.
    pub poll_interval: Duration,
    /// Without an acknowledgement for so long, while something is under way, the stream is given up
    /// and opened anew, even if the service answers otherwise. Longer than the logging service
    /// waits for Kafka, so that it can say what is wrong.
    pub acknowledge_timeout: Duration,
    /// The delay before the second attempt to connect; it doubles from there. Each delay is
    /// jittered between half of it and all.
    pub reconnect_min: Duration,
    /// The longest delay between attempts to connect.
    pub reconnect_max: Duration,
    /// How long a shutdown waits for what is left. What is not acknowledged then stays in the
    /// source for the next start.
    pub drain_timeout: Duration,
    /// Holds the last failure. Clones of these options share it.
    pub status: ShipStatus,
}

/// How shipping goes: why its last stream ended, unless something was acknowledged since. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub struct ShipStatus(Arc<Mutex<Option<String>>>);

impl ShipStatus {
    /// Why nothing comes through, if it is known.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl ShipOptions {
    /// The defaults for a service.
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

/// The replicas of the logging service at `endpoint`: one URI, or several with commas between them.
///
/// # Errors
/// When it is anything else, or `transport` does not allow to reach it.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn find(endpoint: &str, transport: &Transport) -> Result<Replicas, StartError> {
    Ok(Replicas::find(Endpoints::parse("logging", endpoint, transport)?, SERVICE_NAME))
}

/// Ships what is in `source` to the logging service, for as long as the process runs.
///
/// It has one stream to one of the `replicas`, and stays with it as long as that serves; many
/// senders are spread over all of them. A replica that goes down gets no more and finishes what it
/// has; from one that is silent for a second, what is under way is taken elsewhere.
///
/// Returns once `shutdown` is cancelled and all that the source holds is acknowledged, or
/// [`ShipOptions::drain_timeout`] after it. Cancel it only when nothing writes to the source any
/// more. Events of one source reach the service in the order of the source; when a stream ended,
/// some of them twice.
pub async fn ship<S: EventSource>(
    source: S,
    replicas: Replicas,
    options: ShipOptions,
    shutdown: CancellationToken,
) {
    let drain_timeout = options.drain_timeout;
    let shipper = Shipper {
        replicas,
        seed: rand::random(),
        meters: Meters::new(options.source),
        pace: Mutex::new(Pace::full(options.batch_events.clamp(1, rules::MAX_EVENTS))),
        unsettled: Mutex::default(),
        changed: Notify::new(),
        source,
        options,
        shutdown: shutdown.clone(),
    };
    let out_of_time = async {
        shutdown.cancelled().await;
        sleep(drain_timeout).await;
    };
    tokio::select! {
        () = shipper.run() => {}
        () = shipper.settle() => {}
        () = out_of_time => tracing::warn!(
            drain_seconds = drain_timeout.as_secs_f64(),
            "log events are left at the end of the drain; they stay on disk and are sent after the next start"
        ),
    }
    shipper.meters.disconnected();
}

/// What outlives a single stream.
struct Shipper<S: EventSource> {
    source: S,
    replicas: Replicas,
    /// Which of them this sender prefers.
    seed: u64,
    options: ShipOptions,
    shutdown: CancellationToken,
    meters: Meters,
    pace: Mutex<Pace>,
    /// Acknowledged by the service, not yet by the source; in order.
    unsettled: Mutex<Vec<S::Position>>,
    /// `unsettled` has got longer or shorter.
    changed: Notify,
}

impl<S: EventSource> Shipper<S> {
    /// Opens streams, one after another.
    async fn run(&self) {
        let mut backoff = Backoff::new(self.options.reconnect_min, self.options.reconnect_max);
        loop {
            if self.shutdown.is_cancelled() && self.nothing_left().await {
                return;
            }
            let (end, progressed) = self.stream().await;
            self.meters.disconnected();
            if progressed {
                backoff.reset();
            }
            let at_least = match end {
                End::Refused(refusal) => match self.isolate(*refusal).await {
                    // The next attempt is with fewer events, or without the one at fault: there is
                    // nothing to wait for.
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(source = self.options.source, %error, "failed to keep a refused log event as a dead letter; retrying");
                        Duration::ZERO
                    }
                },
                End::Moved => {
                    tracing::debug!(
                        source = self.options.source,
                        "log events go to another replica of the logging service now"
                    );
                    self.meters.reconnects.inc();
                    continue;
                }
                End::Closed => {
                    tracing::debug!(
                        source = self.options.source,
                        "the logging service closed the stream"
                    );
                    Duration::ZERO
                }
                End::Failed { reason, retry_after } => {
                    tracing::warn!(
                        source = self.options.source,
                        reason,
                        "the stream to the logging service ended; log events wait on disk"
                    );
                    self.options.status.set(Some(reason));
                    retry_after.unwrap_or_default()
                }
            };
            self.meters.reconnects.inc();
            let delay = backoff.next().max(at_least.min(self.options.reconnect_max));
            tokio::select! {
                () = sleep(delay) => {}
                // The drain does not wait for the end of a long delay.
                () = self.shutdown.cancelled(), if !self.shutdown.is_cancelled() => {}
            }
        }
    }

    /// Whether the source holds nothing that is not acknowledged.
    async fn nothing_left(&self) -> bool {
        self.unsettled().is_empty()
            && matches!(self.source.read(None, 1).await, Ok(events) if events.is_empty())
    }

    /// Narrows down which event the service refused: fewer at a time, until it is alone; then that
    /// one becomes a dead letter.
    async fn isolate(&self, refusal: stream::Refusal<S::Position>) -> Result<(), SourceError> {
        let stream::Refusal { reason, events, alone } = refusal;
        match alone {
            Some((position, event)) => {
                self.dead_letter(&position, &event, &reason).await?;
                self.acknowledged([position]);
            }
            None => self.pace().halve(events),
        }
        Ok(())
    }

    /// Logs an event that can never be on the topic, whole, and lets the source keep it.
    async fn dead_letter(
        &self,
        position: &S::Position,
        event: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        // An event never holds a secret, and this line may be all that is left of it. Debug is for
        // events whose JSON does not exist.
        let text = crate::json::to_vec(event).map_or_else(
            |_| format!("{event:?}"),
            |json| String::from_utf8_lossy(&json).into_owned(),
        );
        tracing::error!(
            source = self.options.source,
            reason,
            event = text,
            "a log event is refused for good and kept as a dead letter: it will not be on the topic"
        );
        self.source.dead_letter(position, event, reason).await?;
        self.meters.dead_letter.inc();
        Ok(())
    }

    /// The service has acknowledged these, after all that it acknowledged before.
    fn acknowledged(&self, positions: impl IntoIterator<Item = S::Position>) {
        self.options.status.set(None);
        self.unsettled().extend(positions);
        self.changed.notify_waiters();
    }

    /// Hands acknowledgements on to the source, as many as have gathered while it was busy with
    /// those before.
    async fn settle(&self) {
        let mut backoff = Backoff::new(self.options.reconnect_min, self.options.reconnect_max);
        loop {
            let positions: Vec<S::Position> = self
                .wait_until(|unsettled| {
                    (!unsettled.is_empty())
                        .then(|| unsettled.iter().take(ACKNOWLEDGED_AT_ONCE).cloned().collect())
                })
                .await;
            match self.source.acknowledge(&positions).await {
                Ok(()) => {
                    backoff.reset();
                    self.unsettled().drain(..positions.len());
                    self.changed.notify_waiters();
                }
                Err(error) => {
                    tracing::warn!(source = self.options.source, %error, "acknowledged log events could not be marked as such yet");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Waits until `wanted` finds in the unsettled positions what it waits for.
    async fn wait_until<T>(&self, mut wanted: impl FnMut(&[S::Position]) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = wanted(&self.unsettled());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, Vec<S::Position>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `sleep_until` for a deadline that may not exist.
async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
