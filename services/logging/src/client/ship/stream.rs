use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Shipper,
    replicas::{LoggingReplica, LoggingReplicas, Responses as _},
    sleep_until_some,
    window::Window,
};
use crate::{
    client::{EventSource, SourceError},
    proto::{LogMessage, StreamLogsRequest, StreamLogsResponse},
    rules,
};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The replica may wait for Kafka; after this time, its events go to another replica.
const REPLICA_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) enum StreamEnd<P> {
    Closed,
    /// Another replica is preferred; it receives the events in flight.
    Moved,
    Refused(Box<RefusedRequest<P>>),
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
}

pub(super) struct RefusedRequest<P> {
    pub(super) reason: String,
    /// The events in flight, of which at least one was refused.
    pub(super) events: usize,
    /// The only event in flight, if there was just one.
    pub(super) isolated: Option<(P, LogMessage)>,
}

impl<P> StreamEnd<P> {
    fn failed(reason: impl Display) -> Self {
        Self::Failed { reason: reason.to_string(), retry_after: None }
    }
}

struct EventBatch<P> {
    events: Vec<(P, LogMessage)>,
    bytes: usize,
}

impl<P> Default for EventBatch<P> {
    fn default() -> Self {
        Self { events: Vec::new(), bytes: 0 }
    }
}

enum SendEnd {
    Source(SourceError),
    Moved,
}

impl From<SourceError> for SendEnd {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

struct OpenStream<'a, S: EventSource, R: LoggingReplicas> {
    shipper: &'a Shipper<S, R>,
    replica: R::Replica,
    window: Mutex<Window<S::Position>>,
    changed: Notify,
}

impl<S: EventSource, R: LoggingReplicas> Shipper<S, R> {
    /// Also returns whether anything was acknowledged.
    pub(super) async fn stream(&self) -> (StreamEnd<S::Position>, bool) {
        let replica = tokio::select! {
            biased;
            replica = self.replicas.pick(self.seed) => replica,
            // Nothing may be left to ship.
            () = self.shutdown.cancelled(), if !self.shutdown.is_cancelled() => {
                return (StreamEnd::Moved, false);
            }
        };
        let stream = OpenStream {
            shipper: self,
            replica,
            window: Mutex::new(Window::new()),
            changed: Notify::new(),
        };
        let (requests, outbound) = mpsc::channel(1);
        let end = tokio::select! {
            biased;
            end = stream.send(requests) => Ok(match end {
                SendEnd::Source(error) => {
                    StreamEnd::failed(format_args!("the event source failed: {error}"))
                }
                SendEnd::Moved => StreamEnd::Moved,
            }),
            end = stream.receive(outbound) => end,
        };
        let window = stream.window.into_inner().unwrap_or_else(PoisonError::into_inner);
        let progressed = window.has_progressed();
        let end = end.unwrap_or_else(|status| {
            if is_refusal(&status) && window.events() > 0 {
                return StreamEnd::Refused(Box::new(RefusedRequest {
                    reason: reason(&status),
                    events: window.events(),
                    isolated: window.into_single(),
                }));
            }
            let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            StreamEnd::Failed { reason: reason(&status), retry_after }
        });
        (end, progressed)
    }
}

impl<S: EventSource, R: LoggingReplicas> OpenStream<'_, S, R> {
    /// Ends when the source fails, another replica is preferred, or the shutdown completes.
    async fn send(&self, requests: mpsc::Sender<StreamLogsRequest>) -> SendEnd {
        let Shipper { source, options, shutdown, replicas, seed, .. } = self.shipper;
        let mut after = None;
        let mut restart_at = Instant::now() + options.poll_interval;
        // Otherwise their events would be sent again.
        self.shipper.wait_until(|pending_acks| pending_acks.is_empty().then_some(())).await;
        loop {
            // Reading can only restart while nothing is in flight.
            let restart = Instant::now() >= restart_at;
            let replaced = self.replica.is_replaced();
            if replaced {
                let _ = timeout(REPLICA_DRAIN_TIMEOUT, self.wait_for_capacity(0)).await;
                return SendEnd::Moved;
            }
            self.wait_for_capacity(if restart { 0 } else { usize::MAX }).await;
            // The preferred replica is back; otherwise all senders would gather on one. Checked
            // while nothing is in flight, because constant traffic would postpone the restart.
            let empty = self.window().requests() == 0 && self.shipper.pending_acks().is_empty();
            if (restart || empty)
                && replicas
                    .preferred_address(*seed)
                    .is_some_and(|favourite| favourite != self.replica.address())
            {
                return SendEnd::Moved;
            }
            if empty {
                after = None;
                restart_at = Instant::now() + options.poll_interval;
            }

            let limit = self.shipper.batch_limit().events();
            let events = match source.read(after.as_ref(), limit).await {
                Ok(events) => events,
                Err(error) => return error.into(),
            };
            if let Some((last, _)) = events.last() {
                after = Some(last.clone());
                if let Err(error) = self.dispatch(events, &requests).await {
                    return error.into();
                }
                continue;
            }

            if empty && shutdown.is_cancelled() {
                drop(requests);
                sleep(CLOSE_TIMEOUT).await;
                return SourceError::new("the logging service did not close its side").into();
            }
            tokio::select! {
                biased;
                () = source.changed() => {}
                () = self.replica.replaced() => {}
                () = self.wait_until_empty(), if shutdown.is_cancelled() => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
                () = sleep_until(restart_at) => {}
            }
        }
    }

    async fn wait_for_capacity(&self, max_in_flight: usize) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            let mut acks_changed = std::pin::pin!(self.shipper.changed.notified());
            changed.as_mut().enable();
            acks_changed.as_mut().enable();
            let allowed =
                self.shipper.batch_limit().requests(self.shipper.options.requests_in_flight.max(1));
            let in_flight = self.window().requests();
            let pending_acks = self.shipper.pending_acks().len();
            let acks_keep_up = if max_in_flight == 0 {
                pending_acks == 0
            } else {
                pending_acks < allowed * rules::MAX_EVENTS
            };
            if in_flight < allowed && in_flight <= max_in_flight && acks_keep_up {
                return;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = acks_changed => {}
            }
        }
    }

    async fn wait_until_empty(&self) {
        self.wait_for_capacity(0).await;
    }

    /// Invalid events become dead letters here, because the service would end the stream.
    async fn dispatch(
        &self,
        events: Vec<(S::Position, LogMessage)>,
        requests: &mpsc::Sender<StreamLogsRequest>,
    ) -> Result<(), SourceError> {
        let bound = self.shipper.options.batch_bytes.min(rules::MAX_REQUEST_BYTES)
            - rules::REQUEST_OVERHEAD;
        let mut batch = EventBatch::default();
        for (position, event) in events {
            let violations = rules::check(&event);
            if !violations.is_empty() {
                self.send_request(std::mem::take(&mut batch), requests).await;
                // In order, and once instead of at each retry.
                self.wait_for_capacity(0).await;
                let reason =
                    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.shipper.dead_letter(&position, &event, &reason).await?;
                self.shipper.acknowledged([position]);
                continue;
            }
            let size = rules::size_in_request(&event);
            if batch.bytes + size > bound {
                self.send_request(std::mem::take(&mut batch), requests).await;
            }
            batch.bytes += size;
            batch.events.push((position, event));
        }
        self.send_request(batch, requests).await;
        Ok(())
    }

    async fn send_request(
        &self,
        batch: EventBatch<S::Position>,
        requests: &mpsc::Sender<StreamLogsRequest>,
    ) {
        let EventBatch { events, bytes: _ } = batch;
        if events.is_empty() {
            return;
        }
        self.wait_for_capacity(usize::MAX).await;
        let metrics = &self.shipper.metrics;
        metrics.sent.inc_by(events.len() as u64);
        let messages = events.iter().map(|(_, event)| event.clone()).collect();
        let sequence = self.window().push(events);
        self.window_changed();
        let request = StreamLogsRequest { sequence, messages };
        debug_assert!(
            request.encoded_len() <= rules::MAX_REQUEST_BYTES,
            "a request keeps the bound of the contract"
        );
        if requests.send(request).await.is_err() {
            std::future::pending().await
        }
    }

    async fn receive(
        &self,
        outbound: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<StreamEnd<S::Position>, Status> {
        let Shipper { options, metrics, .. } = self.shipper;
        let opening = timeout(options.acknowledge_timeout, self.replica.stream_logs(outbound));
        let opened = tokio::select! {
            biased;
            opened = opening => opened,
            () = self.replica.unreachable() => return Ok(StreamEnd::Moved),
        };
        let Ok(opened) = opened else {
            return Ok(StreamEnd::failed(format_args!(
                "the logging service did not answer the call within {:?}",
                options.acknowledge_timeout
            )));
        };
        let mut responses = opened?;
        metrics.connected.set(1);
        tracing::debug!(
            source = options.source,
            replica = %self.replica.address(),
            "opened the log stream"
        );
        loop {
            let changed = self.changed.notified();
            let stall_deadline = self.window().stall_deadline(options.acknowledge_timeout);
            tokio::select! {
                // Before the responses: those without progress must not delay it.
                biased;
                () = sleep_until_some(stall_deadline) => {
                    return Ok(StreamEnd::failed(format_args!(
                        "the logging service acknowledged nothing for {:?}",
                        options.acknowledge_timeout
                    )));
                }
                response = responses.message() => match response? {
                    Some(response) => {
                        if let Err(end) = self.acknowledged(response).await {
                            return Ok(end);
                        }
                    }
                    None => return Ok(StreamEnd::Closed),
                },
                () = changed => {}
                () = self.replica.unreachable() => return Ok(StreamEnd::Moved),
            }
        }
    }

    async fn acknowledged(
        &self,
        response: StreamLogsResponse,
    ) -> Result<(), StreamEnd<S::Position>> {
        let StreamLogsResponse { acknowledged_sequence, refused } = response;
        let events = self.window().acknowledge(acknowledged_sequence).map_err(|unknown| {
            StreamEnd::failed(format_args!(
                "the logging service acknowledged request {}, but the last one sent was {}",
                unknown.acknowledged, unknown.last_sent
            ))
        })?;
        if events.is_empty() {
            return Ok(());
        }
        self.shipper.batch_limit().grow();
        self.shipper
            .metrics
            .acknowledged
            .inc_by((events.len() - refused.len().min(events.len())) as u64);
        if refused.is_empty() {
            self.shipper.acknowledged(events.into_iter().map(|(position, _)| position));
            self.window().settle();
            self.window_changed();
            return Ok(());
        }
        let reasons: HashMap<String, String> =
            refused.into_iter().map(|event| (event.id, event.reason)).collect();
        for (position, event) in events {
            if let Some(reason) = reasons.get(&event.id) {
                // After earlier acknowledgements were written, so that a retry does not repeat it.
                self.shipper.wait_until(|pending_acks| pending_acks.is_empty().then_some(())).await;
                let stored = self.shipper.dead_letter(&position, &event, reason).await;
                stored.map_err(|error| {
                    StreamEnd::failed(format_args!("failed to store a dead letter: {error}"))
                })?;
            }
            self.shipper.acknowledged([position]);
        }
        self.window().settle();
        self.window_changed();
        Ok(())
    }

    fn window_changed(&self) {
        let window = self.window();
        self.shipper.metrics.in_flight.set(i64::try_from(window.events()).unwrap_or(i64::MAX));
        self.shipper.metrics.oldest.set(window.oldest_seconds());
        drop(window);
        self.changed.notify_waiters();
    }

    fn window(&self) -> MutexGuard<'_, Window<S::Position>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refused sequence would be a bug of this module.
fn is_refusal(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
        && status.get_details_bad_request().is_none_or(|details| {
            details.field_violations.is_empty()
                || details
                    .field_violations
                    .iter()
                    .any(|violation| violation.field.starts_with("messages"))
        })
}

fn reason(status: &Status) -> String {
    let fields: Vec<String> = status
        .get_details_bad_request()
        .into_iter()
        .flat_map(|details| details.field_violations)
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    let head = format!("{:?}: {}", status.code(), status.message());
    if fields.is_empty() { head } else { format!("{head} ({})", fields.join("; ")) }
}
