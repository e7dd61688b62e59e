//! The simulated replicas, the connections to them, and the resolver.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use simulator::{Chance, History, locked};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, advance, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};

use super::{
    Call, Client, Fault, FaultKind, Listing, Mutant, Plan,
    calls::{Attempt, CallRecord},
};
use crate::grpc::{
    replicas::{
        channel::{Channel, Connect},
        connection,
        resolver::{Resolve, ResolveFuture},
        retry::Idempotency,
    },
    transport::Address,
};

const PORT: u16 = 50051;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls on a connection that is not trusted any more end after this time.
const UNTRUSTED_DRAIN: Duration = Duration::from_secs(10);
/// Enough for a health check.
const NOT_SERVING: Duration = Duration::from_millis(400);
/// Of a replica that stops.
const DRAIN: Duration = Duration::from_millis(300);
/// The store's servers answer this much before a deadline.
const BEFORE_DEADLINE: Duration = Duration::from_millis(20);
const CROWD: usize = 300;
/// A connection without any packets is replaced within this time.
const FORGOTTEN: Duration = Duration::from_millis(3_500);
/// All stops in a row.
const LONGEST_STALL: Duration = Duration::from_secs(3);
/// A replica that hangs for this time misses one health check.
const HICCUP: Range<u64> = 600_000..700_000;
/// Enough for a health check.
const BETWEEN_HICCUPS: Duration = Duration::from_millis(500);
const HICCUPS: usize = 3;
/// Enough for a new connection.
const BETWEEN_CLOSINGS: Duration = Duration::from_secs(1);

pub(super) fn address(replica: usize, generation: u8) -> SocketAddr {
    let last = u8::try_from(replica).expect("few replicas") + 1;
    (Ipv4Addr::new(10, 0, generation, last), PORT).into()
}

pub(super) struct World {
    mutant: Option<Mutant>,
    listing: Listing,
    has_tls: bool,
    has_health_service: bool,
    pub(super) has_streams: bool,
    pub(super) is_busy: bool,
    pub(super) history: History,
    pub(super) chance: Chance,
    pub(super) state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) replicas: Vec<Replica>,
    pub(super) faults: Vec<FaultKind>,
    /// The last addresses of each name.
    resolved: BTreeMap<String, Vec<SocketAddr>>,
    /// When the process of the balancer was stopped, and for how long.
    stalls: Vec<(Instant, Duration)>,
    /// Since when no replica is up, and the client has noticed.
    pub(super) all_down_since: Option<Instant>,
    pub(super) calls: Vec<CallRecord>,
    broken: Vec<String>,
}

pub(super) struct Replica {
    pub(super) is_up: bool,
    generation: u8,
    /// Cancelled when the process ends.
    life: CancellationToken,
    /// Cancelled when the process ends its last calls.
    drained: CancellationToken,
    connections: Vec<Link>,
    /// Hangs for a moment.
    has_hiccup: bool,
    /// When it sent GOAWAY.
    closed_at: Option<Instant>,
    /// Since when it is slow. Before, it was well for some time; it has no other fault.
    pub(super) slow_since: Option<Instant>,
    /// As `well_since`, but a hiccup is no fault.
    pub(super) steady_since: Option<Instant>,
    /// As `well_since`, but a GOAWAY is no fault.
    pub(super) connected_since: Option<Instant>,
    /// Since when it is up, listed and without a fault.
    pub(super) well_since: Option<Instant>,
    /// Since when no call may be sent to it if another one is well.
    pub(super) ill_since: Option<Instant>,
    /// As `ill_since`, without the health service's answer.
    pub(super) silent_since: Option<Instant>,
}

impl State {
    fn has(&self, is_wanted: impl Fn(&FaultKind) -> bool) -> bool {
        self.faults.iter().any(is_wanted)
    }

    fn is_frozen(&self, replica: usize) -> bool {
        self.replicas[replica].has_hiccup
            || self.has(|fault| {
                matches!(fault, FaultKind::Freeze(at) | FaultKind::Vanish(at) if *at == replica)
            })
    }

    /// Whether it is up, listed, and has only faults of one kind, and of these at most one.
    fn has_only(&self, replica: usize, listing: Listing, is: impl Fn(&FaultKind) -> bool) -> bool {
        let mut faults = self.faults.iter().filter(|fault| fault.replica() == Some(replica));
        self.replicas[replica].is_up
            && self.is_listed(replica, listing)
            && faults.next().is_none_or(is)
            && faults.next().is_none()
    }

    /// Whether no call in flight on it may be given up.
    pub(super) fn is_graceful(&self, replica: usize) -> bool {
        let mut faults = self.faults.iter().filter(|fault| fault.replica() == Some(replica));
        self.replicas[replica].is_up && faults.all(FaultKind::is_graceful)
    }

    /// Whether the balancer's process was stopped in the last seconds.
    pub(super) fn has_stalled(&self, now: Instant) -> bool {
        self.stalls.iter().any(|(at, time)| *at + *time + Duration::from_secs(3) > now)
    }

    fn is_cut(&self, replica: usize) -> bool {
        self.has(|fault| *fault == FaultKind::Cut(replica))
    }

    fn is_distrusted(&self, replica: usize) -> bool {
        self.has(|fault| *fault == FaultKind::Distrust(replica))
    }

    fn is_draining(&self, replica: usize) -> bool {
        self.has(|fault| *fault == FaultKind::Drain(replica))
    }

    fn is_serving(&self, replica: usize) -> bool {
        !self.is_draining(replica) && !self.has(|fault| *fault == FaultKind::NotServing(replica))
    }

    fn slowness(&self, replica: usize) -> Duration {
        let slow = self.faults.iter().filter_map(|fault| match fault {
            FaultKind::Slow(slow, time) if *slow == replica => Some(*time),
            _ => None,
        });
        slow.sum()
    }

    /// The probability of a fault, or 0.
    fn probability(&self, of: impl Fn(&FaultKind) -> Option<f64>) -> f64 {
        self.faults.iter().filter_map(of).fold(0.0, f64::max)
    }

    pub(super) fn is_listed(&self, replica: usize, listing: Listing) -> bool {
        let address = address(replica, self.replicas[replica].generation);
        let is_fixed = match listing {
            Listing::Addresses => true,
            Listing::NameAndAddress => replica == 0,
            Listing::OneName | Listing::NamePerReplica => false,
        };
        is_fixed && self.replicas[replica].generation == 0
            || self.resolved.values().flatten().any(|resolved| *resolved == address)
    }

    /// Time between two instants in which the balancer's process ran.
    pub(super) fn active_time(&self, from: Instant, to: Instant) -> Duration {
        let stalled = self.stalls.iter().filter(|(at, _)| *at >= from && *at <= to);
        (to - from).saturating_sub(stalled.map(|(_, time)| *time).sum())
    }
}

impl World {
    pub(super) fn new(plan: &Plan, mutant: Option<Mutant>) -> Arc<Self> {
        let replicas = (0..plan.replicas).map(|_| Replica {
            is_up: true,
            generation: 0,
            life: CancellationToken::new(),
            drained: CancellationToken::new(),
            connections: Vec::new(),
            has_hiccup: false,
            closed_at: None,
            slow_since: None,
            steady_since: None,
            connected_since: None,
            well_since: None,
            ill_since: None,
            silent_since: None,
        });
        Arc::new(Self {
            mutant,
            listing: plan.listing,
            has_tls: plan.has_tls,
            has_health_service: plan.has_health_service,
            has_streams: !plan.streams.is_empty(),
            is_busy: plan.faults.iter().any(|fault| fault.kind == FaultKind::Busy),
            history: History::default(),
            chance: Chance::new(plan.seed, "world"),
            state: Mutex::new(State { replicas: replicas.collect(), ..State::default() }),
            changed: Notify::new(),
        })
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn broken(&self, text: String) {
        self.history.note(format!("broken: {text}"));
        locked(&self.state).broken.push(text);
    }

    pub(super) fn take(&self) -> (Vec<String>, Vec<String>) {
        (std::mem::take(&mut locked(&self.state).broken), self.history.take())
    }

    pub(super) fn is_listed(&self, replica: usize) -> bool {
        locked(&self.state).is_listed(replica, self.listing)
    }

    async fn travel(&self) {
        sleep(self.chance.delay(20..3_000, Duration::ZERO)).await;
    }

    /// Brings a packet from or to a replica.
    async fn travel_to(&self, replica: usize) {
        self.travel().await;
        self.until(|state| !state.is_cut(replica)).await;
    }

    async fn until(&self, is_wanted: impl Fn(&State) -> bool) {
        if is_wanted(&locked(&self.state)) {
            return;
        }
        loop {
            let changed = self.changed.notified();
            if is_wanted(&locked(&self.state)) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let now = Instant::now();
        let mut state = locked(&self.state);
        change(&mut state);
        for replica in 0..state.replicas.len() {
            let is_well = state.has_only(replica, self.listing, |_| false);
            let is_steady = state
                .has_only(replica, self.listing, |fault| matches!(fault, FaultKind::Hiccups(_)));
            let is_connected = state.has_only(replica, self.listing, |fault| {
                matches!(fault, FaultKind::CloseConnections(_))
            });
            let is_slow =
                state.has_only(replica, self.listing, |fault| matches!(fault, FaultKind::Slow(..)));
            let is_silent = !state.replicas[replica].is_up
                || state.is_frozen(replica)
                || state.is_cut(replica)
                || (self.has_tls && state.is_distrusted(replica));
            let is_ill = is_silent
                || (self.has_health_service && !state.is_serving(replica))
                || !state.is_listed(replica, self.listing);
            let Replica { slow_since, steady_since, connected_since, .. } =
                &mut state.replicas[replica];
            *slow_since = slow_since.filter(|_| is_slow);
            for (since, is_so) in [(steady_since, is_steady), (connected_since, is_connected)] {
                *since = is_so.then(|| since.unwrap_or(now));
            }
            let Replica { well_since, ill_since, silent_since, .. } = &mut state.replicas[replica];
            for (since, is_so) in
                [(well_since, is_well), (ill_since, is_ill), (silent_since, is_silent)]
            {
                *since = is_so.then(|| since.unwrap_or(now));
            }
        }
        let notices = |at| !state.is_cut(at) && !state.has(|fault| *fault == FaultKind::Forget(at));
        let all_down = (0..state.replicas.len()).all(|at| !state.replicas[at].is_up && notices(at));
        state.all_down_since = all_down.then(|| state.all_down_since.unwrap_or(now));
        drop(state);
        self.changed.notify_waiters();
    }

    fn replica_at(&self, address: &Address) -> Option<usize> {
        let Address::Tcp(at) = address else { return None };
        let state = locked(&self.state);
        (0..state.replicas.len())
            .find(|replica| self::address(*replica, state.replicas[*replica].generation) == *at)
    }

    /// Connections of a replica, of which the caller drops those that have ended.
    fn connections(&self, replica: usize) -> Vec<Link> {
        let mut state = locked(&self.state);
        let connections = &mut state.replicas[replica].connections;
        connections.retain(|link| !link.0.reset.is_cancelled());
        connections.clone()
    }

    fn end(&self, replica: usize) {
        self.change(|state| {
            state.replicas[replica].is_up = false;
            state.replicas[replica].life.cancel();
        });
    }
}

impl Client {
    pub(super) async fn cause(self: &Arc<Self>, fault: &Fault) {
        let Fault { lasts, kind, .. } = fault;
        let world = &self.world;
        world.history.note(format!("fault: {kind:?} for {lasts:?}"));
        let caused = Instant::now();
        world.change(|state| {
            state.faults.push(kind.clone());
            if let FaultKind::Slow(replica, _) = kind {
                let was_settled = state.has_settled(state.replicas[*replica].well_since, caused);
                state.replicas[*replica].slow_since = was_settled.then_some(caused);
            }
        });
        match kind {
            FaultKind::Kill(replica) | FaultKind::Move(replica) => world.end(*replica),
            FaultKind::Drain(replica) => {
                let drained = locked(&world.state).replicas[*replica].drained.clone();
                // Often, the health service answers so for a while before.
                if world.chance.happens(0.5) {
                    sleep(NOT_SERVING).await;
                }
                for link in world.connections(*replica) {
                    link.0.closing.cancel();
                }
                sleep(DRAIN).await;
                drained.cancel();
                sleep(Duration::from_millis(50)).await;
                world.end(*replica);
            }
            FaultKind::CloseConnections(replica) => {
                world.change(|state| {
                    let replica = &mut state.replicas[*replica];
                    let closed = replica.closed_at.replace(caused);
                    if closed.is_some_and(|closed| caused - closed < BETWEEN_CLOSINGS) {
                        replica.connected_since = Some(caused);
                    }
                });
                for link in world.connections(*replica) {
                    link.0.closing.cancel();
                }
            }
            FaultKind::Distrust(replica) if world.has_tls => {
                for link in world.connections(*replica) {
                    link.0.untrusted.cancel();
                    tokio::spawn(async move {
                        sleep(UNTRUSTED_DRAIN).await;
                        link.0.reset.cancel();
                    });
                }
            }
            FaultKind::Stall => {
                let time = (*lasts).min(LONGEST_STALL);
                let most = (LONGEST_STALL.as_millis() / time.as_millis().max(1)) as u64;
                // A time-out of a health check that fires much later does not count.
                let is_long = time > Duration::from_millis(550);
                let times = if is_long { world.chance.number(1..most + 1) } else { 1 };
                for _ in 0..times {
                    locked(&world.state).stalls.push((Instant::now(), time));
                    advance(time).await;
                    sleep(Duration::from_millis(1)).await;
                }
            }
            FaultKind::Hiccups(replica) => {
                for _ in 0..HICCUPS {
                    world.change(|state| state.replicas[*replica].has_hiccup = true);
                    sleep(world.chance.delay(HICCUP, Duration::ZERO)).await;
                    world.change(|state| state.replicas[*replica].has_hiccup = false);
                    sleep(BETWEEN_HICCUPS).await;
                }
            }
            FaultKind::Forget(replica) => {
                for link in world.connections(*replica) {
                    link.0.forgotten.store(true, Ordering::Relaxed);
                }
            }
            FaultKind::Crowd | FaultKind::Busy => {
                for _ in 0..CROWD {
                    let client = Arc::clone(self);
                    let call = Call {
                        at: Duration::ZERO,
                        idempotency: Idempotency::Safe,
                        deadline: Duration::from_millis(2_500),
                        takes: Duration::from_millis(1),
                        fails: false,
                        leaves_after: None,
                    };
                    tokio::spawn(async move { client.call(call).await });
                }
            }
            _ => {}
        }
        let lasts = match kind {
            FaultKind::CloseConnections(_) | FaultKind::Hiccups(_) | FaultKind::Stall => {
                Duration::ZERO
            }
            _ => *lasts,
        };
        sleep(lasts).await;
        // Until the client has replaced the connections.
        while matches!(kind, FaultKind::Forget(_))
            && locked(&world.state).active_time(caused, Instant::now()) < FORGOTTEN
        {
            sleep(Duration::from_millis(100)).await;
        }
        world.heal(kind);
    }
}

impl World {
    fn heal(&self, kind: &FaultKind) {
        self.change(|state| {
            let index = state.faults.iter().position(|fault| fault == kind);
            state.faults.remove(index.expect("the fault was caused"));
            let Some(replica) = kind.replica() else { return };
            let is_down = state.has(|fault| {
                fault.replica() == Some(replica)
                    && matches!(
                        fault,
                        FaultKind::Kill(_) | FaultKind::Move(_) | FaultKind::Drain(_)
                    )
            });
            if matches!(kind, FaultKind::Move(_)) {
                state.replicas[replica].generation += u8::from(self.listing != Listing::Addresses);
            }
            let state = &mut state.replicas[replica];
            if !state.is_up && !is_down {
                state.is_up = true;
                state.life = CancellationToken::new();
                state.drained = CancellationToken::new();
            }
        });
        self.history.note(format!("over: {kind:?}"));
    }
}

#[derive(Clone)]
pub(super) struct Network(pub(super) Arc<World>);

impl Connect for Network {
    type Channel = Link;

    async fn connect(&self, address: &Address) -> Result<Link, Box<dyn Error + Send + Sync>> {
        let Ok(opened) = timeout(CONNECT_TIMEOUT, self.open(address)).await else {
            if self.0.has(Mutant::ConnectForever) {
                std::future::pending::<()>().await;
            }
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        };
        opened
    }
}

impl Network {
    async fn open(&self, address: &Address) -> Result<Link, Box<dyn Error + Send + Sync>> {
        let Self(world) = self;
        world.travel().await;
        let Some(replica) = world.replica_at(address) else {
            // The machine is gone, or another process runs there.
            if world.chance.happens(0.5) {
                std::future::pending::<()>().await;
            }
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        };
        world.travel_to(replica).await;
        let accepts = || {
            let is_there = world.replica_at(address) == Some(replica);
            let state = locked(&world.state);
            is_there && state.replicas[replica].is_up && !state.is_draining(replica)
        };
        if !accepts() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        if world.has_tls {
            world.until(|state| !state.is_frozen(replica)).await;
            if locked(&world.state).is_distrusted(replica) {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
            }
        }
        world.travel_to(replica).await;
        if !accepts() {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
        let mut state = locked(&world.state);
        let Replica { life, drained, connections, generation, .. } = &mut state.replicas[replica];
        let link = Link(Arc::new(LinkState {
            world: Arc::clone(world),
            replica,
            address: self::address(replica, *generation),
            life: life.clone(),
            drained: drained.clone(),
            closing: CancellationToken::new(),
            goaway: CancellationToken::new(),
            reset: CancellationToken::new(),
            untrusted: CancellationToken::new(),
            forgotten: AtomicBool::new(false),
        }));
        connections.push(link.clone());
        tokio::spawn(link.clone().close());
        Ok(link)
    }
}

/// A connection to a replica.
#[derive(Clone)]
pub(super) struct Link(Arc<LinkState>);

struct LinkState {
    world: Arc<World>,
    replica: usize,
    address: SocketAddr,
    life: CancellationToken,
    drained: CancellationToken,
    /// Cancelled when the replica sends GOAWAY.
    closing: CancellationToken,
    /// Cancelled when the client receives GOAWAY.
    goaway: CancellationToken,
    /// Cancelled when the client notices that the connection failed.
    reset: CancellationToken,
    untrusted: CancellationToken,
    /// Its packets are dropped.
    forgotten: AtomicBool,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "replica {}", self.0.replica)
    }
}

impl Link {
    pub(super) fn replica(&self) -> usize {
        self.0.replica
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Brings a packet from or to the replica.
    async fn travel(&self) {
        self.0.world.travel_to(self.0.replica).await;
        if self.0.forgotten.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Brings the end of the connection to the client.
    async fn close(self) {
        let LinkState { life, closing, goaway, reset, .. } = &*self.0;
        tokio::select! {
            biased;
            () = life.cancelled() => {}
            () = reset.cancelled() => return,
            () = closing.cancelled() => {
                self.travel().await;
                goaway.cancel();
                life.cancelled().await;
            }
        }
        self.travel().await;
        reset.cancel();
    }

    fn unprocessed(&self, reason: &str) -> Status {
        if self.0.world.has(Mutant::ReportUnprocessedAsLost) {
            connection::broken(reason)
        } else {
            connection::unprocessed(reason)
        }
    }

    fn lost(&self, reason: &str) -> Status {
        if self.0.world.has(Mutant::ReportLostAsUnprocessed) {
            connection::unprocessed(reason)
        } else {
            connection::broken(reason)
        }
    }

    /// Makes an attempt of a call.
    pub(super) async fn attempt(self, attempt: Attempt, left: Duration) -> Result<(), Status> {
        let LinkState { goaway, reset, .. } = &*self.0;
        if reset.is_cancelled() || goaway.is_cancelled() {
            attempt.unprocessed();
            return Err(self.unprocessed("the connection is closed"));
        }
        let (respond, response) = oneshot::channel();
        tokio::spawn(self.clone().serve(attempt.clone(), left, respond));
        let lost = || {
            attempt.lost();
            Err(self.lost("the connection was reset"))
        };
        tokio::select! {
            biased;
            response = response => match response {
                Ok(Err(status)) if !status.details().is_empty() => {
                    attempt.overloaded();
                    Err(status)
                }
                Ok(answer) => answer,
                Err(_) => lost(),
            },
            () = reset.cancelled() => lost(),
        }
    }

    /// Brings a call to the replica, and its answer back; both also after the client has left.
    async fn serve(
        self,
        attempt: Attempt,
        left: Duration,
        respond: oneshot::Sender<Result<(), Status>>,
    ) {
        let LinkState { world, replica, life, reset, .. } = &*self.0;
        let (world, replica) = (world, *replica);
        let answered = tokio::select! {
            biased;
            () = life.cancelled() => None,
            answer = self.process(&attempt, left) => Some(answer),
        };
        if let Some(answer) = answered {
            let lost = locked(&world.state).probability(|fault| match fault {
                FaultKind::LoseResponses(loses, probability) if *loses == replica => {
                    Some(*probability)
                }
                _ => None,
            });
            if world.chance.happens(lost) {
                reset.cancel();
                return;
            }
            self.travel().await;
            let _ = respond.send(answer);
        } else {
            reset.cancelled().await;
        }
    }

    async fn process(&self, attempt: &Attempt, left: Duration) -> Result<(), Status> {
        let LinkState { world, replica, drained, closing, .. } = &*self.0;
        let (world, replica) = (world, *replica);
        let received = Instant::now();
        self.travel().await;
        world.until(|state| !state.is_frozen(replica)).await;
        let (refused, overloaded, slow) = {
            let state = locked(&world.state);
            let refused = state.probability(|fault| match fault {
                FaultKind::RefuseStreams(at, probability) if *at == replica => Some(*probability),
                _ => None,
            });
            let overloaded = state.probability(|fault| match fault {
                FaultKind::Overload(at, probability) if *at == replica => Some(*probability),
                FaultKind::Busy => Some(1.0),
                _ => None,
            });
            (refused, overloaded, state.slowness(replica))
        };
        if closing.is_cancelled() || world.chance.happens(refused) {
            attempt.unprocessed();
            return Err(self.unprocessed("the stream was refused"));
        }
        if world.chance.happens(overloaded) {
            return Err(Status::with_details(Code::Unavailable, "busy", vec![1].into()));
        }
        let call = attempt.processed();
        let deadline =
            (received + left).saturating_duration_since(Instant::now() + BEFORE_DEADLINE);
        let answer = tokio::select! {
            biased;
            () = drained.cancelled() => Err(Status::unavailable("the service is shutting down")),
            () = sleep(call.takes + slow) => {
                if call.fails { Err(Status::failed_precondition("as planned")) } else { Ok(()) }
            }
            () = sleep(deadline) => Err(Status::deadline_exceeded("too slow")),
        };
        world.until(|state| !state.is_frozen(replica)).await;
        answer
    }

    async fn health(&self) -> Result<ServingStatus, Status> {
        /// Of a check.
        const TIMEOUT: Duration = Duration::from_millis(380);
        let LinkState { world, replica, .. } = &*self.0;
        let (world, replica) = (world, *replica);
        self.travel().await;
        world.until(|state| !state.is_frozen(replica)).await;
        let slow = locked(&world.state).slowness(replica);
        if !slow.is_zero() {
            sleep(slow.min(TIMEOUT)).await;
            world.until(|state| !state.is_frozen(replica)).await;
        }
        self.travel().await;
        if slow >= TIMEOUT {
            return Err(Status::deadline_exceeded("too slow"));
        }
        if !world.has_health_service {
            return Err(Status::unimplemented("no health service"));
        }
        Ok(if locked(&world.state).is_serving(replica) {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        })
    }
}

impl Channel for Link {
    fn is_closed(&self) -> bool {
        let LinkState { world, goaway, reset, .. } = &*self.0;
        !world.has(Mutant::IgnoreClosed) && (goaway.is_cancelled() || reset.is_cancelled())
            || self.is_untrusted()
    }

    async fn closed(&self) {
        let LinkState { world, goaway, reset, untrusted, .. } = &*self.0;
        tokio::select! {
            biased;
            () = untrusted.cancelled(), if !world.has(Mutant::IgnoreDistrust) => {}
            () = goaway.cancelled(), if !world.has(Mutant::IgnoreClosed) => {}
            () = reset.cancelled(), if !world.has(Mutant::IgnoreClosed) => {}
            () = std::future::pending() => {}
        }
    }

    fn is_untrusted(&self) -> bool {
        !self.0.world.has(Mutant::IgnoreDistrust) && self.0.untrusted.is_cancelled()
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn check_health(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let LinkState { world, goaway, reset, .. } = &*self.0;
        let status = if world.has(Mutant::SkipHealthChecks) || world.has(Mutant::IgnoreClosed) {
            ServingStatus::Serving
        } else if goaway.is_cancelled() || reset.is_cancelled() {
            return Err(self.unprocessed("the connection is closed"));
        } else {
            tokio::select! {
                biased;
                () = reset.cancelled() => return Err(self.lost("the connection was reset")),
                status = self.health() => status?,
            }
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }
}

/// The resolver.
pub(super) struct Names {
    world: Arc<World>,
    first: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
}

impl Names {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, first: Mutex::default() }
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> ResolveFuture<'a> {
        Box::pin(async move {
            let world = &self.world;
            world.travel().await;
            world.until(|state| !state.has(|fault| *fault == FaultKind::ResolverHangs)).await;
            let addresses: Vec<SocketAddr> = {
                let state = locked(&world.state);
                if state.has(|fault| *fault == FaultKind::ResolverFails) {
                    return Err(io::Error::other("SERVFAIL"));
                }
                if state.has(|fault| *fault == FaultKind::ResolverReturnsNothing) {
                    return Ok(Vec::new());
                }
                let is_named = |replica: &usize| {
                    host.strip_prefix("db-").is_none_or(|name| *name == replica.to_string())
                };
                let is_listed = |replica: &usize| {
                    !state.has(|fault| {
                        matches!(
                            fault,
                            FaultKind::Unlist(at) | FaultKind::Vanish(at) if at == replica
                        )
                    })
                };
                (0..state.replicas.len())
                    .filter(is_named)
                    .filter(is_listed)
                    .map(|replica| address(replica, state.replicas[replica].generation))
                    // Any order, and duplicates.
                    .rev()
                    .flat_map(|address| [address, address])
                    .collect()
            };
            let is_new = locked(&world.state).resolved.get(host) != Some(&addresses);
            if is_new && !addresses.is_empty() {
                world.change(|state| {
                    state.resolved.insert(host.to_owned(), addresses.clone());
                });
            }
            let mut first = locked(&self.first);
            let first = first.entry(host.to_owned()).or_insert_with(|| addresses.clone());
            Ok(if world.has(Mutant::ResolveOnce) {
                first.clone()
            } else if world.has(Mutant::ResolveOneAddress) {
                addresses.into_iter().take(1).collect()
            } else {
                addresses
            })
        })
    }
}
