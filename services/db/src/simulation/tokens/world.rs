//! Runs a plan: replicas of the db service, their clients and the faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::{
    event::Origin,
    rate_limit::{EventRateLimiter, EventRateLimits},
};
use rand::{RngExt as _, rngs::StdRng};
use simulator::{Chance, Tasks, locked, random};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Fault, FaultKind, HORIZON, Kind, Mutant, Operation, Plan,
    orders::{
        USERS,
        server::{Changes, Connection, Server, SimulatedTransaction, Tables, user_id},
    },
    statements::Users,
};
use crate::{
    entity::users::{Model, PasswordHash},
    failure::Failure,
    ids::Ids,
    store::{
        Caller, Context,
        place::{NewOrder, OrderOutcome, PlaceContext, direct::ProductsForSale, place_batch},
        transaction,
        users::{UserChanges, VerifiedPassword, changes},
    },
};

/// All faults are over.
const HEALED: Duration = HORIZON.saturating_mul(2);
/// Every request must have its response by then.
const LIVE_BY: Duration = HEALED.saturating_add(Duration::from_secs(120));
const START: i64 = 1_800_000_000;
/// More than all orders of a history buy.
const STOCK: i32 = 10_000;
/// How far the operator raises the token versions of a restored database.
const RESTORED: i64 = 1_000_000;

/// A request of a client, and its response.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// As the request id of the event of an order.
    pub(super) id: String,
    pub(super) user: usize,
    pub(super) kind: RequestKind,
    /// The version of its token; 0 for a log-in.
    pub(super) version: i64,
    pub(super) invoked: Instant,
    pub(super) answered: Instant,
    pub(super) reply: Reply,
}

/// A password is the number of the user's passwords that were tried before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RequestKind {
    LogIn { password: usize },
    LogOut,
    ChangePassword { password: usize },
    Deactivate,
    Update,
    Read,
    Order,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// With the version of the issued token, of a log-in.
    Accepted(i64),
    TokenRevoked,
    WrongPassword,
    UnknownUser,
    /// An error after which the change may be made.
    Unknown(String),
}

#[derive(Debug)]
pub(super) struct History {
    pub(super) requests: Vec<Request>,
    /// When the operator marked the database as restored, and the least token version since then.
    pub(super) restores: Vec<(Instant, i64)>,
    pub(super) unanswered: Vec<String>,
    pub(super) tables: Tables,
    /// For people, in the order of time.
    pub(super) lines: Vec<String>,
    /// Promises that the probes after the last fault found broken.
    pub(super) broken: Vec<String>,
}

/// What the clients know of a user.
struct Account {
    /// The versions of its tokens, in the order of the log-ins.
    tokens: Vec<i64>,
    /// The number of passwords that were tried.
    passwords: usize,
}

pub(super) struct World {
    plan: Plan,
    mutant: Option<Mutant>,
    server: Arc<Server>,
    started: Instant,
    notes: simulator::History,
    chance: Chance,
    /// Of each replica. The token is cancelled when the process ends.
    replicas: Vec<(Ids, Mutex<CancellationToken>)>,
    origin: Origin,
    rate_limiter: EventRateLimiter,
    accounts: Mutex<BTreeMap<usize, Account>>,
    requests: Mutex<Vec<Request>>,
    restores: Mutex<Vec<(Instant, i64)>>,
    lose_responses: Mutex<f64>,
    broken: Mutex<Vec<String>>,
    /// For a mutant: the valid tokens that each replica has seen.
    pub(super) remembered: Mutex<BTreeSet<(usize, Uuid, i64)>>,
}

pub(super) async fn run(plan: &Plan, mutant: Option<Mutant>) -> History {
    let chance = Chance::new(plan.seed, "messages");
    let world = Arc::new(World {
        plan: plan.clone(),
        mutant,
        server: Server::new(plan.seed, STOCK, mutant.and_then(Mutant::of_server)),
        started: Instant::now(),
        notes: simulator::History::default(),
        replicas: (0..plan.replicas)
            .map(|_| (Ids::seeded(chance.number(0..u64::MAX)), Mutex::default()))
            .collect(),
        chance,
        origin: Origin::new("db"),
        rate_limiter: EventRateLimiter::new(EventRateLimits::default()),
        accounts: Mutex::new(
            (0..USERS).map(|user| (user, Account { tokens: vec![1], passwords: 1 })).collect(),
        ),
        requests: Mutex::default(),
        restores: Mutex::default(),
        lose_responses: Mutex::new(0.0),
        broken: Mutex::default(),
        remembered: Mutex::default(),
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
        for user in 0..USERS {
            probed.probe(user).await;
        }
    });
    let unanswered = tasks.unfinished(started + LIVE_BY).await;
    History {
        requests: std::mem::take(&mut *locked(&world.requests)),
        restores: std::mem::take(&mut *locked(&world.restores)),
        unanswered,
        tables: world.server.take_tables().0,
        lines: world.notes.take(),
        broken: std::mem::take(&mut *locked(&world.broken)),
    }
}

impl World {
    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        let start = OffsetDateTime::from_unix_timestamp(START).expect("a valid time");
        start + self.started.elapsed()
    }

    async fn travel(&self) {
        sleep(self.chance.delay(50..5_000, Duration::ZERO)).await;
    }

    async fn operate(&self, operation: &Operation) {
        let mut random = random(self.plan.seed, ("operation", operation.id));
        let Operation { user, is_newest, .. } = *operation;
        let choose = |random: &mut StdRng, count: usize| {
            if is_newest { count - 1 } else { random.random_range(0..count) }
        };
        let (version, password, new) = {
            let mut accounts = locked(&self.accounts);
            let account = accounts.get_mut(&user).expect("each user has an account");
            let version = account.tokens[choose(&mut random, account.tokens.len())];
            let password = choose(&mut random, account.passwords);
            account.passwords += usize::from(operation.kind == Kind::ChangePassword);
            (version, password, account.passwords - 1)
        };
        let (kind, version) = match operation.kind {
            Kind::LogIn => (RequestKind::LogIn { password }, 0),
            Kind::LogOut => (RequestKind::LogOut, version),
            Kind::ChangePassword => (RequestKind::ChangePassword { password: new }, version),
            Kind::Deactivate => (RequestKind::Deactivate, version),
            Kind::Update => (RequestKind::Update, version),
            Kind::Read => (RequestKind::Read, version),
            Kind::Order => (RequestKind::Order, version),
        };
        for attempt in 0.. {
            let replica = random.random_range(0..self.replicas.len());
            let id = format!("{}.{attempt}", operation.id);
            let reply = self.send(id, user, kind, version, replica).await;
            if !(kind == RequestKind::LogOut && matches!(reply, Reply::Unknown(_))) {
                return;
            }
            sleep(Duration::from_millis(random.random_range(10..500))).await;
        }
    }

    async fn send(
        &self,
        id: String,
        user: usize,
        kind: RequestKind,
        version: i64,
        replica: usize,
    ) -> Reply {
        let invoked = Instant::now();
        self.notes.note(format!(
            "{id}: user {user} with token version {version} sends {kind:?} to replica {replica}"
        ));
        let reply = self.answer(&id, user, kind, version, replica).await;
        self.notes.note(format!("{id}: {reply:?}"));
        if let (RequestKind::LogIn { .. }, Reply::Accepted(version)) = (kind, &reply)
            && let Some(account) = locked(&self.accounts).get_mut(&user)
        {
            account.tokens.push(*version);
        }
        let answered = Instant::now();
        let reply_to = reply.clone();
        locked(&self.requests).push(Request { id, user, kind, version, invoked, answered, reply });
        reply_to
    }

    async fn answer(
        &self,
        id: &str,
        user: usize,
        kind: RequestKind,
        version: i64,
        replica: usize,
    ) -> Reply {
        self.travel().await;
        let killed = locked(&self.replicas[replica].1).clone();
        let caller = Caller { user_id: user_id(user), token_version: version };
        let outcome = tokio::select! {
            biased;
            () = killed.cancelled() => return Reply::Unknown("the replica ends".to_owned()),
            outcome = self.handle(id, kind, caller, replica) => outcome,
        };
        self.travel().await;
        let lost = *locked(&self.lose_responses);
        if killed.is_cancelled() || self.chance.happens(lost) {
            return Reply::Unknown("the response is lost".to_owned());
        }
        match outcome {
            Ok(reply) => reply,
            Err(Failure::Refused(ErrorReason::TokenRevoked)) => Reply::TokenRevoked,
            Err(failure) => Reply::Unknown(format!("{failure:?}")),
        }
    }

    /// Serves a request as the api and the db service do.
    async fn handle(
        &self,
        id: &str,
        kind: RequestKind,
        caller: Caller,
        replica: usize,
    ) -> Result<Reply, Failure> {
        let user_id = caller.user_id;
        let connection = &Connection(self.server.clone());
        match kind {
            RequestKind::LogIn { password } => {
                return self.log_in(id, user_id, password, replica).await;
            }
            RequestKind::LogOut => {
                transaction::write(connection, |transaction| async move {
                    changes::revoke_tokens(&self.users(id, replica, &transaction), caller).await
                })
                .await?;
            }
            RequestKind::ChangePassword { password } => {
                let (hash, verified) = (&hash_of(password), &VerifiedPassword::default());
                transaction::write(connection, |transaction| async move {
                    let users = self.users(id, replica, &transaction);
                    changes::change_password(&users, caller, user_id, hash, verified).await
                })
                .await?;
            }
            RequestKind::Deactivate => {
                transaction::write(connection, |transaction| async move {
                    let users = self.users(id, replica, &transaction);
                    changes::deactivate_user(&users, caller, user_id).await
                })
                .await?;
            }
            RequestKind::Update => {
                let change = &UserChanges {
                    username: Some(format!("name {id}")),
                    email: None,
                    expected_versions: Vec::new(),
                };
                transaction::write(connection, |transaction| async move {
                    let users = self.users(id, replica, &transaction);
                    changes::update_user(&users, caller, user_id, change).await
                })
                .await?;
            }
            RequestKind::Read => {
                let find = |tables: &Tables| {
                    if self.has(Mutant::ReadFromStandby) {
                        let late = Instant::now() - Duration::from_millis(200);
                        return self.find(&tables.users_before(late), replica, caller);
                    }
                    self.find(&tables.users, replica, caller)
                };
                let found = transaction::retry(|| self.server.query(find)).await?;
                found.ok_or(Failure::Refused(ErrorReason::TokenRevoked))?;
            }
            RequestKind::Order => return self.order(id, caller, replica).await,
        }
        Ok(Reply::Accepted(0))
    }

    fn users<'a>(
        &'a self,
        id: &'a str,
        replica: usize,
        transaction: &'a SimulatedTransaction,
    ) -> Users<'a> {
        Users { world: self, id, replica, transaction }
    }

    async fn log_in(
        &self,
        id: &str,
        user: Uuid,
        password: usize,
        replica: usize,
    ) -> Result<Reply, Failure> {
        let trusts_deactivated = self.has(Mutant::TrustDeactivated);
        let find = |tables: &Tables| -> Option<Model> {
            let user = tables.users.get(&user).cloned();
            user.filter(|user| user.is_active || trusts_deactivated)
        };
        let Some(found) = transaction::retry(|| self.server.query(find)).await? else {
            return Ok(Reply::UnknownUser);
        };
        // The hash.
        sleep(self.chance.delay(1_000..300_000, Duration::ZERO)).await;
        if found.password_hash != hash_of(password) {
            return Ok(Reply::WrongPassword);
        }
        let caller = Caller { user_id: user, token_version: found.token_version };
        let (connection, verified) = (Connection(self.server.clone()), VerifiedPassword::default());
        let verified = &verified;
        let recorded = transaction::write(&connection, |transaction| async move {
            let users = self.users(id, replica, &transaction);
            changes::record_log_in(&users, caller, verified).await
        })
        .await;
        if !self.has(Mutant::IssueUnrecorded) {
            recorded?;
        }
        let next = i64::from(self.has(Mutant::IssueNextVersion));
        Ok(Reply::Accepted(caller.token_version + next))
    }

    async fn order(&self, id: &str, caller: Caller, replica: usize) -> Result<Reply, Failure> {
        let order = NewOrder {
            context: Context { request_id: id.to_owned(), ..Context::default() },
            caller,
            product_id: 1,
            quantity: 1,
            idempotency_key: None,
            deadline: None,
        };
        let context = PlaceContext {
            ids: &self.replicas[replica].0,
            origin: &self.origin,
            rate_limiter: &self.rate_limiter,
            products: &ProductsForSale::default(),
            now: &|| self.now(),
        };
        let (context, orders) = (&context, &[&order]);
        let connection = Connection(self.server.clone());
        let outcomes = transaction::write(&connection, |transaction| async move {
            place_batch(context, &*transaction, orders, &|| vec![Some(Duration::MAX)]).await
        })
        .await?;
        Ok(match outcomes.into_iter().next() {
            Some(OrderOutcome::Placed(_)) => Reply::Accepted(0),
            Some(OrderOutcome::Refused(ErrorReason::TokenRevoked)) => Reply::TokenRevoked,
            other => Reply::Unknown(format!("unexpected outcome: {other:?}")),
        })
    }

    async fn cause(&self, fault: &Fault) {
        self.notes.note(format!("fault: {:?} for {:?}", fault.kind, fault.lasts));
        let set = |on: bool| {
            let probability = |probability: f64| if on { probability } else { 0.0 };
            match fault.kind {
                FaultKind::Kill(replica) => {
                    let mut killed = locked(&self.replicas[replica].1);
                    if on {
                        killed.cancel();
                    } else {
                        *killed = CancellationToken::new();
                    }
                }
                FaultKind::LoseConnections(lost) => self.server.set_conditions(|conditions| {
                    conditions.lose_connections = probability(lost);
                }),
                FaultKind::LoseCommits(lost) => self.server.set_conditions(|conditions| {
                    conditions.lose_commits = probability(lost);
                }),
                FaultKind::FailCommits(failed) => self.server.set_conditions(|conditions| {
                    conditions.fail_commits = probability(failed);
                }),
                FaultKind::SlowDatabase(time) => self.server.set_conditions(|conditions| {
                    conditions.slow = if on { time } else { Duration::ZERO };
                }),
                FaultKind::Hang(hangs) => self.server.set_conditions(|conditions| {
                    conditions.hang = probability(hangs);
                }),
                FaultKind::LoseResponses(lost) => {
                    *locked(&self.lose_responses) = probability(lost);
                }
                FaultKind::FailOver(lag) => {
                    self.server.set_conditions(|conditions| {
                        conditions.outages =
                            conditions.outages + usize::from(on) - usize::from(!on);
                    });
                    if on {
                        self.fail_over(lag);
                    }
                }
            }
        };
        set(true);
        sleep(fault.lasts).await;
        set(false);
        self.notes.note(format!("over: {:?}", fault.kind));
    }

    fn fail_over(&self, lag: Duration) {
        self.server.fail_over(lag);
        if lag.is_zero() {
            return;
        }
        let least = RESTORED * (1 + locked(&self.restores).len() as i64);
        if !self.has(Mutant::ForgetRestore) {
            let users = self.server.read(|tables| tables.users.clone());
            let raised = users.into_values().map(|user| Model { token_version: least, ..user });
            self.server.apply(Changes { users: raised.collect(), ..Changes::default() });
        }
        locked(&self.restores).push((Instant::now(), least));
    }

    /// After the last fault, an active user can log in, use the token and log out at each replica.
    async fn probe(&self, user: usize) {
        let row = self.server.read(|tables| tables.users[&user_id(user)].clone());
        let passwords = locked(&self.accounts)[&user].passwords;
        let current = (0..passwords).find(|password| row.password_hash == hash_of(*password));
        let Some(password) = current else { return };
        for replica in 0..self.replicas.len() {
            let send = async |name: &'static str, kind, version| {
                let id = format!("probe {user}.{replica} {name}");
                self.send(id, user, kind, version, replica).await
            };
            let reply = send("logs in", RequestKind::LogIn { password }, 0).await;
            let Reply::Accepted(version) = reply else {
                if row.is_active || reply != Reply::UnknownUser {
                    self.break_promise(format!("user {user} cannot log in: {reply:?}"));
                }
                continue;
            };
            for (name, kind, is_valid) in [
                ("reads", RequestKind::Read, true),
                ("updates", RequestKind::Update, true),
                ("orders", RequestKind::Order, true),
                ("logs out", RequestKind::LogOut, true),
                ("reads again", RequestKind::Read, false),
                ("orders again", RequestKind::Order, false),
            ] {
                let expected = if is_valid { Reply::Accepted(0) } else { Reply::TokenRevoked };
                let reply = send(name, kind, version).await;
                if reply != expected {
                    self.break_promise(format!(
                        "user {user} {name} with a {} token: {reply:?}",
                        if is_valid { "live" } else { "revoked" }
                    ));
                }
            }
        }
    }

    fn break_promise(&self, text: String) {
        locked(&self.broken).push(format!("after the last fault, {text}"));
    }
}

pub(super) fn hash_of(password: usize) -> PasswordHash {
    PasswordHash(format!("password {password}"))
}
