//! The log stream: the production code of the sender, from its source to the acknowledgements, on
//! simulated replicas of the logging service and a simulated topic.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pbjson_types::Timestamp;
use rand::{RngExt as _, rngs::StdRng};
use simulator::{Chance, History, Mutants, Scenario, locked, random};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use crate::{
    client::{
        EventSource, ShipOptions, SourceError,
        ship::{
            replicas::{LoggingReplica, LoggingReplicas, Responses},
            ship_to,
        },
    },
    proto::{Level, LogMessage, RefusedEvent, StreamLogsRequest, StreamLogsResponse},
};

/// No write and no fault starts later.
const HORIZON: Duration = Duration::from_secs(30);
const LIVE_BY: Duration = Duration::from_secs(300);
const SUBJECTS: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    batch_events: usize,
    requests_in_flight: usize,
    /// Whether the source keeps the last acknowledged position only, as the journal does.
    keeps_last: bool,
    events: Vec<Event>,
    faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
struct Event {
    at: Duration,
    subject: usize,
    kind: EventKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventKind {
    Valid,
    /// Violates the contract.
    Invalid,
    /// Kafka refuses it permanently.
    Poisonous,
}

#[derive(Clone, Debug)]
struct Fault {
    at: Duration,
    lasts: Duration,
    kind: FaultKind,
}

#[derive(Clone, Debug)]
enum FaultKind {
    /// The replica ends without a word; its connections are reset.
    Kill(usize),
    /// The replica drains: its streams are moved.
    Drain(usize),
    /// Messages of the replica are lost, in both directions.
    Freeze(usize),
    /// Kafka stores nothing.
    KafkaDown,
    /// Reading the source, acknowledging and storing dead letters fail with this probability.
    SourceFails(f64),
    /// Messages and Kafka take up to this time.
    Slow(Duration),
    /// The sender is killed, and starts again afterwards.
    KillSender,
    /// The sender is asked to stop, and starts again afterwards.
    StopSender,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The service acknowledges a request that Kafka has not stored.
    AcknowledgeUnstored,
    /// The service does not name refused events.
    HideRefused,
    /// The service refuses requests whose events are valid.
    RefuseValidRequests,
    /// The service names valid events as refused.
    RefuseValidEvents,
    /// The service stores the events of a request in reverse order.
    ReverseRequests,
    /// The source skips events.
    SkipEvents,
    /// The source returns each event once only.
    ReadOnce,
    /// The source acknowledges everything that it has.
    AcknowledgeAll,
    /// The source loses dead letters.
    LoseDeadLetters,
}

impl Mutants for Mutant {
    const ALL: &'static [Self] = &[
        Self::AcknowledgeUnstored,
        Self::HideRefused,
        Self::RefuseValidRequests,
        Self::RefuseValidEvents,
        Self::ReverseRequests,
        Self::SkipEvents,
        Self::ReadOnce,
        Self::AcknowledgeAll,
        Self::LoseDeadLetters,
    ];
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let replicas = random.random_range(1..=3);
        let span = HORIZON.mul_f64(random.random_range(0.1..1.0));
        let events = (0..random.random_range(1..80))
            .map(|_| Event {
                at: span.mul_f64(random.random()),
                subject: random.random_range(0..SUBJECTS),
                kind: match random.random_range(0..60) {
                    0 => EventKind::Invalid,
                    1 => EventKind::Poisonous,
                    _ => EventKind::Valid,
                },
            })
            .collect();
        let faults = (0..random.random_range(0..6))
            .map(|_| {
                // Some faults outlast the time-outs of the sender.
                let longest = if random.random_bool(0.3) { 60_000 } else { 10_000 };
                Fault {
                    at: span.mul_f64(random.random()),
                    lasts: Duration::from_millis(random.random_range(5..longest)),
                    kind: FaultKind::random(&mut random, replicas),
                }
            })
            .collect();
        let (batch_events, requests_in_flight) =
            (random.random_range(1..10), random.random_range(1..5));
        let keeps_last = random.random();
        Self { seed, replicas, batch_events, requests_in_flight, keeps_last, events, faults }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.events.retain(|_| is_kept());
        self.faults.retain(|_| is_kept());
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let world = Arc::new(World {
            mutant,
            started: Instant::now(),
            state: Mutex::default(),
            history: History::default(),
            chance: Chance::new(self.seed, "world"),
            changed: Notify::new(),
            replicas: (0..self.replicas).map(|_| ReplicaState::default()).collect(),
            replicas_changed: Notify::new(),
            kafka_down: AtomicBool::new(false),
            conditions: Mutex::default(),
            open_steps: AtomicUsize::new(self.steps()),
            in_flight: self.requests_in_flight,
            batch_events: self.batch_events,
            keeps_last: self.keeps_last,
            seed: self.seed,
            sender: Mutex::default(),
        });
        world.start_sender();
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at);
        for (position, event) in (1..).zip(events) {
            let world = world.clone();
            tokio::spawn(async move {
                sleep_until(world.started + event.at).await;
                world.write(position, &event);
                world.open_steps.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for fault in self.faults.clone() {
            let world = world.clone();
            tokio::spawn(async move {
                sleep_until(world.started + fault.at).await;
                world.cause(&fault).await;
                world.open_steps.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while world.started.elapsed() < LIVE_BY && !world.is_done() {
            sleep(Duration::from_secs(1)).await;
        }
        // Nothing is left to send, so it ends at once, and not by its time limit.
        let stopping = tokio::time::timeout(Duration::from_secs(5), world.stop_sender());
        let drained_in_time = stopping.await.is_ok() || !world.is_done();
        let mut state = std::mem::take(&mut *locked(&world.state));
        if !drained_in_time {
            state.broken.push("the sender does not end after its shutdown".to_owned());
        }
        (state.broken_promises(self.faults.is_empty()), world.history.take())
    }
}

impl FaultKind {
    fn random(random: &mut StdRng, replicas: usize) -> Self {
        let replica = random.random_range(0..replicas);
        match random.random_range(0..9) {
            7 => Self::KillSender,
            8 => Self::StopSender,
            0 => Self::Kill(replica),
            1 => Self::Drain(replica),
            2 => Self::Freeze(replica),
            3 => Self::KafkaDown,
            4 => Self::SourceFails(random.random_range(0.05..0.6)),
            _ => Self::Slow(Duration::from_millis(random.random_range(10..3_000))),
        }
    }
}

#[derive(Debug, Default)]
struct Conditions {
    source_fails: f64,
    slow: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Events of the source by position.
    events: BTreeMap<u64, (LogMessage, EventKind, usize)>,
    acknowledged: BTreeSet<u64>,
    returned: BTreeSet<u64>,
    dead_letters: Vec<u64>,
    /// Positions in the order of their arrival.
    topic: Vec<u64>,
    broken: Vec<String>,
}

struct ReplicaState {
    is_up: AtomicBool,
    is_frozen: AtomicBool,
    /// Cancelled when the replica ends.
    ended: Mutex<CancellationToken>,
    /// Cancelled when its streams should move.
    draining: Mutex<CancellationToken>,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self {
            is_up: AtomicBool::new(true),
            is_frozen: AtomicBool::new(false),
            ended: Mutex::default(),
            draining: Mutex::default(),
        }
    }
}

struct World {
    mutant: Option<Mutant>,
    started: Instant,
    state: Mutex<State>,
    history: History,
    chance: Chance,
    changed: Notify,
    replicas: Vec<ReplicaState>,
    replicas_changed: Notify,
    kafka_down: AtomicBool,
    conditions: Mutex<Conditions>,
    open_steps: AtomicUsize,
    in_flight: usize,
    batch_events: usize,
    keeps_last: bool,
    seed: u64,
    sender: Mutex<Option<(JoinHandle<()>, CancellationToken)>>,
}

impl World {
    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn broken(&self, text: String) {
        locked(&self.state).broken.push(text);
    }

    async fn travel(&self) {
        let slow = locked(&self.conditions).slow;
        let delay = self.chance.delay(20..3_000, slow);
        sleep(delay).await;
    }

    /// All steps are over, and nothing is left to send.
    fn is_done(&self) -> bool {
        let state = locked(&self.state);
        self.open_steps.load(Ordering::Relaxed) == 0
            && state.acknowledged.len() == state.events.len()
    }

    fn write(&self, position: u64, event: &Event) {
        let message = LogMessage {
            id: if event.kind == EventKind::Invalid {
                format!("{position}")
            } else {
                Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(position))
                    .to_string()
            },
            time: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            service: "db".to_owned(),
            instance: "simulated".to_owned(),
            level: Level::Info.into(),
            event: "user_updated".to_owned(),
            actor: "anonymous".to_owned(),
            ..LogMessage::default()
        };
        locked(&self.state).events.insert(position, (message, event.kind, event.subject));
        self.history
            .note(format!("event {position} of subject {}: {:?}", event.subject, event.kind));
        self.changed.notify_one();
    }

    fn start_sender(self: &Arc<Self>) {
        let shutdown = CancellationToken::new();
        let options = ShipOptions {
            batch_events: self.batch_events,
            requests_in_flight: self.in_flight,
            ..ShipOptions::new("db")
        };
        let (source, replicas) = (Source(self.clone()), Replicas(self.clone()));
        let shipping =
            tokio::spawn(ship_to(source, replicas, options, self.seed, shutdown.clone()));
        *locked(&self.sender) = Some((shipping, shutdown));
    }

    async fn stop_sender(&self) {
        let sender = locked(&self.sender).take();
        if let Some((shipping, shutdown)) = sender {
            shutdown.cancel();
            if shipping.await.is_err_and(|error| error.is_panic()) {
                self.broken("the sender panicked".to_owned());
            }
        }
    }

    async fn cause(self: &Arc<Self>, fault: &Fault) {
        self.history.note(format!("fault: {:?} for {:?}", fault.kind, fault.lasts));
        match fault.kind {
            FaultKind::Kill(replica) => {
                self.replicas[replica].is_up.store(false, Ordering::Relaxed);
                locked(&self.replicas[replica].ended).cancel();
            }
            FaultKind::Drain(replica) => {
                self.replicas[replica].is_up.store(false, Ordering::Relaxed);
                locked(&self.replicas[replica].draining).cancel();
            }
            FaultKind::Freeze(replica) => {
                self.replicas[replica].is_frozen.store(true, Ordering::Relaxed);
            }
            FaultKind::KafkaDown => self.kafka_down.store(true, Ordering::Relaxed),
            FaultKind::SourceFails(probability) => {
                locked(&self.conditions).source_fails = probability;
            }
            FaultKind::Slow(time) => locked(&self.conditions).slow = time,
            FaultKind::KillSender => {
                if let Some((shipping, _)) = locked(&self.sender).take() {
                    shipping.abort();
                }
            }
            FaultKind::StopSender => self.stop_sender().await,
        }
        sleep(fault.lasts).await;
        match fault.kind {
            FaultKind::Kill(replica) => {
                *locked(&self.replicas[replica].ended) = CancellationToken::new();
                self.replicas[replica].is_up.store(true, Ordering::Relaxed);
            }
            FaultKind::Drain(replica) => {
                locked(&self.replicas[replica].ended).cancel();
                *locked(&self.replicas[replica].ended) = CancellationToken::new();
                *locked(&self.replicas[replica].draining) = CancellationToken::new();
                self.replicas[replica].is_up.store(true, Ordering::Relaxed);
            }
            FaultKind::Freeze(replica) => {
                self.replicas[replica].is_frozen.store(false, Ordering::Relaxed);
            }
            FaultKind::KafkaDown => self.kafka_down.store(false, Ordering::Relaxed),
            FaultKind::SourceFails(_) => locked(&self.conditions).source_fails = 0.0,
            FaultKind::Slow(_) => locked(&self.conditions).slow = Duration::ZERO,
            FaultKind::KillSender | FaultKind::StopSender => {
                let is_down = locked(&self.sender).is_none();
                if is_down {
                    self.start_sender();
                }
            }
        }
        self.replicas_changed.notify_waiters();
        self.history.note(format!("over: {:?}", fault.kind));
    }

    fn is_serving(&self, replica: usize) -> bool {
        let ReplicaState { is_up, ended, draining, .. } = &self.replicas[replica];
        is_up.load(Ordering::Relaxed)
            && !locked(ended).is_cancelled()
            && !locked(draining).is_cancelled()
    }

    /// The replica that a key prefers, among those that are up.
    fn preferred(&self, key: u64) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.replicas.len()).filter(|replica| self.is_serving(*replica)).collect();
        let index = usize::try_from(key).unwrap_or_default().checked_rem(up.len())?;
        up.get(index).copied()
    }
}

impl State {
    /// Without a fault, no event is sent twice.
    fn broken_promises(&self, is_faultless: bool) -> Vec<String> {
        let mut broken = self.broken.clone();
        let sent: HashSet<u64> = self.topic.iter().copied().collect();
        for (position, (_, kind, _)) in &self.events {
            let is_dead = self.dead_letters.contains(position);
            match kind {
                EventKind::Valid if !sent.contains(position) => {
                    broken.push(format!("promise 4: event {position} is not on the topic"));
                }
                EventKind::Valid if is_dead => {
                    broken.push(format!("event {position} is valid, and a dead letter"));
                }
                EventKind::Invalid | EventKind::Poisonous if !is_dead => {
                    broken.push(format!("event {position} is lost: it is no dead letter"));
                }
                EventKind::Valid | EventKind::Invalid | EventKind::Poisonous => {}
            }
            if !self.acknowledged.contains(position) {
                broken.push(format!("event {position} is never acknowledged"));
            }
        }
        if is_faultless && sent.len() < self.topic.len() {
            broken.push(format!("events are sent twice without a fault: {:?}", self.topic));
        }
        for subject in 0..SUBJECTS {
            let mut seen = HashSet::new();
            let first: Vec<u64> = self
                .topic
                .iter()
                .copied()
                .filter(|position| self.events[position].2 == subject && seen.insert(*position))
                .collect();
            if !first.is_sorted() {
                broken.push(format!(
                    "promise 4: the events of subject {subject} are on the topic in the order \
                     {first:?}"
                ));
            }
        }
        broken
    }
}

/// The events on the sender's disk.
struct Source(Arc<World>);

impl Source {
    async fn operation(&self) -> Result<(), SourceError> {
        self.0.travel().await;
        let probability = locked(&self.0.conditions).source_fails;
        if self.0.chance.happens(probability) {
            Err(SourceError::new("the disk fails"))
        } else {
            Ok(())
        }
    }
}

impl EventSource for Source {
    type Position = u64;

    async fn read(
        &self,
        after: Option<&u64>,
        limit: usize,
    ) -> Result<Vec<(u64, LogMessage)>, SourceError> {
        self.operation().await?;
        let (skips, once) = (self.0.has(Mutant::SkipEvents), self.0.has(Mutant::ReadOnce));
        let mut state = locked(&self.0.state);
        let from = after.map_or(0, |after| *after);
        let read: Vec<(u64, LogMessage)> = state
            .events
            .range(from + 1..)
            .filter(|(position, _)| !state.acknowledged.contains(position))
            .filter(|(position, _)| !(skips && after.is_some() && **position % 7 == 0))
            .filter(|(position, _)| !(once && state.returned.contains(position)))
            .take(limit)
            .map(|(position, (event, ..))| (*position, event.clone()))
            .collect();
        state.returned.extend(read.iter().map(|(position, _)| *position));
        Ok(read)
    }

    async fn acknowledge(&self, positions: &[u64]) -> Result<(), SourceError> {
        self.operation().await?;
        let mut state = locked(&self.0.state);
        if self.0.has(Mutant::AcknowledgeAll) {
            let all: Vec<u64> = state.events.keys().copied().collect();
            state.acknowledged.extend(all);
        }
        for position in positions {
            let is_kept = state.topic.contains(position) || state.dead_letters.contains(position);
            if !is_kept {
                state.broken.push(format!("event {position} is acknowledged, and nowhere"));
            }
            state.acknowledged.insert(*position);
            if self.0.keeps_last {
                let up_to: Vec<u64> =
                    state.events.range(..*position).map(|(key, _)| *key).collect();
                state.acknowledged.extend(up_to);
            }
            let first = state.events.keys().find(|key| !state.acknowledged.contains(key)).copied();
            if first.is_some_and(|first| first < *position) {
                state.broken.push(format!("event {position} is acknowledged before {first:?}"));
            }
        }
        Ok(())
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }

    async fn dead_letter(
        &self,
        position: &u64,
        _event: &LogMessage,
        _reason: &str,
    ) -> Result<(), SourceError> {
        self.operation().await?;
        if !self.0.has(Mutant::LoseDeadLetters) {
            locked(&self.0.state).dead_letters.push(*position);
        }
        self.0.history.note(format!("event {position} is a dead letter"));
        Ok(())
    }
}

struct Replicas(Arc<World>);

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

struct Replica {
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
        tokio::spawn({
            let (world, ended) = (world.clone(), ended.clone());
            async move { deliver(&world, index, &ended, requests, arrived).await }
        });
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = sender.closed() => {}
                () = serve(&world, index, arriving, &sender) => {}
            }
        });
        Ok(ResponseStream { world: self.world.clone(), index: self.index, responses })
    }
}

/// Brings requests to a replica, one after the other. They arrive even if the sender is gone.
async fn deliver(
    world: &World,
    index: usize,
    ended: &CancellationToken,
    mut requests: mpsc::Receiver<StreamLogsRequest>,
    arrived: mpsc::Sender<StreamLogsRequest>,
) {
    while let Some(request) = requests.recv().await {
        world.travel().await;
        while world.replicas[index].is_frozen.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
        if ended.is_cancelled() || arrived.send(request).await.is_err() {
            return;
        }
    }
}

/// The logging service: stores requests in order, and acknowledges what Kafka has stored.
async fn serve(
    world: &World,
    index: usize,
    mut requests: mpsc::Receiver<StreamLogsRequest>,
    responses: &mpsc::Sender<Result<StreamLogsResponse, Status>>,
) {
    let mut expected = 1;
    let mut unacknowledged = 0;
    while let Some(StreamLogsRequest { sequence, messages }) = requests.recv().await {
        if sequence != expected {
            world.broken(format!("the contract: request {sequence} instead of {expected}"));
        }
        expected = sequence + 1;
        unacknowledged += 1;
        if unacknowledged > world.in_flight {
            world.broken(format!("{unacknowledged} requests are in flight"));
        }
        if world.has(Mutant::RefuseValidRequests) && sequence % 3 == 0 {
            let _ = responses.send(Err(refusal())).await;
            return;
        }
        let acknowledges_early = world.has(Mutant::AcknowledgeUnstored);
        let respond = async |refused| {
            let response = StreamLogsResponse { acknowledged_sequence: sequence, refused };
            responses.send(Ok(response)).await.is_ok()
        };
        if acknowledges_early && !respond(vec![]).await {
            return;
        }
        world.travel().await;
        if world.kafka_down.load(Ordering::Relaxed) {
            sleep(Duration::from_secs(3)).await;
            let _ = responses.send(Err(Status::unavailable("Kafka does not answer"))).await;
            return;
        }
        let refused = world.store(index, messages);
        world.travel().await;
        unacknowledged -= 1;
        if !acknowledges_early && !respond(refused).await {
            return;
        }
    }
    // The sender has closed its side; dropping `responses` closes ours.
}

fn refusal() -> Status {
    let details = ErrorDetails::with_bad_request_violation("messages[0].id", "expected another");
    Status::with_error_details(tonic::Code::InvalidArgument, "refused", details)
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
            let Some((position, kind)) = state
                .events
                .iter()
                .find(|(_, (event, ..))| event.id == message.id)
                .map(|(position, (_, kind, _))| (*position, *kind))
            else {
                state.broken.push(format!("an unknown event arrives: {message:?}"));
                continue;
            };
            match kind {
                EventKind::Invalid => {
                    state.broken.push(format!("event {position} is sent, and invalid"));
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

struct ResponseStream {
    world: Arc<World>,
    index: usize,
    responses: mpsc::Receiver<Result<StreamLogsResponse, Status>>,
}

impl Responses for ResponseStream {
    async fn message(&mut self) -> Result<Option<StreamLogsResponse>, Status> {
        // Cancellation-safe: a response is taken after the delay.
        self.world.travel().await;
        while self.world.replicas[self.index].is_frozen.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
        self.responses.recv().await.transpose()
    }
}
