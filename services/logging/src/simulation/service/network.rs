//! The replicas of the logging service, and the faults.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use merch_chassis::grpc::Role;
use simulator::{Chance, History, locked};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    Event, EventKind, Fault, FaultKind, Mutant, Plan, SUBJECTS,
    check::{Stream, Topic},
    kafka::{Client, Clients, Stored},
};
use crate::{
    connection::{Connection, Security},
    proto::{LogMessage, StreamLogsRequest, StreamLogsResponse},
    server::{Config, producer::KafkaProducer, stream},
    simulation::{id, message},
};

/// A stopped replica ends after this time.
const STOPPING: Duration = Duration::from_secs(2);
/// Messages in the buffers of a connection.
const BUFFERED: usize = 16;

pub(super) struct World {
    pub(super) mutant: Option<Mutant>,
    pub(super) seed: u64,
    pub(super) partitions: usize,
    pub(super) batch_events: usize,
    pub(super) requests_in_flight: usize,
    stream_window: usize,
    delivery_timeout: Duration,
    pub(super) history: History,
    pub(super) chance: Chance,
    pub(super) faults: Mutex<Vec<FaultKind>>,
    pub(super) changed: Notify,
    pub(super) replicas: Vec<Mutex<Replica>>,
    pub(super) senders: Vec<Mutex<Sender>>,
    pub(super) topic: Mutex<Topic>,
    broken: Mutex<Vec<String>>,
}

#[derive(Default)]
pub(super) struct Replica {
    /// `None` while it does not run.
    kafka: Option<Arc<KafkaProducer<Clients>>>,
    pub(super) client: Option<Client>,
    /// Cancelled when the process ends.
    pub(super) life: CancellationToken,
    /// Cancelled when the process receives SIGTERM.
    pub(super) stopping: CancellationToken,
}

/// A sender, and the events on its disk.
#[derive(Default)]
pub(super) struct Sender {
    /// By position.
    pub(super) events: BTreeMap<u64, LogMessage>,
    pub(super) acknowledged: u64,
    pub(super) dead_letters: Vec<u64>,
    pub(super) running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl World {
    pub(super) fn new(plan: &Plan, mutant: Option<Mutant>) -> Arc<Self> {
        Arc::new(Self {
            mutant,
            seed: plan.seed,
            partitions: plan.partitions,
            batch_events: plan.batch_events,
            requests_in_flight: plan.requests_in_flight,
            stream_window: plan.stream_window,
            delivery_timeout: plan.delivery_timeout,
            history: History::default(),
            chance: Chance::new(plan.seed, "world"),
            faults: Mutex::default(),
            changed: Notify::new(),
            replicas: (0..plan.replicas).map(|_| Mutex::default()).collect(),
            senders: (0..plan.senders).map(|_| Mutex::default()).collect(),
            topic: Mutex::new(Topic::new(plan.partitions)),
            broken: Mutex::default(),
        })
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn broken(&self, text: String) {
        self.history.note(format!("broken: {text}"));
        locked(&self.broken).push(text);
    }

    pub(super) fn take(&self) -> (Vec<String>, Vec<String>) {
        (std::mem::take(&mut *locked(&self.broken)), self.history.take())
    }

    pub(super) fn is(&self, wanted: impl Fn(&FaultKind) -> bool) -> bool {
        locked(&self.faults).iter().any(wanted)
    }

    pub(super) async fn until(&self, is_wanted: impl Fn(&[FaultKind]) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_wanted(&locked(&self.faults)) {
                return;
            }
            changed.await;
        }
    }

    pub(super) async fn travel(&self) {
        let slow = locked(&self.faults)
            .iter()
            .filter_map(|fault| match fault {
                FaultKind::Slow(time) => Some(*time),
                _ => None,
            })
            .max();
        let delay = self.chance.delay(20..3_000, slow.unwrap_or_default());
        sleep(delay).await;
    }

    /// Brings a message from or to a replica.
    pub(super) async fn travel_to(&self, replica: usize) {
        self.travel().await;
        self.until(|faults| !faults.contains(&FaultKind::Cut(replica))).await;
    }

    pub(super) fn write(self: &Arc<Self>, position: u64, event: &Event) {
        let message = LogMessage {
            id: if event.kind == EventKind::Invalid { position.to_string() } else { id(position) },
            subject: format!("user:{}", id((event.sender * SUBJECTS + event.subject) as u64)),
            ..message()
        };
        self.history.note(format!("event {position} of sender {}: {:?}", event.sender, event.kind));
        let subject = (event.sender, event.subject);
        locked(&self.topic).written(position, event.kind, subject, &message);
        locked(&self.senders[event.sender]).events.insert(position, message);
        self.changed.notify_waiters();
    }

    pub(super) fn kind(&self, id: &str) -> EventKind {
        locked(&self.topic).kind(id)
    }

    /// Events of a subject share a partition.
    pub(super) fn partition(&self, event: &LogMessage) -> usize {
        let subject = locked(&self.topic).subject(&event.id);
        subject.map_or(0, |(sender, subject)| (sender * SUBJECTS + subject) % self.partitions)
    }

    pub(super) fn store(
        &self,
        replica: usize,
        partition: usize,
        records: impl Iterator<Item = Stored>,
    ) {
        let records: Vec<Stored> = records.collect();
        self.history.note(format!("replica {replica} stores {records:?}"));
        locked(&self.topic).partitions[partition].extend(records);
    }

    pub(super) fn is_serving(&self, replica: usize) -> bool {
        let replica = locked(&self.replicas[replica]);
        replica.kafka.is_some() && !replica.stopping.is_cancelled() && !replica.life.is_cancelled()
    }

    pub(super) fn start_replica(self: &Arc<Self>, replica: usize) {
        let life = CancellationToken::new();
        let clients = Clients { world: Arc::clone(self), replica, life: life.clone() };
        let kafka = Connection { brokers: String::new(), security: Security::Plaintext };
        let config = Config {
            stream_window: self.stream_window,
            delivery_timeout: self.delivery_timeout,
            ..Config::new(kafka)
        };
        // The process would end, and start again.
        let Ok(kafka) = KafkaProducer::new(config, clients) else { return };
        let kafka = Arc::new(kafka);
        tokio::spawn({
            let (kafka, life) = (Arc::clone(&kafka), life.clone());
            async move { life.run_until_cancelled(kafka.enforce_delivery_timeout()).await }
        });
        let mut state = locked(&self.replicas[replica]);
        (state.kafka, state.life) = (Some(kafka), life);
        state.stopping = CancellationToken::new();
    }

    fn end_replica(&self, replica: usize) {
        let mut replica = locked(&self.replicas[replica]);
        replica.kafka = None;
        replica.client = None;
        replica.life.cancel();
    }

    /// Opens a stream, with what the sender sends and what it receives.
    pub(super) async fn open_stream(
        self: &Arc<Self>,
        index: usize,
        is_probe: bool,
        requests: mpsc::Receiver<StreamLogsRequest>,
    ) -> Result<mpsc::Receiver<Result<StreamLogsResponse, Status>>, Status> {
        self.travel_to(index).await;
        let (kafka, life, stopping) = {
            let replica = locked(&self.replicas[index]);
            (replica.kafka.clone(), replica.life.clone(), replica.stopping.clone())
        };
        let Some(kafka) = kafka.filter(|_| !stopping.is_cancelled()) else {
            return Err(Status::unavailable("connection refused"));
        };
        let (arrived, arriving) = mpsc::channel(BUFFERED);
        let (sender, sent) = mpsc::channel(1);
        let (received, receiving) = mpsc::channel(BUFFERED);
        let stream = Arc::new(Mutex::new(Stream::new(is_probe)));
        tokio::spawn({
            let (world, life, stream) = (Arc::clone(self), life.clone(), Arc::clone(&stream));
            async move {
                life.run_until_cancelled(world.deliver(index, &stream, requests, arrived)).await;
            }
        });
        tokio::spawn({
            let life = life.clone();
            let inbound = ReceiverStream::new(arriving);
            let serving = stream::serve(Some(Role::Db), inbound, sender, kafka, stopping);
            async move { life.run_until_cancelled(serving).await }
        });
        tokio::spawn({
            let world = Arc::clone(self);
            async move { world.respond(index, &stream, &life, sent, received).await }
        });
        Ok(receiving)
    }

    /// Brings requests to a replica, one after the other. They arrive even if the sender is gone.
    async fn deliver(
        &self,
        index: usize,
        stream: &Mutex<Stream>,
        mut requests: mpsc::Receiver<StreamLogsRequest>,
        arrived: mpsc::Sender<Result<StreamLogsRequest, Status>>,
    ) {
        let mut number = 0;
        while let Some(request) = requests.recv().await {
            self.travel_to(index).await;
            number += 1;
            if self.has(Mutant::LoseRequests) && number % 7 == 3 {
                continue;
            }
            locked(stream).received(&request);
            if arrived.send(Ok(request)).await.is_err() {
                return;
            }
        }
        locked(stream).is_closed = true;
    }

    async fn respond(
        self: &Arc<Self>,
        index: usize,
        stream: &Mutex<Stream>,
        life: &CancellationToken,
        mut responses: mpsc::Receiver<Result<StreamLogsResponse, Status>>,
        received: mpsc::Sender<Result<StreamLogsResponse, Status>>,
    ) {
        loop {
            let response = tokio::select! {
                biased;
                () = life.cancelled() => {
                    self.travel_to(index).await;
                    let _ = received.send(Err(Status::unavailable("connection reset"))).await;
                    return;
                }
                () = received.closed() => return,
                response = responses.recv() => response,
            };
            let Some(mut response) = response else {
                if !life.is_cancelled() {
                    self.check_end(&locked(stream));
                }
                return;
            };
            self.check_response(&mut locked(stream), &response);
            if let Ok(response) = &mut response {
                if self.has(Mutant::HideRefused) {
                    response.refused.clear();
                }
                if self.has(Mutant::AcknowledgeAhead) {
                    response.acknowledged_sequence += 1;
                }
            }
            self.travel_to(index).await;
            if received.send(response).await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn cause(self: &Arc<Self>, fault: &Fault) {
        let Fault { lasts, kind, .. } = fault;
        self.history.note(format!("fault: {kind:?} for {lasts:?}"));
        locked(&self.faults).push(kind.clone());
        self.changed.notify_waiters();
        match kind {
            FaultKind::Kill(replica) => self.end_replica(*replica),
            FaultKind::Stop(replica) => {
                let stopping = locked(&self.replicas[*replica]).stopping.clone();
                stopping.cancel();
                self.changed.notify_waiters();
                sleep(STOPPING).await;
                self.end_replica(*replica);
            }
            FaultKind::FatalError(replica) => {
                if let Some(client) = locked(&self.replicas[*replica]).client.clone() {
                    client.fail();
                }
            }
            FaultKind::KillSender(sender) => {
                if let Some((shipping, _)) = locked(&self.senders[*sender]).running.take() {
                    shipping.abort();
                }
            }
            FaultKind::StopSender(sender) => self.stop_sender(*sender).await,
            _ => {}
        }
        self.changed.notify_waiters();
        sleep(*lasts).await;
        let mut faults = locked(&self.faults);
        let index = faults.iter().position(|fault| fault == kind);
        faults.remove(index.expect("the fault was caused"));
        drop(faults);
        self.history.note(format!("over: {kind:?}"));
        match kind {
            FaultKind::Kill(replica) | FaultKind::Stop(replica) => self.restart(*replica),
            // It could not start.
            FaultKind::NoNewClient(replica) => self.restart(*replica),
            FaultKind::KillSender(sender) | FaultKind::StopSender(sender)
                if locked(&self.senders[*sender]).running.is_none() =>
            {
                self.start_sender(*sender);
            }
            _ => {}
        }
        self.changed.notify_waiters();
    }

    fn restart(self: &Arc<Self>, replica: usize) {
        let is_down = self
            .is(|fault| *fault == FaultKind::Kill(replica) || *fault == FaultKind::Stop(replica));
        if !is_down && locked(&self.replicas[replica]).kafka.is_none() {
            self.start_replica(replica);
        }
    }
}
