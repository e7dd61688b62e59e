//! Shipping the outbox: the production code of the leader election, the lease, the reading of the
//! outbox and its gaps, on a simulated table and topic.
//!
//! Transactions take their numbers when they write and show their events when they commit, some
//! seconds later or never. Replicas are killed, stopped and cut off from the database or the topic,
//! and the database's clock jumps.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::{self, Debug},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use merch_contract::grpc::logging::v1::LogMessage;
use merch_logging::client::EventSource as _;
use prost::Message as _;
use rand::{RngExt as _, rngs::StdRng};
use sea_orm::DbErr;
use simulator::{Chance, History, Mutants, Scenario, locked, random};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::outbox::{
    Outbox,
    leader::{Ship, ship_as_leader},
    lease::{Lease, LeaseTable},
    table::OutboxTable,
};

/// No write and no fault starts later.
const HORIZON: Duration = Duration::from_secs(30);
/// Longer than the time-out of a gap.
const LIVE_BY: Duration = Duration::from_secs(160);
const LEASE: Duration = Duration::from_secs(5);
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// A message to the topic arrives before the last fifth of a lease has passed.
const TO_TOPIC: u64 = 400;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    writes: Vec<Write>,
    faults: Vec<Fault>,
}

/// A transaction that writes one event.
#[derive(Clone, Debug)]
struct Write {
    id: usize,
    at: Duration,
    subject: usize,
    /// From the write to the commit.
    lasts: Duration,
    commits: bool,
}

#[derive(Clone, Debug)]
struct Fault {
    at: Duration,
    lasts: Duration,
    kind: FaultKind,
}

#[derive(Clone, Debug)]
enum FaultKind {
    /// The process ends without a word. A new one starts afterwards.
    Kill(usize),
    /// The process is asked to stop. A new one starts afterwards.
    Stop(usize),
    /// Statements of this replica fail.
    CutDatabase(usize),
    /// Messages of this replica to the topic fail.
    CutTopic(usize),
    /// The database's clock jumps by this number of seconds, and back afterwards.
    JumpClock(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Reads events before their transactions commit.
    ReadUncommitted,
    /// Takes the numbers of events for the order of their commits.
    IgnoreGaps,
    /// Every replica gets the lease.
    TwoLeaders,
    /// The lease expires by the clock of each replica.
    TrustTheClock,
    /// Acknowledges events before they are sent.
    AcknowledgeEarly,
    /// Acknowledges events that could not be sent.
    AcknowledgeFailures,
    /// Deletes all events up to the last one that was acknowledged.
    DeleteUpTo,
    /// Never reads from the start again, nor late events.
    ForgetLateEvents,
    /// Goes on sending after the lease is lost.
    SendAfterTheTerm,
    /// Sends the events of a page in reverse order.
    ReverseOrder,
    /// Never renews or takes over a lease that another replica had.
    KeepDeadLease,
}

#[derive(Clone, Debug)]
struct RowState {
    event: LogMessage,
    subject: usize,
    /// Counts commits; `None` before.
    committed: Option<u64>,
    is_rolled_back: bool,
}

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<i64, RowState>,
    next: i64,
    commits: u64,
    shipped: BTreeSet<i64>,
    lease: Option<(Uuid, Duration)>,
    /// Events in the order of their arrival.
    topic: Vec<i64>,
}

struct World {
    mutant: Option<Mutant>,
    started: Instant,
    tables: Mutex<Tables>,
    history: History,
    chance: Chance,
    clock_jump: AtomicI64,
    /// Writes and faults that are not over.
    open_steps: AtomicUsize,
    replicas: Vec<ReplicaState>,
    /// A transaction about a subject waits for the previous one.
    subjects: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct ReplicaState {
    database_cut: AtomicBool,
    topic_cut: AtomicBool,
    process: Mutex<Option<Process>>,
}

struct Process {
    task: JoinHandle<()>,
    stop: CancellationToken,
    is_killed: Arc<AtomicBool>,
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "plan");
        let replicas = random.random_range(1..=3);
        let span = HORIZON.mul_f64(random.random_range(0.1..1.0));
        let writes = (0..random.random_range(5..60))
            .map(|id| Write {
                id,
                at: span.mul_f64(random.random()),
                subject: random.random_range(0..4),
                lasts: Duration::from_millis(if random.random_bool(0.2) {
                    random.random_range(100..8_000)
                } else {
                    random.random_range(1..30)
                }),
                commits: random.random_bool(0.9),
            })
            .collect();
        let faults = (0..random.random_range(0..6))
            .map(|_| Fault {
                at: span.mul_f64(random.random()),
                lasts: Duration::from_millis(random.random_range(5..15_000)),
                kind: FaultKind::random(&mut random, replicas),
            })
            .collect();
        Self { seed, replicas, writes, faults }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.writes.retain(|_| is_kept());
        self.faults.retain(|_| is_kept());
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        let world = Arc::new(World {
            mutant,
            started: Instant::now(),
            tables: Mutex::default(),
            history: History::default(),
            chance: Chance::new(self.seed, "world"),
            clock_jump: AtomicI64::new(0),
            open_steps: AtomicUsize::new(self.steps()),
            replicas: (0..self.replicas).map(|_| ReplicaState::default()).collect(),
            subjects: (0..4).map(|_| tokio::sync::Mutex::default()).collect(),
        });
        for replica in 0..self.replicas {
            world.start(replica);
        }
        for write in self.writes.clone() {
            let world = world.clone();
            tokio::spawn(async move {
                sleep_until(world.started + write.at).await;
                world.write(&write).await;
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
        for replica in &world.replicas {
            if let Some(process) = locked(&replica.process).take() {
                process.task.abort();
            }
        }
        let tables = std::mem::take(&mut *locked(&world.tables));
        let are_graceful = self.faults.iter().all(|fault| matches!(fault.kind, FaultKind::Stop(_)));
        (tables.broken_promises(are_graceful), world.history.take())
    }
}

impl Mutants for Mutant {
    const ALL: &'static [Self] = &[
        Self::ReadUncommitted,
        Self::IgnoreGaps,
        Self::TwoLeaders,
        Self::TrustTheClock,
        Self::AcknowledgeEarly,
        Self::AcknowledgeFailures,
        Self::DeleteUpTo,
        Self::ForgetLateEvents,
        Self::SendAfterTheTerm,
        Self::ReverseOrder,
        Self::KeepDeadLease,
    ];
}

impl FaultKind {
    fn random(random: &mut StdRng, replicas: usize) -> Self {
        let replica = random.random_range(0..replicas);
        match random.random_range(0..6) {
            0 => Self::Kill(replica),
            1 | 2 => Self::Stop(replica),
            3 => Self::CutDatabase(replica),
            4 => Self::CutTopic(replica),
            _ => Self::JumpClock(random.random_range(-20..20)),
        }
    }
}

impl World {
    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// All operations and faults are over, and nothing is left to ship.
    fn is_done(&self) -> bool {
        let tables = locked(&self.tables);
        let is_open = |row: &RowState| row.committed.is_none() && !row.is_rolled_back;
        self.open_steps.load(Ordering::Relaxed) == 0
            && tables.rows.iter().all(|(number, row)| {
                !is_open(row) && (row.committed.is_none() || tables.shipped.contains(number))
            })
    }

    async fn travel(&self, millis: u64) {
        sleep(self.chance.delay(20..millis * 1_000, Duration::ZERO)).await;
    }

    fn start(self: &Arc<Self>, replica: usize) {
        let holder = Uuid::from_u128(self.chance.number(0..u64::MAX).into());
        let stop = CancellationToken::new();
        let is_killed = Arc::new(AtomicBool::new(false));
        let table = Table { world: self.clone(), replica };
        let shipper = Shipper { world: self.clone(), replica, is_killed: is_killed.clone() };
        let lease = Lease::new(table.clone(), holder, LEASE);
        let task = tokio::spawn(ship_as_leader(
            Outbox::of(table),
            lease,
            STALL_TIMEOUT,
            shipper,
            Duration::from_secs(10),
            stop.clone(),
        ));
        *locked(&self.replicas[replica].process) = Some(Process { task, stop, is_killed });
    }

    async fn write(&self, write: &Write) {
        // The transaction has locked the subject's row.
        let _locked = self.subjects[write.subject].lock().await;
        let event = LogMessage {
            id: write.id.to_string(),
            subject: format!("subject {}", write.subject),
            ..LogMessage::default()
        };
        let number = {
            let mut tables = locked(&self.tables);
            tables.next += 1;
            let number = tables.next;
            let row =
                RowState { event, subject: write.subject, committed: None, is_rolled_back: false };
            tables.rows.insert(number, row);
            number
        };
        self.history.note(format!("event {number} of subject {} is written", write.subject));
        sleep(write.lasts).await;
        let mut tables = locked(&self.tables);
        tables.commits += 1;
        let commit = tables.commits;
        if let Some(row) = tables.rows.get_mut(&number) {
            row.committed = write.commits.then_some(commit);
            row.is_rolled_back = !write.commits;
        }
        drop(tables);
        self.history.note(format!(
            "event {number} is {}",
            if write.commits { "committed" } else { "rolled back" }
        ));
    }

    async fn cause(self: &Arc<Self>, fault: &Fault) {
        self.history.note(format!("fault: {:?} for {:?}", fault.kind, fault.lasts));
        match fault.kind {
            FaultKind::Kill(replica) => {
                if let Some(process) = locked(&self.replicas[replica].process).take() {
                    process.is_killed.store(true, Ordering::Relaxed);
                    process.task.abort();
                }
            }
            FaultKind::Stop(replica) => {
                let process = locked(&self.replicas[replica].process).take();
                if let Some(process) = process {
                    process.stop.cancel();
                    let _ = process.task.await;
                    self.history.note(format!("replica {replica} has stopped"));
                }
            }
            FaultKind::CutDatabase(replica) => {
                self.replicas[replica].database_cut.store(true, Ordering::Relaxed);
            }
            FaultKind::CutTopic(replica) => {
                self.replicas[replica].topic_cut.store(true, Ordering::Relaxed);
            }
            FaultKind::JumpClock(seconds) => {
                self.clock_jump.fetch_add(seconds, Ordering::Relaxed);
            }
        }
        sleep(fault.lasts).await;
        match fault.kind {
            FaultKind::Kill(replica) | FaultKind::Stop(replica) => {
                let is_down = locked(&self.replicas[replica].process).is_none();
                if is_down {
                    self.start(replica);
                }
            }
            FaultKind::CutDatabase(replica) => {
                self.replicas[replica].database_cut.store(false, Ordering::Relaxed);
            }
            FaultKind::CutTopic(replica) => {
                self.replicas[replica].topic_cut.store(false, Ordering::Relaxed);
            }
            FaultKind::JumpClock(seconds) => {
                self.clock_jump.fetch_sub(seconds, Ordering::Relaxed);
            }
        }
        self.history.note(format!("over: {:?}", fault.kind));
    }
}

impl Tables {
    /// Without faults other than requested stops, no event is sent twice.
    fn broken_promises(&self, are_graceful: bool) -> Vec<String> {
        let mut broken = Vec::new();
        let sent: HashSet<i64> = self.topic.iter().copied().collect();
        if are_graceful && sent.len() < self.topic.len() {
            broken.push(format!("events are sent twice without a fault: {:?}", self.topic));
        }
        let mut commits: BTreeMap<usize, Vec<(u64, i64)>> = BTreeMap::new();
        for (number, row) in &self.rows {
            match row.committed {
                Some(commit) => {
                    commits.entry(row.subject).or_default().push((commit, *number));
                    if !sent.contains(number) {
                        broken.push(format!("promise 4: event {number} is not on the topic"));
                    }
                }
                None if sent.contains(number) => {
                    broken.push(format!("promise 4: event {number} of no change is on the topic"));
                }
                None => {}
            }
        }
        for (subject, mut written) in commits {
            written.sort_unstable();
            let expected: Vec<i64> = written.into_iter().map(|(_, number)| number).collect();
            let mut seen = HashSet::new();
            let first: Vec<i64> = self
                .topic
                .iter()
                .copied()
                .filter(|number| expected.contains(number) && seen.insert(*number))
                .collect();
            let in_order: Vec<i64> =
                expected.iter().copied().filter(|number| seen.contains(number)).collect();
            if first != in_order {
                broken.push(format!(
                    "promise 4: the events of subject {subject} are on the topic in the order \
                     {first:?}, committed in the order {in_order:?}"
                ));
            }
        }
        broken
    }
}

/// The outbox and the lease, as one replica sees them.
#[derive(Clone)]
struct Table {
    world: Arc<World>,
    replica: usize,
}

impl Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Table").field(&self.replica).finish()
    }
}

impl Table {
    /// A statement: a message there, its effect, and a message back.
    async fn statement<T>(&self, run: impl FnOnce(&mut Tables) -> T + Send) -> Result<T, DbErr> {
        let cut = || self.world.replicas[self.replica].database_cut.load(Ordering::Relaxed);
        let lost = || DbErr::Custom("the connection is lost".to_owned());
        self.world.travel(5).await;
        if cut() {
            return Err(lost());
        }
        let result = run(&mut locked(&self.world.tables));
        self.world.travel(5).await;
        if cut() { Err(lost()) } else { Ok(result) }
    }

    fn is_pending(&self, tables: &Tables, number: i64, row: &RowState) -> bool {
        let is_visible = row.committed.is_some()
            || (self.world.has(Mutant::ReadUncommitted) && !row.is_rolled_back);
        is_visible && !tables.shipped.contains(&number)
    }
}

#[async_trait]
impl OutboxTable for Table {
    fn is_shared(&self) -> bool {
        true
    }

    fn is_ordered(&self) -> bool {
        self.world.has(Mutant::IgnoreGaps)
    }

    async fn pending(
        &self,
        after: i64,
        last: i64,
        limit: usize,
        late: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>, DbErr> {
        let late: BTreeSet<i64> = if self.world.has(Mutant::ForgetLateEvents) {
            BTreeSet::new()
        } else {
            late.iter().copied().collect()
        };
        self.statement(|tables| {
            tables
                .rows
                .iter()
                .filter(|(number, row)| {
                    (**number > after || late.contains(number))
                        && **number <= last
                        && self.is_pending(tables, **number, row)
                })
                .take(limit)
                .map(|(number, row)| (*number, row.event.encode_to_vec()))
                .collect()
        })
        .await
    }

    async fn has_pending(&self) -> Result<bool, DbErr> {
        self.statement(|tables| {
            tables.rows.iter().any(|(number, row)| self.is_pending(tables, *number, row))
        })
        .await
    }

    async fn newest(&self) -> Result<Option<i64>, DbErr> {
        self.statement(|tables| {
            let committed = tables.rows.iter().filter(|(_, row)| row.committed.is_some());
            committed.map(|(number, _)| *number).next_back()
        })
        .await
    }

    async fn oldest(&self) -> Result<Option<(i64, Option<SystemTime>)>, DbErr> {
        Ok(None)
    }

    async fn mark_shipped(&self, positions: &[i64]) -> Result<(), DbErr> {
        let all_up_to = self.world.has(Mutant::DeleteUpTo);
        self.statement(|tables| {
            tables.shipped.extend(positions);
            if let (true, Some(last)) = (all_up_to, positions.last()) {
                tables.shipped.extend(1..=*last);
            }
        })
        .await
    }

    async fn mark_dead_letter(&self, _position: i64, _reason: &str) -> Result<(), DbErr> {
        Ok(())
    }

    async fn reset_shipped(&self) -> Result<(), DbErr> {
        Ok(())
    }

    async fn trim(&self) -> Result<u64, DbErr> {
        Ok(0)
    }

    async fn backlog(&self) -> Result<i64, DbErr> {
        Ok(0)
    }
}

#[async_trait]
impl LeaseTable for Table {
    async fn acquire(&self, holder: Uuid, duration: Duration) -> Result<bool, DbErr> {
        let world = &self.world;
        let skew = if world.has(Mutant::TrustTheClock) {
            // Each replica's clock, instead of the database's.
            self.replica as i64 * 30
        } else {
            world.clock_jump.load(Ordering::Relaxed)
        };
        self.statement(|tables| {
            let base = i64::try_from(world.started.elapsed().as_millis()).unwrap_or(i64::MAX);
            let now = Duration::from_millis(
                u64::try_from(1_000_000 + base + skew * 1_000).unwrap_or_default(),
            );
            let is_free = match tables.lease {
                None => true,
                Some((other, until)) => {
                    other == holder
                        || (!world.has(Mutant::KeepDeadLease)
                            && (until <= now || until > now + Duration::from_secs(120)))
                        || world.has(Mutant::TwoLeaders)
                }
            };
            if is_free {
                tables.lease = Some((holder, now + duration));
            }
            is_free
        })
        .await
    }

    async fn release(&self, holder: Uuid) -> Result<(), DbErr> {
        self.statement(|tables| {
            if tables.lease.is_some_and(|(other, _)| other == holder) {
                tables.lease = None;
            }
        })
        .await
    }
}

/// Sends events as [`merch_logging::client::ship`] does: in the order of reading, with some requests
/// in flight, and again from the oldest after an error.
struct Shipper {
    world: Arc<World>,
    replica: usize,
    is_killed: Arc<AtomicBool>,
}

impl Ship for Shipper {
    async fn ship(&self, outbox: Outbox, shutdown: CancellationToken) {
        if self.world.has(Mutant::SendAfterTheTerm) {
            let (world, replica) = (self.world.clone(), self.replica);
            let shipper = Self { world, replica, is_killed: self.is_killed.clone() };
            let _ = tokio::spawn(async move { shipper.send_all(outbox, shutdown).await }).await;
        } else {
            self.send_all(outbox, shutdown).await;
        }
    }
}

impl Shipper {
    async fn send_all(&self, outbox: Outbox, shutdown: CancellationToken) {
        let mut after = None;
        let mut restart_at = Instant::now() + POLL_INTERVAL;
        loop {
            if Instant::now() >= restart_at && !self.world.has(Mutant::ForgetLateEvents) {
                after = None;
                restart_at = Instant::now() + POLL_INTERVAL;
            }
            let Ok(mut events) = outbox.read(after.as_ref(), 4).await else {
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            if events.is_empty() {
                if shutdown.is_cancelled()
                    && outbox.read(None, 1).await.is_ok_and(|left| left.is_empty())
                {
                    return;
                }
                if shutdown.is_cancelled() {
                    after = None;
                }
                let _ = tokio::time::timeout(POLL_INTERVAL, outbox.changed()).await;
                continue;
            }
            after = events.last().map(|(number, _)| *number);
            let numbers: Vec<i64> = events.iter().map(|(number, _)| *number).collect();
            if self.world.has(Mutant::ReverseOrder) {
                events.reverse();
            }
            if self.world.has(Mutant::AcknowledgeEarly) {
                let _ = outbox.acknowledge(&numbers).await;
            }
            let sent = self.send(events.iter().map(|(number, _)| *number).collect()).await;
            if !sent && !self.world.has(Mutant::AcknowledgeFailures) {
                after = None;
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            while outbox.acknowledge(&numbers).await.is_err() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Returns whether the topic has acknowledged the events. A request in flight arrives even if
    /// this future is dropped, but not if the process is killed before it is sent.
    async fn send(&self, numbers: Vec<i64>) -> bool {
        let world = self.world.clone();
        let replica = self.replica;
        if self.is_killed.load(Ordering::Relaxed) {
            return false;
        }
        let sending = tokio::spawn(async move {
            world.travel(TO_TOPIC).await;
            if world.replicas[replica].topic_cut.load(Ordering::Relaxed) {
                return false;
            }
            locked(&world.tables).topic.extend(&numbers);
            world.history.note(format!("replica {replica} has sent {numbers:?}"));
            world.travel(5).await;
            // The acknowledgement can get lost.
            !world.replicas[replica].topic_cut.load(Ordering::Relaxed)
        });
        sending.await.unwrap_or(false)
    }
}
