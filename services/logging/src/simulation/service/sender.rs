//! The senders: the events on their disk, their connections to the replicas, and probes.

use std::{sync::Arc, time::Duration};

use simulator::locked;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{EventKind, FaultKind, Mistake, Probe, network::World};
use crate::{
    client::{
        EventSource, ShipOptions, SourceError,
        ship::{
            replicas::{LoggingReplica, LoggingReplicas, Responses},
            ship_to,
        },
    },
    proto::{LogMessage, StreamLogsRequest, StreamLogsResponse},
    simulation::{id, message},
};

/// The first event of the first probe.
const PROBES: u64 = 1_000_000;
/// Longer than Kafka's time limit.
const PROBE_TIMEOUT: Duration = Duration::from_secs(40);

impl World {
    pub(super) fn start_sender(self: &Arc<Self>, sender: usize) {
        let shutdown = CancellationToken::new();
        let options = ShipOptions {
            batch_events: self.batch_events,
            requests_in_flight: self.requests_in_flight,
            ..ShipOptions::new("db")
        };
        let source = Source { world: Arc::clone(self), sender };
        let replicas = Replicas(Arc::clone(self));
        let seed = self.seed + sender as u64;
        let shipping = tokio::spawn(ship_to(source, replicas, options, seed, shutdown.clone()));
        locked(&self.senders[sender]).running = Some((shipping, shutdown));
    }

    pub(super) async fn stop_sender(&self, sender: usize) {
        let running = locked(&self.senders[sender]).running.take();
        if let Some((shipping, shutdown)) = running {
            shutdown.cancel();
            if shipping.await.is_err_and(|error| error.is_panic()) {
                self.broken(format!("sender {sender} panicked"));
            }
        }
    }

    pub(super) async fn probe(self: &Arc<Self>, number: u64, probe: &Probe) {
        let index = usize::try_from(number).unwrap_or(0) % self.replicas.len();
        let (requests, outbound) = mpsc::channel(1);
        let Ok(mut responses) = self.open_stream(index, true, outbound).await else { return };
        self.history.note(format!("probe {number} of replica {index}: {probe:?}"));
        let first = PROBES * (number + 1);
        let Probe { requests: count, mistake, reads_after, .. } = *probe;
        let last = count;
        let sending = async {
            for sequence in 1..=count {
                let mut request = request(sequence, first);
                for event in &request.messages {
                    let kind = EventKind::Valid;
                    locked(&self.topic).written(first + sequence, kind, (usize::MAX, 0), event);
                }
                if let Some(mistake) = mistake.filter(|_| sequence == last) {
                    spoil(&mut request, mistake);
                }
                if requests.send(request).await.is_err() {
                    return;
                }
            }
            drop(requests);
        };
        let mut acknowledged = 0;
        let receiving = async {
            sleep(reads_after).await;
            loop {
                match responses.recv().await {
                    Some(Ok(response)) => acknowledged = response.acknowledged_sequence,
                    Some(Err(status)) => return Some(status),
                    None => return None,
                }
            }
        };
        let both = async { tokio::join!(sending, receiving).1 };
        let Ok(status) = timeout(PROBE_TIMEOUT, both).await else {
            if !self.is(|fault| *fault == FaultKind::Cut(index)) {
                self.broken(format!("probe {number} gets no answer"));
            }
            return;
        };
        self.history.note(format!("probe {number} ends: {acknowledged}, {status:?}"));
        self.check_probe(number, probe, first, acknowledged, status);
    }

    fn check_probe(
        &self,
        number: u64,
        probe: &Probe,
        first: u64,
        acknowledged: u64,
        status: Option<Status>,
    ) {
        let Probe { requests: count, mistake, .. } = *probe;
        match (mistake, status) {
            (None, None) if acknowledged == count => {}
            (Some(mistake), Some(status)) if status.code() == Code::InvalidArgument => {
                let fields = status.get_details_bad_request().map(|details| {
                    details.field_violations.into_iter().map(|violation| violation.field)
                });
                let expected = match mistake {
                    Mistake::SkipNumber | Mistake::RepeatNumber => "sequence",
                    Mistake::InvalidEvent => "messages[0].id",
                    Mistake::NoEvent => "messages",
                    Mistake::OtherService => "messages[0].service",
                };
                if !fields.is_some_and(|mut fields| fields.any(|field| field == expected)) {
                    self.broken(format!("probe {number}: {expected} is not named: {status:?}"));
                }
                if locked(&self.topic).has(&id(first + count)) {
                    self.broken(format!("probe {number}: a wrong request is on the topic"));
                }
            }
            (_, Some(status)) if status.code() == Code::Unavailable => {}
            (_, status) => self.broken(format!(
                "probe {number} ends after {acknowledged} of {count} requests: {status:?}"
            )),
        }
    }
}

fn request(sequence: u64, first: u64) -> StreamLogsRequest {
    let event = LogMessage { id: id(first + sequence), ..message() };
    StreamLogsRequest { sequence, messages: vec![event] }
}

fn spoil(request: &mut StreamLogsRequest, mistake: Mistake) {
    match mistake {
        Mistake::SkipNumber => request.sequence += 1,
        Mistake::RepeatNumber => request.sequence -= 1,
        Mistake::InvalidEvent => request.messages[0].id = "1".to_owned(),
        Mistake::NoEvent => request.messages.clear(),
        Mistake::OtherService => request.messages[0].service = "api".to_owned(),
    }
}

struct Source {
    world: Arc<World>,
    sender: usize,
}

impl EventSource for Source {
    type Position = u64;

    async fn read(
        &self,
        after: Option<&u64>,
        limit: usize,
    ) -> Result<Vec<(u64, LogMessage)>, SourceError> {
        self.world.travel().await;
        let sender = locked(&self.world.senders[self.sender]);
        let after = after.map_or(0, |after| *after).max(sender.acknowledged);
        let events = sender.events.range(after + 1..).take(limit);
        Ok(events.map(|(position, event)| (*position, event.clone())).collect())
    }

    async fn acknowledge(&self, positions: &[u64]) -> Result<(), SourceError> {
        self.world.travel().await;
        let mut sender = locked(&self.world.senders[self.sender]);
        for position in positions {
            let event = &sender.events[position];
            if !locked(&self.world.topic).has(&event.id) && !sender.dead_letters.contains(position)
            {
                self.world.broken(format!(
                    "promise 4: event {position} is acknowledged, and neither on the topic nor a \
                     dead letter"
                ));
            }
            sender.acknowledged = sender.acknowledged.max(*position);
        }
        drop(sender);
        self.world.changed.notify_waiters();
        Ok(())
    }

    async fn changed(&self) {
        self.world.changed.notified().await;
    }

    async fn dead_letter(
        &self,
        position: &u64,
        _: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        self.world.travel().await;
        locked(&self.world.senders[self.sender]).dead_letters.push(*position);
        self.world.history.note(format!("event {position} is a dead letter: {reason}"));
        Ok(())
    }
}

struct Replicas(Arc<World>);

impl Replicas {
    fn preferred(&self, key: u64) -> Option<usize> {
        let serving: Vec<usize> =
            (0..self.0.replicas.len()).filter(|replica| self.0.is_serving(*replica)).collect();
        let index = usize::try_from(key).unwrap_or_default().checked_rem(serving.len())?;
        serving.get(index).copied()
    }
}

impl LoggingReplicas for Replicas {
    type Replica = Connected;

    async fn pick(&self, key: u64) -> Connected {
        loop {
            let changed = self.0.changed.notified();
            if let Some(index) = self.preferred(key) {
                let stopping = locked(&self.0.replicas[index]).stopping.clone();
                return Connected { world: Arc::clone(&self.0), index, stopping };
            }
            changed.await;
        }
    }

    fn preferred_address(&self, key: u64) -> Option<String> {
        self.preferred(key).map(|index| format!("replica {index}"))
    }
}

struct Connected {
    world: Arc<World>,
    index: usize,
    stopping: CancellationToken,
}

impl LoggingReplica for Connected {
    type Responses = Received;

    fn address(&self) -> String {
        format!("replica {}", self.index)
    }

    fn is_replaced(&self) -> bool {
        self.stopping.is_cancelled()
    }

    async fn replaced(&self) {
        self.stopping.cancelled().await;
    }

    /// A health check notices that messages are lost, if another replica can take its place.
    async fn unreachable(&self) {
        loop {
            sleep(Duration::from_secs(2)).await;
            let is_cut = |index: usize| self.world.is(|fault| *fault == FaultKind::Cut(index));
            let has_other = (0..self.world.replicas.len())
                .any(|other| other != self.index && self.world.is_serving(other) && !is_cut(other));
            if is_cut(self.index) && has_other {
                return;
            }
        }
    }

    async fn stream_logs(
        &self,
        requests: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<Received, Status> {
        self.world.open_stream(self.index, false, requests).await.map(Received)
    }
}

struct Received(mpsc::Receiver<Result<StreamLogsResponse, Status>>);

impl Responses for Received {
    async fn message(&mut self) -> Result<Option<StreamLogsResponse>, Status> {
        self.0.recv().await.transpose()
    }
}
