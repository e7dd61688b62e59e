//! The replicas of the logging service, and Kafka behind them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use simulator::locked;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{EventKind, Mutant, World};
use crate::{
    client::ship::replicas::{LoggingReplica, LoggingReplicas, Responses},
    proto::{LogMessage, RefusedEvent, StreamLogsRequest, StreamLogsResponse},
};

pub(super) struct Replicas(pub(super) Arc<World>);

impl LoggingReplicas for Replicas {
    type Replica = Replica;

    async fn pick(&self, key: u64) -> Replica {
        loop {
            let mut changed = std::pin::pin!(self.0.replicas_changed.notified());
            changed.as_mut().enable();
            if let Some(index) = self.0.preferred(key) {
                let state = &self.0.replicas[index];
                return Replica {
                    world: self.0.clone(),
                    index,
                    ended: locked(&state.ended).clone(),
                    draining: locked(&state.draining).clone(),
                };
            }
            changed.await;
        }
    }

    fn preferred_address(&self, key: u64) -> Option<String> {
        self.0.preferred(key).map(|index| format!("replica {index}"))
    }
}

pub(super) struct Replica {
    world: Arc<World>,
    index: usize,
    ended: CancellationToken,
    draining: CancellationToken,
}

impl LoggingReplica for Replica {
    type Responses = ResponseStream;

    fn address(&self) -> String {
        format!("replica {}", self.index)
    }

    fn is_replaced(&self) -> bool {
        self.draining.is_cancelled()
    }

    async fn replaced(&self) {
        self.draining.cancelled().await;
    }

    /// A health check notices that the replica is frozen, if another one can take its place.
    async fn unreachable(&self) {
        loop {
            sleep(Duration::from_secs(2)).await;
            let is_frozen =
                |index: usize| self.world.replicas[index].is_frozen.load(Ordering::Relaxed);
            let has_other = (0..self.world.replicas.len()).any(|other| {
                other != self.index && self.world.is_serving(other) && !is_frozen(other)
            });
            if is_frozen(self.index) && has_other {
                return;
            }
        }
    }

    async fn stream_logs(
        &self,
        requests: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<ResponseStream, Status> {
        self.world.travel().await;
        if self.ended.is_cancelled() {
            return Err(Status::unavailable("connection refused"));
        }
        // Responses on their way, as in the buffers of a connection.
        let (sender, responses) = mpsc::channel(16);
        let (arrived, arriving) = mpsc::channel(16);
        let (world, index, ended) = (self.world.clone(), self.index, self.ended.clone());
        let connection = world.replicas[index].forgotten.load(Ordering::Relaxed);
        tokio::spawn({
            let (world, ended) = (world.clone(), ended.clone());
            async move { deliver(&world, index, connection, &ended, requests, arrived).await }
        });
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = sender.closed() => {}
                () = serve(&world, index, arriving, &sender) => {}
            }
        });
        Ok(ResponseStream { world: self.world.clone(), index: self.index, connection, responses })
    }
}

/// Brings requests to a replica, one after the other. They arrive even if the sender is gone.
async fn deliver(
    world: &World,
    index: usize,
    connection: usize,
    ended: &CancellationToken,
    mut requests: mpsc::Receiver<StreamLogsRequest>,
    arrived: mpsc::Sender<StreamLogsRequest>,
) {
    while let Some(request) = requests.recv().await {
        sleep(world.delay(world.replicas[index].delay)).await;
        world.passes(index, connection).await;
        if ended.is_cancelled() || arrived.send(request).await.is_err() {
            return;
        }
    }
}

type StoredRequest = Result<(u64, Vec<RefusedEvent>, Instant), Status>;

/// The logging service: sends several requests to Kafka, which stores them in order, and
/// acknowledges in order what is stored, several requests at once.
async fn serve(
    world: &World,
    index: usize,
    requests: mpsc::Receiver<StreamLogsRequest>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
) {
    let unacknowledged = AtomicUsize::new(0);
    let (to_kafka, from_client) = mpsc::channel(16);
    let (stored, to_acknowledge) = mpsc::channel(16);
    tokio::join!(
        receive(world, requests, to_kafka, responses, &unacknowledged),
        store(world, index, from_client, stored),
        acknowledge(world, index, to_acknowledge, responses, &unacknowledged),
    );
    // The sender has closed its side; dropping `responses` closes ours.
}

type CheckedRequest = Result<(Instant, StreamLogsRequest), Status>;

async fn receive(
    world: &World,
    mut requests: mpsc::Receiver<StreamLogsRequest>,
    to_kafka: mpsc::Sender<CheckedRequest>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
    unacknowledged: &AtomicUsize,
) {
    let mut expected = 1;
    while let Some(request) = requests.recv().await {
        let sequence = request.sequence;
        if sequence != expected {
            world.broken(format!("the contract: request {sequence} instead of {expected}"));
        }
        expected = sequence + 1;
        let (events, bytes) = (request.messages.len(), request.encoded_len());
        if events > world.batch_events || (bytes > world.batch_bytes && events > 1) {
            world.broken(format!("a request has {events} events and {bytes} bytes"));
        }
        let in_flight = unacknowledged.fetch_add(1, Ordering::Relaxed) + 1;
        if in_flight > world.in_flight {
            world.broken(format!("{in_flight} requests are in flight"));
        }
        if world.has(Mutant::AcknowledgeUnstored) {
            let response = StreamLogsResponse { acknowledged_sequence: sequence, refused: vec![] };
            let _ = responses.send(Ok(response)).await;
        }
        if let Some(status) = world.refusal_of(&request) {
            let _ = to_kafka.send(Err(status)).await;
            return;
        }
        let at = Instant::now() + world.delay(Duration::ZERO);
        if to_kafka.send(Ok((at, request))).await.is_err() {
            return;
        }
    }
}

async fn store(
    world: &World,
    index: usize,
    mut requests: mpsc::Receiver<CheckedRequest>,
    stored: mpsc::Sender<StoredRequest>,
) {
    while let Some(request) = requests.recv().await {
        let result = match request {
            Ok((at, StreamLogsRequest { sequence, messages })) => {
                sleep_until(at).await;
                if world.kafka_down.load(Ordering::Relaxed) {
                    sleep(Duration::from_secs(3)).await;
                    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(200)));
                    let message = "Kafka does not answer";
                    Err(Status::with_error_details(tonic::Code::Unavailable, message, details))
                } else {
                    let refused = world.store(index, messages);
                    Ok((sequence, refused, Instant::now() + world.delay(Duration::ZERO)))
                }
            }
            Err(status) => Err(status),
        };
        let is_last = result.is_err();
        if stored.send(result).await.is_err() || is_last {
            return;
        }
    }
}

async fn acknowledge(
    world: &World,
    index: usize,
    mut stored: mpsc::Receiver<StoredRequest>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
    unacknowledged: &AtomicUsize,
) {
    let mut next = stored.recv().await;
    while let Some(request) = next.take() {
        let (mut sequence, refused, at) = match request {
            Ok(request) => request,
            Err(status) => {
                let _ = responses.send(Err(status)).await;
                return;
            }
        };
        sleep_until(at).await;
        let mut acknowledged = 1;
        while refused.is_empty() && next.is_none() {
            match stored.try_recv() {
                Ok(Ok((following, refused, at))) if refused.is_empty() && at <= Instant::now() => {
                    (sequence, acknowledged) = (following, acknowledged + 1);
                }
                Ok(request) => next = Some(request),
                Err(_) => break,
            }
        }
        let too_much = world.replicas[index].acknowledges_too_much.load(Ordering::Relaxed);
        let acknowledged_sequence = sequence + if too_much { 1_000 } else { 0 };
        unacknowledged.fetch_sub(acknowledged, Ordering::Relaxed);
        let response = StreamLogsResponse { acknowledged_sequence, refused };
        let is_answered = world.has(Mutant::AcknowledgeUnstored);
        if !is_answered && responses.send(Ok(response)).await.is_err() {
            return;
        }
        if next.is_none() {
            next = stored.recv().await;
        }
    }
}

impl World {
    /// Waits until messages pass on a connection, or for ever.
    async fn passes(&self, index: usize, connection: usize) {
        while self.replicas[index].is_frozen.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
        if self.replicas[index].forgotten.load(Ordering::Relaxed) != connection {
            std::future::pending::<()>().await;
        }
    }
}

fn refusal(field: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, "expected another");
    Status::with_error_details(tonic::Code::InvalidArgument, "refused", details)
}

impl World {
    /// Returns the status of a request that the service does not accept.
    fn refusal_of(&self, request: &StreamLogsRequest) -> Option<Status> {
        if self.has(Mutant::RefuseValidRequests) && request.sequence.is_multiple_of(3) {
            return Some(refusal("messages[0].id"));
        }
        let state = locked(&self.state);
        let refused = request.messages.iter().position(|message| {
            state.find(&message.id).is_some_and(|(_, kind)| kind == EventKind::Refused)
        });
        drop(state);
        if let Some(index) = refused {
            if self.has(Mutant::RefuseNeighbours) {
                self.refused_neighbours.store(3, Ordering::Relaxed);
            }
            let is_hidden = self.has(Mutant::HideViolations);
            return Some(refusal(&if is_hidden {
                "sequence".to_owned()
            } else {
                format!("messages[{index}].id")
            }));
        }
        let left = self.refused_neighbours.load(Ordering::Relaxed);
        self.refused_neighbours.store(left.saturating_sub(1), Ordering::Relaxed);
        (left > 0).then(|| refusal("messages[0].id"))
    }
}

impl World {
    /// Returns the events that Kafka refuses.
    fn store(&self, replica: usize, mut messages: Vec<LogMessage>) -> Vec<RefusedEvent> {
        if self.has(Mutant::ReverseRequests) {
            messages.reverse();
        }
        let mut refused = Vec::new();
        let mut stored = Vec::new();
        let mut state = locked(&self.state);
        for message in messages {
            let Some((position, kind)) = state.find(&message.id) else {
                state.broken.push(format!("an unknown event arrives: {message:?}"));
                continue;
            };
            match kind {
                EventKind::Invalid => {
                    state.broken.push(format!("event {position} is sent, and invalid"));
                }
                EventKind::Refused => {
                    state.broken.push(format!("event {position} is stored, and refused"));
                }
                EventKind::Poisonous => {
                    refused.push(RefusedEvent { id: message.id, reason: "too large".to_owned() });
                }
                EventKind::Valid => {
                    if self.has(Mutant::RefuseValidEvents) && position % 5 == 0 {
                        let reason = "too large".to_owned();
                        refused.push(RefusedEvent { id: message.id, reason });
                    }
                    state.topic.push(position);
                    stored.push(position);
                }
            }
        }
        drop(state);
        self.history.note(format!("replica {replica} stores {stored:?}"));
        if self.has(Mutant::HideRefused) { Vec::new() } else { refused }
    }
}

pub(super) struct ResponseStream {
    world: Arc<World>,
    index: usize,
    connection: usize,
    responses: mpsc::Receiver<Result<StreamLogsResponse, Status>>,
}

impl Responses for ResponseStream {
    async fn message(&mut self) -> Result<Option<StreamLogsResponse>, Status> {
        // Cancellation-safe: a response is taken after the delay.
        let delay = self.world.delay(self.world.replicas[self.index].delay);
        sleep(delay).await;
        self.world.passes(self.index, self.connection).await;
        self.responses.recv().await.transpose()
    }
}
