//! A simulated PostgreSQL: row locks, READ COMMITTED, and transactions whose COMMIT can get lost.

mod statements;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use merch_contract::grpc::logging::v1::LogMessage;
use sea_orm::DbErr;
use simulator::{Chance, locked};
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    mutant::Mutant,
    plan::{PRODUCTS, USERS},
};
use crate::{
    entity::orders::{Model, Status},
    failure::Failure,
    store::transaction::Transactions,
};

const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What faults do at present.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) lose_connections: f64,
    pub(super) lose_commits: f64,
    pub(super) fail_commits: f64,
    pub(super) slow: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    User(Uuid),
    Product(i32),
    Key(Uuid, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    Shared,
    Exclusive,
}

/// The committed tables, and what the check needs to know about their past.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Token versions.
    pub(super) users: BTreeMap<Uuid, i64>,
    pub(super) stock: BTreeMap<i32, i32>,
    pub(super) delivered: BTreeMap<i32, i32>,
    pub(super) orders: BTreeMap<Uuid, Model>,
    /// Fingerprint and order.
    pub(super) keys: BTreeMap<(Uuid, String), (String, Uuid)>,
    pub(super) events: Vec<LogMessage>,
    /// Ids of orders in the order of their commits, with the number of the commit.
    pub(super) placed: Vec<(u64, Uuid)>,
    /// Commits of log-outs: when, user, new version.
    pub(super) log_outs: Vec<(u64, Instant, Uuid, i64)>,
    /// Committed stock over time.
    pub(super) stock_changes: Vec<(Instant, i32, i32)>,
    pub(super) commits: u64,
    /// Broken invariants.
    pub(super) broken: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    /// The holders of each locked row.
    locks: BTreeMap<Row, (Lock, BTreeSet<u64>)>,
    transactions: BTreeMap<u64, Changes>,
    next_transaction: u64,
    conditions: Conditions,
}

/// The uncommitted changes of a transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) stock: Vec<(i32, i32)>,
    pub(super) restocked: Vec<(i32, i32)>,
    orders: Vec<Model>,
    cancelled: Vec<Uuid>,
    keys: Vec<((Uuid, String), (String, Uuid))>,
    events: Vec<LogMessage>,
    log_out: Option<Uuid>,
}

#[derive(Debug)]
pub(super) struct Server {
    state: Mutex<State>,
    unlocked: Notify,
    chance: Chance,
    mutant: Option<Mutant>,
}

fn lost() -> DbErr {
    DbErr::Custom("the connection is lost".to_owned())
}

impl Server {
    pub(super) fn new(seed: u64, stock: i32, mutant: Option<Mutant>) -> Arc<Self> {
        let mut tables = Tables::default();
        for product in PRODUCTS {
            tables.stock.insert(product, stock);
            tables.delivered.insert(product, stock);
            tables.stock_changes.push((Instant::now(), product, stock));
        }
        tables.users = (0..USERS).map(|user| (user_id(user), 1)).collect();
        Arc::new(Self {
            state: Mutex::new(State { tables, ..State::default() }),
            unlocked: Notify::new(),
            chance: Chance::new(seed, "server"),
            mutant,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.state().tables)
    }

    pub(super) fn take_tables(&self) -> Tables {
        std::mem::take(&mut self.state().tables)
    }

    pub(super) fn set_conditions(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.state().conditions);
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A message on its way. The delays decide which of two tasks goes first.
    pub(super) async fn travel(&self) {
        let slow = self.state().conditions.slow;
        let delay = self.chance.delay(20..2_000, slow);
        sleep(delay).await;
    }

    pub(super) fn begin(self: &Arc<Self>) -> SimulatedTransaction {
        let mut state = self.state();
        let id = state.next_transaction;
        state.next_transaction += 1;
        state.transactions.insert(id, Changes::default());
        SimulatedTransaction { server: self.clone(), id, is_open: true }
    }

    fn end(&self, id: u64) -> Option<Changes> {
        let mut state = self.state();
        let changes = state.transactions.remove(&id)?;
        if !self.has(Mutant::KeepLocks) || changes.orders.is_empty() {
            state.locks.retain(|_, (_, holders)| {
                holders.remove(&id);
                !holders.is_empty()
            });
        }
        drop(state);
        self.unlocked.notify_waiters();
        Some(changes)
    }

    fn commit(&self, id: u64) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let Some(changes) = state.transactions.get(&id).cloned() else { return false };
        state.tables.apply(changes, now);
        drop(state);
        self.end(id);
        true
    }
}

impl Tables {
    fn apply(&mut self, changes: Changes, now: Instant) {
        self.commits += 1;
        let commit = self.commits;
        for (product, pieces) in changes.restocked {
            *self.delivered.entry(product).or_default() += pieces;
        }
        for (product, difference) in changes.stock {
            let stock = self.stock.entry(product).or_default();
            *stock += difference;
            self.stock_changes.push((now, product, *stock));
        }
        for order in changes.orders {
            self.placed.push((commit, order.id));
            if self.orders.insert(order.id, order).is_some() {
                self.broken.push("two orders have one id".to_owned());
            }
        }
        for id in changes.cancelled {
            if let Some(order) = self.orders.get_mut(&id) {
                order.status = Status::Cancelled;
                order.cancelled_at = Some(OffsetDateTime::UNIX_EPOCH);
                order.version += 1;
            }
        }
        for (key, value) in changes.keys {
            if self.keys.insert(key, value).is_some() {
                self.broken.push("a key is stored twice".to_owned());
            }
        }
        self.events.extend(changes.events);
        if let Some(user) = changes.log_out {
            let version = self.users.entry(user).or_default();
            *version += 1;
            self.log_outs.push((commit, now, user, *version));
        }
        for product in PRODUCTS {
            let placed: i32 = self
                .orders
                .values()
                .filter(|order| order.product_id == product && order.status == Status::Placed)
                .map(|order| order.quantity)
                .sum();
            let (stock, delivered) = (self.stock[&product], self.delivered[&product]);
            if stock < 0 || stock + placed != delivered {
                self.broken.push(format!(
                    "promise 3: product {product} has stock {stock}, {placed} pieces in placed \
                     orders, {delivered} pieces delivered"
                ));
            }
        }
    }
}

pub(super) fn user_id(user: usize) -> Uuid {
    Uuid::from_u128(0x100 + user as u128)
}

/// A transaction, which the server rolls back some time after it is dropped.
#[derive(Debug)]
pub(super) struct SimulatedTransaction {
    server: Arc<Server>,
    id: u64,
    is_open: bool,
}

impl Drop for SimulatedTransaction {
    fn drop(&mut self) {
        if self.is_open {
            let (server, id) = (self.server.clone(), self.id);
            // The server notices a lost connection late.
            let delay = Duration::from_millis(server.chance.number(0..500));
            tokio::spawn(async move {
                sleep(delay).await;
                server.end(id);
            });
        }
    }
}

impl SimulatedTransaction {
    /// Runs a statement between two messages, each of which can get lost.
    async fn statement<T>(
        &self,
        run: impl FnOnce(&mut State) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        self.message().await?;
        let result = {
            let mut state = self.server.state();
            if !state.transactions.contains_key(&self.id) {
                return Err(Failure::Retryable(lost()));
            }
            run(&mut state)?
        };
        self.message().await?;
        Ok(result)
    }

    async fn message(&self) -> Result<(), Failure> {
        self.server.travel().await;
        let probability = self.server.state().conditions.lose_connections;
        if self.server.chance.happens(probability) {
            self.server.end(self.id);
            return Err(Failure::Retryable(lost()));
        }
        Ok(())
    }

    /// Locks a row until the transaction ends.
    pub(super) async fn lock(&self, row: Row, lock: Lock) -> Result<(), Failure> {
        let waiting = async {
            loop {
                let mut unlocked = std::pin::pin!(self.server.unlocked.notified());
                unlocked.as_mut().enable();
                if self.try_lock(row, lock) {
                    return;
                }
                unlocked.await;
            }
        };
        tokio::time::timeout(LOCK_TIMEOUT, waiting)
            .await
            .map_err(|_| Failure::Unavailable(DbErr::Custom("lock timeout".to_owned())))
    }

    fn try_lock(&self, row: Row, lock: Lock) -> bool {
        let mut state = self.server.state();
        if !state.transactions.contains_key(&self.id) {
            // The next statement fails.
            return true;
        }
        let (held, holders) = state.locks.entry(row).or_insert((lock, BTreeSet::new()));
        let alone = holders.iter().all(|holder| *holder == self.id);
        if !alone && (*held, lock) != (Lock::Shared, Lock::Shared) {
            return false;
        }
        if alone && (holders.is_empty() || lock == Lock::Exclusive) {
            *held = lock;
        }
        holders.insert(self.id);
        true
    }

    /// Records changes that COMMIT applies.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(&Tables, &mut Changes) + Send,
    ) -> Result<(), Failure> {
        let id = self.id;
        self.statement(|state| {
            let State { tables, transactions, .. } = state;
            change(tables, transactions.entry(id).or_default());
            Ok(())
        })
        .await
    }

    /// Sends COMMIT. The server acts on it even if this future is dropped.
    pub(super) async fn commit(mut self) -> Result<(), Failure> {
        self.is_open = false;
        let (server, id) = (self.server.clone(), self.id);
        let (sender, answer) = oneshot::channel();
        tokio::spawn(async move {
            server.travel().await;
            let Conditions { lose_commits, fail_commits, .. } = server.state().conditions.clone();
            let result = if server.chance.happens(fail_commits) {
                server.end(id);
                Err(Failure::Retryable(DbErr::Custom("serialization failure".to_owned())))
            } else if server.chance.happens(lose_commits / 2.0) || !server.commit(id) {
                server.end(id);
                Err(Failure::Unavailable(lost()))
            } else {
                server.travel().await;
                if server.chance.happens(lose_commits / 2.0) {
                    Err(Failure::Unavailable(lost()))
                } else {
                    Ok(())
                }
            };
            // The client may be gone.
            let _ = sender.send(result);
        });
        answer.await.unwrap_or(Err(Failure::Unavailable(lost())))
    }
}

impl Changes {
    pub(super) fn cancel(&mut self, order: &Model) {
        self.cancelled.push(order.id);
        self.stock.push((order.product_id, order.quantity));
    }

    pub(super) fn log_out(&mut self, user: Uuid) {
        self.log_out = Some(user);
    }
}

/// A replica's connections to the server.
#[derive(Clone, Debug)]
pub(super) struct Connection(pub(super) Arc<Server>);

impl Transactions for Connection {
    type Transaction = SimulatedTransaction;

    async fn begin(&self) -> Result<SimulatedTransaction, Failure> {
        self.0.travel().await;
        let probability = self.0.state().conditions.lose_connections;
        if self.0.chance.happens(probability) {
            return Err(Failure::Unavailable(lost()));
        }
        Ok(self.0.begin())
    }

    async fn commit(&self, transaction: SimulatedTransaction) -> Result<(), Failure> {
        match transaction.commit().await {
            Err(_) if self.0.has(Mutant::AnswerWithoutCommit) => Ok(()),
            Err(Failure::Unavailable(error)) if self.0.has(Mutant::RepeatUnknownCommit) => {
                Err(Failure::Retryable(error))
            }
            result => result,
        }
    }

    async fn roll_back(&self, mut transaction: SimulatedTransaction) {
        self.0.travel().await;
        transaction.is_open = false;
        self.0.end(transaction.id);
    }

    fn transaction_timeout(&self) -> Duration {
        TRANSACTION_TIMEOUT
    }
}
