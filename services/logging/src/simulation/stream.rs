//! The log stream: the production code of the sender, from its source to the acknowledgements, on
//! simulated replicas of the logging service and a simulated topic.

mod service;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use simulator::{Chance, History, Scenario, locked, random};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{service::Replicas, source::Source};
use crate::{
    client::{ShipOptions, ship::ship_to},
    proto::LogMessage,
    rules::{MAX_REQUEST_BYTES, REQUEST_OVERHEAD},
    simulation::{id, message},
};

/// No write and no fault starts later.
const HORIZON: Duration = Duration::from_secs(30);
const LIVE_BY: Duration = Duration::from_secs(300);
const SUBJECTS: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    batch_events: usize,
    requests_in_flight: usize,
    batch_bytes: usize,
    /// Whether the source keeps the last acknowledged position only, as the journal does.
    keeps_last: bool,
    /// How much longer messages to and from each replica of the logging service take, at most.
    delays: Vec<Duration>,
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
    /// The service refuses each request with it, as one that has stricter rules.
    Refused,
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
    /// The replica acknowledges requests that were never sent.
    AcknowledgeTooMuch(usize),
    /// The network forgets the present connections of the replica, and drops their messages.
    Forget(usize),
}

simulator::mutants! {
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
        /// The service refuses a request, and does not name the message.
        HideViolations,
        /// The service refuses the requests after a refused one.
        RefuseNeighbours,
        /// The sender has one more request in flight than it may have.
        WidenWindow,
    }
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
                    2 => EventKind::Refused,
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
        // Room for some events, or for all.
        let batch_bytes =
            if random.random_bool(0.2) { REQUEST_OVERHEAD + 500 } else { MAX_REQUEST_BYTES };
        let delays = (0..replicas)
            .map(|_| Duration::from_millis([0, 0, 20, 500][random.random_range(0..4)]))
            .collect();
        Self {
            seed,
            batch_events,
            requests_in_flight,
            batch_bytes,
            keeps_last,
            delays,
            events,
            faults,
        }
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
            replicas: self.delays.iter().map(|delay| ReplicaState::new(*delay)).collect(),
            replicas_changed: Notify::new(),
            kafka_down: AtomicBool::new(false),
            conditions: Mutex::default(),
            open_steps: AtomicUsize::new(self.steps()),
            in_flight: self.requests_in_flight,
            batch_events: self.batch_events,
            batch_bytes: self.batch_bytes,
            keeps_last: self.keeps_last,
            seed: self.seed,
            refused_neighbours: AtomicUsize::new(0),
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
        match random.random_range(0..11) {
            10 => Self::Forget(replica),
            9 => Self::AcknowledgeTooMuch(replica),
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
    positions: HashMap<String, u64>,
    acknowledged: BTreeSet<u64>,
    returned: BTreeSet<u64>,
    dead_letters: Vec<u64>,
    /// Positions in the order of their arrival.
    topic: Vec<u64>,
    broken: Vec<String>,
}

struct ReplicaState {
    delay: Duration,
    is_up: AtomicBool,
    is_frozen: AtomicBool,
    acknowledges_too_much: AtomicBool,
    /// Counts how often its connections were forgotten.
    forgotten: AtomicUsize,
    /// Cancelled when the replica ends.
    ended: Mutex<CancellationToken>,
    /// Cancelled when its streams should move.
    draining: Mutex<CancellationToken>,
}

impl ReplicaState {
    fn new(delay: Duration) -> Self {
        Self {
            delay,
            is_up: AtomicBool::new(true),
            is_frozen: AtomicBool::new(false),
            acknowledges_too_much: AtomicBool::new(false),
            forgotten: AtomicUsize::new(0),
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
    batch_bytes: usize,
    keeps_last: bool,
    seed: u64,
    /// Requests that are refused because another one was.
    refused_neighbours: AtomicUsize,
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
        sleep(self.delay(Duration::ZERO)).await;
    }

    /// Draws the time of a message.
    fn delay(&self, longer: Duration) -> Duration {
        let slow = locked(&self.conditions).slow;
        self.chance.delay(20..3_000, slow + longer)
    }

    /// All steps are over, and nothing is left to send.
    fn is_done(&self) -> bool {
        let state = locked(&self.state);
        self.open_steps.load(Ordering::Relaxed) == 0
            && state.acknowledged.len() == state.events.len()
    }

    fn write(&self, position: u64, event: &Event) {
        let is_invalid = event.kind == EventKind::Invalid;
        let id = if is_invalid { position.to_string() } else { id(position) };
        let message = LogMessage { id, ..message() };
        let mut state = locked(&self.state);
        state.positions.insert(message.id.clone(), position);
        state.events.insert(position, (message, event.kind, event.subject));
        drop(state);
        self.history
            .note(format!("event {position} of subject {}: {:?}", event.subject, event.kind));
        self.changed.notify_one();
    }

    fn start_sender(self: &Arc<Self>) {
        let shutdown = CancellationToken::new();
        let options = ShipOptions {
            batch_events: self.batch_events,
            batch_bytes: self.batch_bytes,
            requests_in_flight: self.in_flight + usize::from(self.has(Mutant::WidenWindow)),
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
            FaultKind::StopSender => {
                let started = Instant::now();
                let was_running = locked(&self.sender).is_some();
                let last = locked(&self.state).events.keys().next_back().copied();
                self.stop_sender().await;
                let state = locked(&self.state);
                let mut written = state.events.keys().take_while(|key| Some(**key) <= last);
                let left = written.find(|key| !state.acknowledged.contains(key)).copied();
                drop(state);
                if let Some(left) = left.filter(|_| was_running)
                    && started.elapsed() < ShipOptions::new("db").drain_timeout
                {
                    self.broken(format!("the sender stops before event {left} is acknowledged"));
                }
            }
            FaultKind::Forget(replica) => {
                self.replicas[replica].forgotten.fetch_add(1, Ordering::Relaxed);
            }
            FaultKind::AcknowledgeTooMuch(replica) => {
                self.replicas[replica].acknowledges_too_much.store(true, Ordering::Relaxed);
            }
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
            FaultKind::AcknowledgeTooMuch(replica) => {
                self.replicas[replica].acknowledges_too_much.store(false, Ordering::Relaxed);
            }
            FaultKind::Forget(_) => {}
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
    /// Returns the position and the kind of an event.
    fn find(&self, id: &str) -> Option<(u64, EventKind)> {
        let position = self.positions.get(id)?;
        self.events.get(position).map(|(_, kind, _)| (*position, *kind))
    }

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
                EventKind::Invalid | EventKind::Poisonous | EventKind::Refused if !is_dead => {
                    broken.push(format!("event {position} is lost: it is no dead letter"));
                }
                EventKind::Valid
                | EventKind::Invalid
                | EventKind::Poisonous
                | EventKind::Refused => {}
            }
            if !self.acknowledged.contains(position) {
                broken.push(format!("event {position} is never acknowledged"));
            }
        }
        if is_faultless && sent.len() < self.topic.len() {
            broken.push(format!("events are sent twice without a fault: {:?}", self.topic));
        }
        let dead: BTreeSet<u64> = self.dead_letters.iter().copied().collect();
        if is_faultless && dead.len() < self.dead_letters.len() {
            broken.push(format!("dead letters are stored twice: {:?}", self.dead_letters));
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
