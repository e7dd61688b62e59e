//! One stream, from the connection to its end: what is read is sent, what comes back is
//! acknowledged.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use merch_chassis::grpc::replicas::Held;
use prost::Message as _;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Shipper, sleep_until_some, window::Window};
use crate::{
    client::{EventSource, SourceError},
    proto::{
        LogMessage, StreamLogsRequest, StreamLogsResponse,
        logging_service_client::LoggingServiceClient,
    },
    rules,
};

/// How long the service may take to close its side once all is acknowledged and ours is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a replica that goes down may take to acknowledge what it has. It waits for Kafka, which
/// may be slow; the others go on meanwhile only after this.
const STEP_DOWN: Duration = Duration::from_secs(5);

/// Why a stream ended.
pub(super) enum End<P> {
    /// The service closed it in good order.
    Closed,
    /// Another replica is the better one now. What was under way, if anything, is sent again there.
    Moved,
    /// The service says that an event breaks the contract.
    Refused(Box<Refusal<P>>),
    /// Anything else: try again.
    Failed { reason: String, retry_after: Option<Duration> },
}

/// What the service refused.
pub(super) struct Refusal<P> {
    /// In the service's words.
    pub(super) reason: String,
    /// Events that were under way: one of them, at least, is at fault.
    pub(super) events: usize,
    /// The event and its position, if it was alone.
    pub(super) alone: Option<(P, LogMessage)>,
}

impl<P> End<P> {
    fn failed(reason: impl Display) -> Self {
        Self::Failed { reason: reason.to_string(), retry_after: None }
    }
}

/// Events of one request, and their bytes in it.
struct Batch<P> {
    events: Vec<(P, LogMessage)>,
    bytes: usize,
}

impl<P> Default for Batch<P> {
    fn default() -> Self {
        Self { events: Vec::new(), bytes: 0 }
    }
}

/// Why nothing more is sent on a stream.
enum Stop {
    /// The source cannot be read or written.
    Source(SourceError),
    /// Another replica is the better one, and what is under way has had its time.
    Moved,
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// A stream in use: what its two halves share.
struct Stream<'a, S: EventSource> {
    shipper: &'a Shipper<S>,
    replica: Held,
    window: Mutex<Window<S::Position>>,
    /// The window has changed.
    changed: Notify,
}

impl<S: EventSource> Shipper<S> {
    /// Opens a stream to a replica, once one serves, and uses it until it ends. Says, too, whether
    /// anything was acknowledged on it.
    pub(super) async fn stream(&self) -> (End<S::Position>, bool) {
        let replica = tokio::select! {
            replica = self.replicas.hold(self.seed) => replica,
            // There may be nothing left to ship.
            () = self.shutdown.cancelled(), if !self.shutdown.is_cancelled() => return (End::Moved, false),
        };
        let stream = Stream {
            shipper: self,
            replica,
            window: Mutex::new(Window::new()),
            changed: Notify::new(),
        };
        let (requests, outbound) = mpsc::channel(1);
        let end = tokio::select! {
            stop = stream.send(requests) => Ok(match stop {
                Stop::Source(error) => End::failed(format_args!("the source of log events cannot be read or written: {error}")),
                Stop::Moved => End::Moved,
            }),
            end = stream.receive(outbound) => end,
        };
        let window = stream.window.into_inner().unwrap_or_else(PoisonError::into_inner);
        let progressed = window.has_progressed();
        let end = end.unwrap_or_else(|status| {
            if is_refusal(&status) && window.events() > 0 {
                return End::Refused(Box::new(Refusal {
                    reason: reason(&status),
                    events: window.events(),
                    alone: window.into_alone(),
                }));
            }
            let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            End::Failed { reason: reason(&status), retry_after }
        });
        (end, progressed)
    }
}

impl<S: EventSource> Stream<'_, S> {
    /// Reads the source and sends what it holds, as much as may be under way. Returns only when the
    /// source fails, when another replica is the better one, or, during a shutdown, when all is
    /// acknowledged and the service has had its time to close its side.
    async fn send(&self, requests: mpsc::Sender<StreamLogsRequest>) -> Stop {
        let Shipper { source, options, shutdown, replicas, seed, .. } = self.shipper;
        let mut after = None;
        let mut start_again_at = Instant::now() + options.poll_interval;
        // What an earlier stream brought must be marked in the source before it is read, or it
        // would be sent once more.
        self.shipper.wait_until(|unsettled| unsettled.is_empty().then_some(())).await;
        loop {
            // Once in a while the window is left to run empty, as reading can only begin from the
            // oldest event when none is under way.
            let start_again = Instant::now() >= start_again_at;
            let relieved = self.replica.is_relieved();
            if relieved {
                // What is not acknowledged by then is sent again elsewhere, and so are those behind
                // it.
                let _ = timeout(STEP_DOWN, self.room(0)).await;
                return Stop::Moved;
            }
            self.room(if start_again { 0 } else { usize::MAX }).await;
            // The preferred one is back, most often after its restart: without this, all senders
            // would end up with the one that was restarted last. Whenever nothing is under way, as
            // it costs nothing then: events that come again and again put off the time to begin
            // anew for ever.
            let empty = self.window().requests() == 0 && self.shipper.unsettled().is_empty();
            if (start_again || empty)
                && replicas
                    .favourite(*seed)
                    .is_some_and(|favourite| favourite != self.replica.address())
            {
                return Stop::Moved;
            }
            if empty {
                after = None;
                start_again_at = Instant::now() + options.poll_interval;
            }

            let limit = self.shipper.pace().events();
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
                sleep(FAREWELL).await;
                return SourceError::new("the logging service did not close its side").into();
            }
            tokio::select! {
                () = source.changed() => {}
                () = self.replica.relieved() => {}
                () = self.emptied(), if shutdown.is_cancelled() => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
                () = sleep_until(start_again_at) => {}
            }
        }
    }

    /// Waits until fewer requests than the pace allows, and no more than `at_most`, are under way,
    /// and the source keeps up with acknowledgements.
    async fn room(&self, at_most: usize) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            let mut settled = std::pin::pin!(self.shipper.changed.notified());
            changed.as_mut().enable();
            settled.as_mut().enable();
            let allowed =
                self.shipper.pace().requests(self.shipper.options.requests_in_flight.max(1));
            let under_way = self.window().requests();
            let unsettled = self.shipper.unsettled().len();
            let settled_enough =
                if at_most == 0 { unsettled == 0 } else { unsettled < allowed * rules::MAX_EVENTS };
            if under_way < allowed && under_way <= at_most && settled_enough {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = settled => {}
            }
        }
    }

    /// Waits until nothing is under way and all is settled.
    async fn emptied(&self) {
        self.room(0).await;
    }

    /// Sends events in as many requests as their bytes need. An event that breaks the contract
    /// becomes a dead letter here, before it costs a stream.
    async fn dispatch(
        &self,
        events: Vec<(S::Position, LogMessage)>,
        requests: &mpsc::Sender<StreamLogsRequest>,
    ) -> Result<(), SourceError> {
        let bound = self.shipper.options.batch_bytes.min(rules::MAX_REQUEST_BYTES)
            - rules::REQUEST_OVERHEAD;
        let mut batch = Batch::default();
        for (position, event) in events {
            let violations = rules::check(&event);
            if !violations.is_empty() {
                self.request(std::mem::take(&mut batch), requests).await;
                // It is acknowledged in order like any other, and becomes a dead letter once, not
                // at each attempt while Kafka is away.
                self.room(0).await;
                let reason =
                    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.shipper.dead_letter(&position, &event, &reason).await?;
                self.shipper.acknowledged([position]);
                continue;
            }
            let size = rules::size_in_request(&event);
            if batch.bytes + size > bound {
                self.request(std::mem::take(&mut batch), requests).await;
            }
            batch.bytes += size;
            batch.events.push((position, event));
        }
        self.request(batch, requests).await;
        Ok(())
    }

    /// Sends one request, once there is room for it; none for no events.
    async fn request(&self, batch: Batch<S::Position>, requests: &mpsc::Sender<StreamLogsRequest>) {
        let Batch { events, bytes: _ } = batch;
        if events.is_empty() {
            return;
        }
        self.room(usize::MAX).await;
        let meters = &self.shipper.meters;
        meters.sent.inc_by(events.len() as u64);
        let messages = events.iter().map(|(_, event)| event.clone()).collect();
        let sequence = self.window().push(events);
        self.report();
        let request = StreamLogsRequest { sequence, messages };
        debug_assert!(
            request.encoded_len() <= rules::MAX_REQUEST_BYTES,
            "a request keeps the bound of the contract"
        );
        if requests.send(request).await.is_err() {
            // The connection is gone; the receiving half learns why.
            std::future::pending().await
        }
    }

    /// Opens the call and follows its acknowledgements to the end.
    async fn receive(
        &self,
        outbound: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<End<S::Position>, Status> {
        let Shipper { options, meters, .. } = self.shipper;
        let mut client = LoggingServiceClient::new(self.replica.connection());
        let opening =
            timeout(options.acknowledge_timeout, client.stream_logs(ReceiverStream::new(outbound)));
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.replica.lost() => return Ok(End::Moved),
        };
        let Ok(opened) = opened else {
            return Ok(End::failed(format_args!(
                "the logging service did not answer the call within {:?}",
                options.acknowledge_timeout
            )));
        };
        let mut responses = opened?.into_inner();
        meters.connected.set(1);
        tracing::debug!(source = options.source, replica = %self.replica.address(), "the stream to the logging service is open");
        loop {
            let changed = self.changed.notified();
            let stalls_at = self.window().stalls_at(options.acknowledge_timeout);
            tokio::select! {
                response = responses.message() => match response? {
                    Some(response) => {
                        if let Err(end) = self.acknowledged(response).await {
                            return Ok(end);
                        }
                    }
                    None => return Ok(End::Closed),
                },
                // Sent or acknowledged: the deadline is another one now.
                () = changed => {}
                // What is under way is sent again elsewhere.
                () = self.replica.lost() => return Ok(End::Moved),
                () = sleep_until_some(stalls_at) => {
                    return Ok(End::failed(format_args!("the logging service acknowledged nothing for {:?}", options.acknowledge_timeout)));
                }
            }
        }
    }

    /// Settles what a response acknowledges; what it names as refused becomes dead letters first,
    /// each in its turn.
    async fn acknowledged(&self, response: StreamLogsResponse) -> Result<(), End<S::Position>> {
        let StreamLogsResponse { acknowledged_sequence, refused } = response;
        let events = self.window().acknowledge(acknowledged_sequence).map_err(|never_sent| {
            End::failed(format_args!(
                "the logging service acknowledged request {}, but the last one sent was {}",
                never_sent.acknowledged, never_sent.last_sent
            ))
        })?;
        if events.is_empty() {
            return Ok(());
        }
        self.shipper.pace().accepted();
        self.shipper
            .meters
            .acknowledged
            .inc_by((events.len() - refused.len().min(events.len())) as u64);
        if refused.is_empty() {
            self.shipper.acknowledged(events.into_iter().map(|(position, _)| position));
            self.report();
            return Ok(());
        }
        let reasons: HashMap<String, String> =
            refused.into_iter().map(|event| (event.id, event.reason)).collect();
        for (position, event) in events {
            if let Some(reason) = reasons.get(&event.id) {
                // In the order of the source; and once, not again if what is before it could not be
                // marked.
                self.shipper.wait_until(|unsettled| unsettled.is_empty().then_some(())).await;
                let kept = self.shipper.dead_letter(&position, &event, reason).await;
                kept.map_err(|error| {
                    End::failed(format_args!("a refused log event could not be kept: {error}"))
                })?;
            }
            self.shipper.acknowledged([position]);
        }
        self.report();
        Ok(())
    }

    /// Tells the other half and the metrics that the window has changed.
    fn report(&self) {
        let window = self.window();
        self.shipper.meters.in_flight.set(i64::try_from(window.events()).unwrap_or(i64::MAX));
        self.shipper.meters.oldest.set(window.oldest_seconds());
        drop(window);
        self.changed.notify_waiters();
    }

    fn window(&self) -> MutexGuard<'_, Window<S::Position>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the service found fault with an event, and not with the numbering, which would be a
/// fault of this module.
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

/// The status and the fields that it names, in one line.
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
