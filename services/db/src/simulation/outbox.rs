//! Shipping the outbox: the production code of the leader election, the lease, the reading of the
//! outbox and its gaps, on a simulated table and topic.
//!
//! Transactions take their numbers when they write and show their events when they commit, some
//! seconds later or never. Replicas are killed, stopped and cut off from the database or the topic,
//! statements hang, the database fails over to a standby, and its clock jumps.

mod server;
mod shipper;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use simulator::{Chance, History, Scenario, locked, random};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    server::{RowState, Table, Tables},
    shipper::Shipper,
};
use crate::store::outbox::{Outbox, leader::ship_as_leader, lease::Lease};

/// No write and no fault starts later.
const HORIZON: Duration = Duration::from_secs(30);
/// Longer than the time-out of a gap.
const LIVE_BY: Duration = Duration::from_secs(160);
const LEASE: Duration = Duration::from_secs(5);
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Long enough for all events of a history.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// An event arrives within this time after its commit if a replica is well all the time: a leader
/// that stalls steps down.
const MAX_LAG: Duration = Duration::from_secs(45);
/// A message to the topic arrives before the last fifth of a lease has passed.
const TO_TOPIC: u64 = 900;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    replicas: usize,
    /// Whether one replica only has faults, and another one none.
    is_partial: bool,
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
    /// The event cannot be decoded.
    is_damaged: bool,
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
    /// Statements of this replica hang with this probability. They are executed or answered late.
    Hang(usize, f64),
    /// Replies to statements on the lease take this time; then these statements fail for longer than
    /// a lease.
    SlowLease(usize, Duration),
    /// A standby that lacks the transactions of this time becomes the primary, after an outage of
    /// at least a second. A synchronous standby lacks nothing.
    FailOver(Duration),
    /// As [`FaultKind::FailOver`], but statements wait until the outage is over, as for a connection
    /// of a pool. Only those in flight fail.
    QuietFailOver(Duration),
}

simulator::mutants! {
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
        /// Counts the lease from the reply instead of from before the request.
        CountFromTheReply,
        /// Deletes shipped events by their numbers alone.
        DeleteByNumber,
        /// Does not report that connections to the database are lost, nor that another server
        /// answers.
        HideOutages,
        /// Does not report that another server answers.
        HideServers,
    }
}

struct World {
    mutant: Option<Mutant>,
    started: Instant,
    tables: Mutex<Tables>,
    history: History,
    chance: Chance,
    clock_jump: AtomicI64,
    /// Fail-overs that are not over.
    outages: AtomicUsize,
    /// Quiet ones.
    pauses: AtomicUsize,
    /// Whether no fault takes a lease from a replica too early.
    keeps_leases: bool,
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
    hangs: Mutex<f64>,
    /// The delay of a reply, and whether statements fail.
    slow_lease: Mutex<(Duration, bool)>,
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
        let is_partial = random.random_bool(0.2);
        let replicas = random.random_range(1 + usize::from(is_partial)..=3);
        let span = HORIZON.mul_f64(random.random_range(0.1..1.0));
        let damaged = [0.0, 0.0, 0.05, 0.6][random.random_range(0..4)];
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
                is_damaged: random.random_bool(damaged),
            })
            .collect();
        let faults = (0..random.random_range(0..6))
            .map(|_| Fault {
                at: span.mul_f64(random.random()),
                lasts: Duration::from_millis(
                    random.random_range(5..if is_partial { 90_000 } else { 15_000 }),
                ),
                kind: if is_partial {
                    FaultKind::of_one_replica(&mut random)
                } else {
                    FaultKind::random(&mut random, replicas)
                },
            })
            .collect();
        Self { seed, replicas, is_partial, writes, faults }
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
            outages: AtomicUsize::new(0),
            pauses: AtomicUsize::new(0),
            keeps_leases: self.faults.iter().all(|fault| match fault.kind {
                FaultKind::JumpClock(_) => false,
                FaultKind::FailOver(lag) | FaultKind::QuietFailOver(lag) => lag.is_zero(),
                _ => true,
            }),
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
        for (number, replica) in world.replicas.iter().enumerate() {
            if let Some(process) = locked(&replica.process).take() {
                if process.task.is_finished() {
                    let text = format!("replica {number} takes no part in elections any more");
                    locked(&world.tables).broken.push(text);
                }
                process.task.abort();
            }
        }
        let tables = std::mem::take(&mut *locked(&world.tables));
        let are_graceful = self.faults.iter().all(|fault| matches!(fault.kind, FaultKind::Stop(_)));
        let max_lag = self.is_partial.then_some(MAX_LAG);
        (tables.broken_promises(are_graceful, max_lag), world.history.take())
    }
}

impl FaultKind {
    fn of_one_replica(random: &mut StdRng) -> Self {
        match random.random_range(0..3) {
            0 => Self::Kill(0),
            1 => Self::CutDatabase(0),
            _ => Self::CutTopic(0),
        }
    }

    fn random(random: &mut StdRng, replicas: usize) -> Self {
        let replica = random.random_range(0..replicas);
        let lag = if random.random_bool(0.3) {
            Duration::ZERO
        } else {
            Duration::from_millis(random.random_range(1..3_000))
        };
        match random.random_range(0..12) {
            0 => Self::Kill(replica),
            1 | 2 => Self::Stop(replica),
            3 => Self::CutDatabase(replica),
            4 => Self::CutTopic(replica),
            5 => Self::JumpClock(random.random_range(-20..20)),
            6 => Self::Hang(replica, random.random_range(0.05..0.9)),
            7 => Self::SlowLease(replica, Duration::from_millis(random.random_range(500..980))),
            8 | 9 => Self::FailOver(lag),
            _ => Self::QuietFailOver(lag),
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
            && !tables.rows.values().any(is_open)
            && tables.unshipped().is_empty()
    }

    /// `skew` replaces the jumps of the clock.
    fn database_clock(&self, skew: Option<i64>) -> Duration {
        let skew = skew.unwrap_or_else(|| self.clock_jump.load(Ordering::Relaxed));
        let base = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Duration::from_millis(u64::try_from(1_000_000 + base + skew * 1_000).unwrap_or_default())
    }

    async fn travel(&self, millis: u64) {
        sleep(self.chance.delay(20..millis * 1_000, Duration::ZERO)).await;
    }

    fn start(self: &Arc<Self>, replica: usize) {
        let holder = Uuid::from_u128(self.chance.number(0..u64::MAX).into());
        let stop = CancellationToken::new();
        let is_killed = Arc::new(AtomicBool::new(false));
        let table = Table { world: self.clone(), replica };
        let shipper =
            Shipper { world: self.clone(), replica, holder, is_killed: is_killed.clone() };
        let lease = Lease::new(table.clone(), holder, LEASE);
        let task = tokio::spawn(ship_as_leader(
            Outbox::of(table),
            lease,
            STALL_TIMEOUT,
            shipper,
            DRAIN_TIMEOUT,
            stop.clone(),
        ));
        *locked(&self.replicas[replica].process) = Some(Process { task, stop, is_killed });
    }

    async fn wait_for_connection(&self) {
        while self.pauses.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn write(&self, write: &Write) {
        // The transaction has locked the subject's row.
        let _locked = self.subjects[write.subject].lock().await;
        while self.outages.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        self.wait_for_connection().await;
        let number = {
            let mut tables = locked(&self.tables);
            tables.next += 1;
            let number = tables.next;
            let row = RowState {
                write: write.id,
                subject: write.subject,
                committed: None,
                is_rolled_back: false,
                is_damaged: write.is_damaged,
            };
            tables.rows.insert(number, row);
            number
        };
        let (id, subject) = (write.id, write.subject);
        self.history.note(format!("transaction {id} of subject {subject} writes event {number}"));
        sleep(write.lasts).await;
        let mut tables = locked(&self.tables);
        let commit = tables.commit();
        // A fail-over aborts it, and may give its number to another one.
        let row = tables.rows.get_mut(&number).filter(|row| row.write == id);
        let outcome = match row {
            Some(row) if write.commits => {
                row.committed = Some(commit);
                "commits"
            }
            Some(row) => {
                row.is_rolled_back = true;
                "rolls back"
            }
            None => "is aborted",
        };
        drop(tables);
        self.history.note(format!("transaction {id} {outcome}"));
    }

    /// A replica that stops before its time limit leaves no earlier event.
    async fn stop(&self, replica: usize, mut process: Process) {
        let started = Instant::now();
        let state = || {
            let tables = locked(&self.tables);
            (tables.timeline, tables.unshipped())
        };
        let (timeline, before) = state();
        process.stop.cancel();
        // The time limit of the sender, and that of the follower that it becomes.
        let limit = 2 * DRAIN_TIMEOUT + LEASE;
        let mut broken = Vec::new();
        if tokio::time::timeout(limit, &mut process.task).await.is_err() {
            process.task.abort();
            broken.push(format!("replica {replica} does not stop"));
        }
        self.history.note(format!("replica {replica} has stopped"));
        let (now, left) = state();
        if started.elapsed() < DRAIN_TIMEOUT
            && now == timeline
            && let Some(number) = before.intersection(&left).next()
        {
            broken.push(format!("replica {replica} stops before event {number} is shipped"));
        }
        locked(&self.tables).broken.extend(broken);
    }

    fn fail_over(&self, lag: Duration) {
        // The numbers often skip so few that they repeat those of lost events.
        let is_short = self.chance.happens(0.5);
        let leap = |range| self.chance.number(0..if is_short { 3 } else { range }) as i64;
        locked(&self.tables).fail_over(lag, leap);
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
                    self.stop(replica, process).await;
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
            FaultKind::Hang(replica, probability) => {
                *locked(&self.replicas[replica].hangs) = probability;
            }
            FaultKind::SlowLease(replica, replies) => {
                *locked(&self.replicas[replica].slow_lease) = (replies, false);
                sleep(LEASE / 2).await;
                *locked(&self.replicas[replica].slow_lease) = (replies, true);
                sleep(LEASE).await;
            }
            FaultKind::FailOver(lag) => {
                self.outages.fetch_add(1, Ordering::Relaxed);
                self.fail_over(lag);
                sleep(Duration::from_secs(1)).await;
            }
            FaultKind::QuietFailOver(lag) => {
                self.pauses.fetch_add(1, Ordering::Relaxed);
                self.fail_over(lag);
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
            FaultKind::Hang(replica, _) => *locked(&self.replicas[replica].hangs) = 0.0,
            FaultKind::SlowLease(replica, _) => {
                *locked(&self.replicas[replica].slow_lease) = (Duration::ZERO, false);
            }
            FaultKind::FailOver(_) => {
                self.outages.fetch_sub(1, Ordering::Relaxed);
            }
            FaultKind::QuietFailOver(_) => {
                self.pauses.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.history.note(format!("over: {:?}", fault.kind));
    }
}
