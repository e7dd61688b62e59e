//! Runs a plan: replicas of the db service, their clients and the faults.

mod faults;
mod probes;
mod replica;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use merch_contract::grpc::assistant::v1::ErrorReason;
use rand::{RngExt as _, rngs::StdRng};
use simulator::{Chance, Tasks, locked, random};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use self::replica::Process;
use super::{
    mutant::Mutant,
    plan::{Fault, FaultKind, HORIZON, Kind, Operation, Plan, PlannedOrder, USERS},
    server::{Changes, Former, Lock, Row, Server, Tables, user_id},
};
use crate::{
    entity::orders::{Model, Status},
    failure::Failure,
    store::{
        Caller, Context,
        committer::Queue,
        place::{NewOrder, OrderOutcome},
        transaction,
    },
};

/// All faults are over.
const HEALED: Duration = HORIZON.saturating_mul(2);
/// Every client must have its answer by then.
pub(super) const LIVE_BY: Duration = HEALED.saturating_add(Duration::from_secs(60));
/// At each replica.
pub(super) const WRITES_PER_USER: usize = 8;
const START: i64 = 1_800_000_000;
/// The products of [`super::plan::PRODUCTS`] have pieces enough for these.
const PROBES: usize = 2;

/// An order of a call, and its answer.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// As the request id of the event.
    pub(super) id: String,
    pub(super) order: NewOrder,
    pub(super) replica: usize,
    /// When its deadline passes or its client disconnects.
    pub(super) gives_up: Option<Instant>,
    pub(super) invoked: Instant,
    pub(super) answered: Instant,
    pub(super) reply: Reply,
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Outcome(OrderOutcome),
    /// The whole call was refused, so nothing was placed.
    Refused(ErrorReason),
    /// An error after which the order may exist.
    Unknown(String),
}

/// What another client did with the stock of a product.
#[derive(Clone, Debug)]
pub(super) struct StockOperation {
    pub(super) product: i32,
    pub(super) invoked: Instant,
    /// `None` if the outcome is unknown.
    pub(super) answered: Option<Instant>,
    pub(super) kind: StockOperationKind,
}

#[derive(Clone, Debug)]
pub(super) enum StockOperationKind {
    /// Returned this stock.
    Read(i32),
    /// Added these pieces, if this transaction was committed.
    Add(u64, i32),
}

#[derive(Debug)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    pub(super) stock_operations: Vec<StockOperation>,
    /// Of each product, at the start.
    pub(super) stock: i32,
    /// The orders that each replica may hold.
    pub(super) capacity: usize,
    /// When the orders of each call were decided about.
    pub(super) decided: BTreeMap<String, Instant>,
    /// Whether a session of the operator locks products in any order.
    pub(super) has_stocktaking: bool,
    /// If an asynchronous standby took over.
    pub(super) former: Option<Former>,
    pub(super) unanswered: Vec<String>,
    pub(super) tables: Tables,
    /// For people, in the order of time.
    pub(super) lines: Vec<String>,
}

/// Another order of the call is placed, and the outcome of this one is unknown.
fn reply(outcome: OrderOutcome) -> Reply {
    match outcome {
        OrderOutcome::Refused(ErrorReason::DatabaseUnavailable) => {
            Reply::Unknown("the database is unavailable".to_owned())
        }
        OrderOutcome::Refused(ErrorReason::Unspecified) => Reply::Unknown("Internal".to_owned()),
        outcome => Reply::Outcome(outcome),
    }
}

struct World {
    this: Weak<Self>,
    plan: Plan,
    server: Arc<Server>,
    replicas: Vec<Replica>,
    started: Instant,
    calls: Mutex<Vec<Call>>,
    stock_operations: Mutex<Vec<StockOperation>>,
    notes: simulator::History,
    /// Short names of orders, whose ids are random.
    names: Mutex<HashMap<Uuid, usize>>,
    /// The token version that each user has.
    versions: Mutex<[i64; USERS]>,
    lose_responses: Mutex<f64>,
    chance: Chance,
    ids: Chance,
}

struct Replica {
    process: Mutex<Process>,
    skew_seconds: AtomicI64,
}

pub(super) async fn run(plan: &Plan, mutant: Option<Mutant>) -> History {
    let server = Server::new(plan.seed, plan.stock, mutant);
    let ids = Chance::new(plan.seed, "ids");
    let world = Arc::new_cyclic(|world| World {
        this: world.clone(),
        plan: plan.clone(),
        server,
        replicas: (0..plan.replicas)
            .map(|replica| Replica {
                process: Mutex::new(Process::start(world.clone(), plan, replica, vec![], &ids)),
                skew_seconds: AtomicI64::new(0),
            })
            .collect(),
        started: Instant::now(),
        calls: Mutex::default(),
        stock_operations: Mutex::default(),
        notes: simulator::History::default(),
        names: Mutex::default(),
        versions: Mutex::new([1; USERS]),
        lose_responses: Mutex::new(0.0),
        chance: Chance::new(plan.seed, "messages"),
        ids: Chance::new(plan.seed, "ids of new processes"),
    });
    let (mut tasks, started) = (Tasks::default(), world.started);
    for operation in plan.operations.clone() {
        let (world, name, at) = (world.clone(), format!("{operation:?}"), started + operation.at);
        tasks.spawn(name, at, async move { world.operate(&operation).await });
    }
    for fault in plan.faults.clone() {
        let (world, name, at) = (world.clone(), format!("{fault:?}"), started + fault.at);
        tasks.spawn(name, at, async move { world.cause(&fault).await });
    }
    let probed = world.clone();
    tasks.spawn("the probes after the last fault", started + HEALED, async move {
        for user in 0..PROBES {
            probed.probe(user).await;
        }
        probed.probe_permits().await;
    });
    let unanswered = tasks.unfinished(started + LIVE_BY).await;
    for replica in &world.replicas {
        locked(&replica.process).committer.abort();
    }
    // Transactions that were dropped end.
    sleep(Duration::from_secs(30)).await;
    let (tables, former, decided) = world.server.take_tables();
    let is_stocktaking = |fault: &Fault| matches!(fault.kind, FaultKind::Stocktaking(_));
    History {
        calls: std::mem::take(&mut *locked(&world.calls)),
        stock_operations: std::mem::take(&mut *locked(&world.stock_operations)),
        stock: plan.stock,
        capacity: plan.queue.max(plan.batch),
        decided,
        has_stocktaking: plan.faults.iter().any(is_stocktaking),
        former,
        unanswered,
        lines: world.notes.take(),
        tables,
    }
}

impl World {
    fn clock(&self, replica: usize) -> OffsetDateTime {
        let skew = self.replicas[replica].skew_seconds.load(Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        OffsetDateTime::from_unix_timestamp(START + skew).expect("a valid time") + elapsed
    }

    fn name(&self, order: Uuid) -> String {
        let mut names = locked(&self.names);
        let next = names.len() + 1;
        format!("order #{}", names.entry(order).or_insert(next))
    }

    fn describe(&self, reply: &Reply) -> String {
        match reply {
            Reply::Outcome(OrderOutcome::Placed(order)) => {
                format!("placed {}", self.name(order.id))
            }
            Reply::Outcome(OrderOutcome::Replayed(order)) => {
                format!("replays {}", self.name(order.id))
            }
            Reply::Outcome(OrderOutcome::Refused(reason)) => format!("refused: {reason:?}"),
            Reply::Refused(reason) => format!("the call is refused: {reason:?}"),
            Reply::Unknown(reason) => format!("unknown: {reason}"),
        }
    }

    async fn travel(&self) {
        sleep(self.chance.delay(50..5_000, Duration::ZERO)).await;
    }

    async fn operate(&self, operation: &Operation) {
        let mut random = random(self.plan.seed, ("operation", operation.id));
        match &operation.kind {
            Kind::Order { orders: planned, deadline, patience, stale_token } => {
                // A client that repeats waits longer each time.
                let longer = |time: Duration, attempt: u32| time * 2_u32.pow(attempt.min(10));
                let order = |planned: &PlannedOrder, attempt| {
                    let PlannedOrder { user, product, quantity, key, deadline: own } = *planned;
                    let time = [*deadline, own].into_iter().flatten().min();
                    let version = locked(&self.versions)[user] - i64::from(*stale_token);
                    NewOrder {
                        context: Context::default(),
                        caller: Caller { user_id: user_id(user), token_version: version.max(0) },
                        product_id: product,
                        quantity,
                        idempotency_key: key.map(|key| format!("k{key}")),
                        deadline: time.map(|time| Instant::now() + longer(time, attempt)),
                    }
                };
                let is_repeatable = planned.iter().all(|order| order.key.is_some());
                let mut attempt = 0;
                loop {
                    let orders = planned.iter().map(|planned| order(planned, attempt)).collect();
                    let id = format!("{}.{attempt}", operation.id);
                    let replica = random.random_range(0..self.replicas.len());
                    let patience = patience.map(|patience| longer(patience, attempt));
                    let replies = self.call(id, orders, replica, patience).await;
                    let is_repeated = |reply: &Reply| match reply {
                        Reply::Unknown(reason) => !reason.contains("Internal"),
                        Reply::Outcome(outcome) => {
                            *outcome == OrderOutcome::Refused(ErrorReason::OrderExpired)
                        }
                        Reply::Refused(_) => false,
                    };
                    if !is_repeatable || !replies.iter().any(is_repeated) {
                        return;
                    }
                    attempt += 1;
                    sleep(Duration::from_millis(random.random_range(10..500))).await;
                }
            }
            Kind::LogOut => self.revoke(operation.user, Changes::log_out).await,
            Kind::Deactivate => self.revoke(operation.user, Changes::deactivate).await,
            Kind::Cancel => self.cancel(operation.user, &mut random).await,
            Kind::Restock { product, pieces } => self.restock(*product, *pieces).await,
            Kind::Read { product } => self.read(*product).await,
        }
    }

    async fn call(
        &self,
        id: String,
        mut orders: Vec<NewOrder>,
        replica: usize,
        patience: Option<Duration>,
    ) -> Vec<Reply> {
        let invoked = Instant::now();
        for (index, order) in orders.iter_mut().enumerate() {
            order.context.request_id = format!("{id}/{index}");
            self.notes.note(format!(
                "{id}/{index}: user {} version {} buys {} of product {} with key {:?} from replica \
                 {replica}",
                order.caller.user_id.as_u128() - user_id(0).as_u128(),
                order.caller.token_version,
                order.quantity,
                order.product_id,
                order.idempotency_key
            ));
        }
        let answer = self.send(orders.clone(), replica);
        let replies = match patience {
            Some(patience) => timeout(patience, answer).await.unwrap_or_else(|_| {
                vec![Reply::Unknown("the client disconnects".to_owned()); orders.len()]
            }),
            None => answer.await,
        };
        let answered = Instant::now();
        let disconnects = patience.map(|patience| invoked + patience);
        for (order, reply) in orders.into_iter().zip(&replies) {
            let id = order.context.request_id.clone();
            self.notes.note(format!("{id}: {}", self.describe(reply)));
            let reply = reply.clone();
            let gives_up = [order.deadline, disconnects].into_iter().flatten().min();
            locked(&self.calls).push(Call {
                id,
                order,
                replica,
                gives_up,
                invoked,
                answered,
                reply,
            });
        }
        replies
    }

    async fn send(&self, mut orders: Vec<NewOrder>, replica: usize) -> Vec<Reply> {
        let count = orders.len();
        let all = |reply: Reply| vec![reply; count];
        let deadlines = orders.iter().map(|order| order.deadline);
        let common = match self.server.mutant() {
            Some(Mutant::WaitForTheLatestDeadline) => {
                Some(deadlines.max_by_key(|deadline| (deadline.is_none(), *deadline)).flatten())
            }
            Some(Mutant::ExpireTogether) => Some(deadlines.flatten().min()),
            _ => None,
        };
        if let Some(common) = common {
            orders.iter_mut().for_each(|order| order.deadline = common);
        }
        self.travel().await;
        let (queue, killed) = {
            let process = locked(&self.replicas[replica].process);
            (process.queue.clone(), process.killed.clone())
        };
        let mut leak = Leak { world: self, order: &orders[0], queue: &queue, is_answered: false };
        let outcome = tokio::select! {
            biased;
            () = killed.cancelled() => return all(Reply::Unknown("the replica ends".to_owned())),
            outcome = queue.place(orders.clone()) => outcome,
        };
        leak.is_answered = true;
        drop(leak);
        self.travel().await;
        let lost = *locked(&self.lose_responses);
        if killed.is_cancelled() || self.chance.happens(lost) {
            return all(Reply::Unknown("the response is lost".to_owned()));
        }
        match outcome {
            Ok(outcomes) if outcomes.len() == count => outcomes.into_iter().map(reply).collect(),
            Ok(outcomes) => all(Reply::Unknown(format!("{} outcomes", outcomes.len()))),
            Err(Failure::Refused(reason)) => all(Reply::Refused(reason)),
            Err(failure) => all(Reply::Unknown(format!("{failure:?}"))),
        }
    }

    /// Runs a transaction of another process of the store, again if it fails. Returns its id, and
    /// whether it is known to be committed.
    async fn transact(
        &self,
        row: Row,
        change: impl Fn(&Tables, &mut Changes) + Send + Sync,
    ) -> (u64, bool) {
        loop {
            self.server.wait_until_up().await;
            let transaction = self.server.begin();
            let id = transaction.id();
            let work = async {
                transaction.lock(row, Lock::Exclusive).await?;
                transaction.change(&change).await
            };
            // A change whose COMMIT has an unknown outcome is not repeated.
            match work.await {
                Ok(()) => match transaction.commit().await {
                    Err(Failure::Retryable(_)) => {}
                    outcome => return (id, outcome.is_ok()),
                },
                Err(_) => drop(transaction),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn revoke(&self, user: usize, change: impl Fn(&mut Changes, Uuid) + Send + Sync) {
        let id = user_id(user);
        self.transact(Row::User(id), |_, changes| change(changes, id)).await;
        let version = self.server.read(|tables| tables.users[&id].token_version);
        locked(&self.versions)[user] = version;
        self.notes.note(format!("the tokens of user {user} are revoked before version {version}"));
    }

    async fn read(&self, product: i32) {
        let invoked = Instant::now();
        self.travel().await;
        let stock = transaction::retry(|| self.server.read_stock(product)).await;
        self.travel().await;
        let Ok(stock) = stock else { return };
        self.notes.note(format!("product {product} has stock {stock}"));
        self.record(product, invoked, true, StockOperationKind::Read(stock));
    }

    fn record(&self, product: i32, invoked: Instant, is_known: bool, kind: StockOperationKind) {
        let answered = is_known.then(Instant::now);
        locked(&self.stock_operations).push(StockOperation { product, invoked, answered, kind });
    }

    async fn restock(&self, product: i32, pieces: i32) {
        let invoked = Instant::now();
        let (id, is_known) = self
            .transact(Row::Product(product), |_, changes| {
                changes.stock.push((product, pieces));
                changes.restocked.push((product, pieces));
            })
            .await;
        self.record(product, invoked, is_known, StockOperationKind::Add(id, pieces));
        self.notes.note(format!("{pieces} pieces of product {product} are delivered"));
    }

    async fn cancel(&self, user: usize, random: &mut StdRng) {
        let placed: BTreeMap<usize, Model> = locked(&self.calls)
            .iter()
            .filter_map(|call| match &call.reply {
                Reply::Outcome(OrderOutcome::Placed(order)) => Some(order.clone()),
                _ => None,
            })
            .filter(|order| order.user_id == user_id(user))
            .enumerate()
            .collect();
        if placed.is_empty() {
            return;
        }
        let order = placed[&random.random_range(0..placed.len())].clone();
        let (invoked, is_cancelled) = (Instant::now(), AtomicBool::new(false));
        let (id, is_known) = self
            .transact(Row::Product(order.product_id), |tables, changes| {
                let stored = tables.orders.get(&order.id);
                let is_placed = stored.is_some_and(|stored| stored.status == Status::Placed);
                is_cancelled.store(is_placed, Ordering::Relaxed);
                if is_placed {
                    changes.cancel(&order);
                }
            })
            .await;
        if is_cancelled.into_inner() {
            let kind = StockOperationKind::Add(id, order.quantity);
            self.record(order.product_id, invoked, is_known, kind);
        }
        self.notes.note(format!("user {user} cancels {}", self.name(order.id)));
    }
}

/// Takes a permit of a caller that disconnects, for mutants.
struct Leak<'a> {
    world: &'a World,
    order: &'a NewOrder,
    queue: &'a Queue,
    is_answered: bool,
}

impl Drop for Leak<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if self.world.server.has(Mutant::LeakPermits) {
            self.queue.leak_permit();
        }
        if self.world.server.has(Mutant::LeakUserPermits) {
            self.queue.leak_user_permit(self.order.caller);
        }
    }
}
