//! A simulated PostgreSQL: row locks, READ COMMITTED, deadlocks, transactions whose COMMIT can get
//! lost, and standbys.

mod direct;
mod locks;
mod statements;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::DbErr;
use simulator::{Chance, locked};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};
use uuid::Uuid;

pub(crate) use self::{
    locks::{Lock, Row},
    tables::{Changes, Tables, user_id},
};
use super::mutant::Mutant;
use crate::{entity::orders::Model, failure::Failure, store::transaction::Transactions};

pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time of a hanging message.
const HANG: Duration = Duration::from_secs(12);
/// PostgreSQL ends the transaction of a lost connection within this time.
const IDLE_TIMEOUT: u64 = 1_000;

/// What faults do at present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) lose_connections: f64,
    pub(crate) lose_commits: f64,
    pub(crate) fail_commits: f64,
    pub(crate) slow: Duration,
    /// The probability that a message hangs.
    pub(crate) hang: f64,
    /// Outages that are not over.
    pub(crate) outages: usize,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    /// The holders of each locked row.
    locks: BTreeMap<Row, (Lock, BTreeSet<u64>)>,
    /// The row that each transaction waits for.
    waits: BTreeMap<u64, (Row, Lock)>,
    transactions: BTreeMap<u64, Changes>,
    next_transaction: u64,
    conditions: Conditions,
    /// The commits since the start, in order.
    log: Vec<(Instant, u64, Changes)>,
    former: Option<Former>,
    /// When the last transaction that wrote an event of each call decided about its orders.
    decided: BTreeMap<String, Instant>,
}

/// A primary that was replaced by an asynchronous standby.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub(crate) until: Instant,
    pub(crate) tables: Tables,
    /// The state of the standby.
    pub(crate) standby: Tables,
}

#[derive(Debug)]
pub(crate) struct Server {
    state: Mutex<State>,
    /// Of each product, at the start.
    stock: i32,
    started: Instant,
    unlocked: Notify,
    chance: Chance,
    mutant: Option<Mutant>,
    /// Keys and their orders, for a mutant.
    remembered: Mutex<HashMap<(Uuid, String), (String, Model)>>,
}

fn lost() -> DbErr {
    DbErr::Custom("the connection is lost".to_owned())
}

impl Server {
    pub(crate) fn new(seed: u64, stock: i32, mutant: Option<Mutant>) -> Arc<Self> {
        let started = Instant::now();
        let tables = Tables::new(stock, started);
        Arc::new(Self {
            state: Mutex::new(State { tables, ..State::default() }),
            stock,
            started,
            unlocked: Notify::new(),
            chance: Chance::new(seed, "server"),
            mutant,
            remembered: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.state().tables)
    }

    pub(crate) fn take_tables(&self) -> (Tables, Option<Former>, BTreeMap<String, Instant>) {
        let mut state = self.state();
        let State { tables, former, decided, .. } = &mut *state;
        (std::mem::take(tables), former.take(), std::mem::take(decided))
    }

    /// Adds a broken promise.
    pub(super) fn broken(&self, text: String) {
        self.state().tables.broken.push(text);
    }

    /// Ends all transactions, and continues on a standby that lacks the commits of the last `lag`.
    pub(crate) fn fail_over(&self, lag: Duration) {
        let is_planted = self.has(Mutant::LoseAcknowledged) && lag.is_zero();
        let lag = if is_planted { Duration::from_millis(500) } else { lag };
        let now = Instant::now();
        let mut state = self.state();
        state.transactions.clear();
        state.locks.clear();
        if !lag.is_zero() {
            state.log.retain(|(at, ..)| now.duration_since(*at) >= lag);
            let mut standby = Tables::new(self.stock, self.started);
            for (at, id, changes) in &state.log {
                standby.apply(*id, changes.clone(), *at);
            }
            let tables = std::mem::replace(&mut state.tables, standby.clone());
            if !is_planted && state.former.is_none() {
                state.former = Some(Former { until: now, tables, standby });
            }
        }
        drop(state);
        self.unlocked.notify_waiters();
    }

    fn is_down(&self) -> bool {
        self.state().conditions.outages > 0
    }

    pub(crate) async fn wait_until_up(&self) {
        while self.is_down() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads the stock of a product in a statement without a transaction.
    pub(crate) async fn read_stock(&self, product: i32) -> Result<i32, Failure> {
        self.statement(|state| {
            let uncommitted = state.transactions.values().flat_map(|changes| &changes.stock);
            match self.mutant {
                Some(Mutant::ReadUncommitted) => {
                    let changes = uncommitted.filter(|(other, _)| *other == product);
                    state.tables.stock[&product] + changes.map(|(_, pieces)| pieces).sum::<i32>()
                }
                Some(Mutant::ReadFromStandby) => {
                    state.tables.stock_before(product, Instant::now() - Duration::from_millis(200))
                }
                _ => state.tables.stock[&product],
            }
        })
        .await
    }

    /// Reads the committed tables in a statement without a transaction.
    pub(crate) async fn query<T>(
        &self,
        look: impl FnOnce(&Tables) -> T + Send,
    ) -> Result<T, Failure> {
        self.statement(|state| look(&state.tables)).await
    }

    async fn statement<T>(&self, run: impl FnOnce(&State) -> T + Send) -> Result<T, Failure> {
        self.travel().await;
        if self.is_down() {
            return Err(Failure::Unavailable(lost()));
        }
        let result = run(&self.state());
        self.travel().await;
        let probability = self.state().conditions.lose_connections;
        if self.is_down() || self.chance.happens(probability) {
            return Err(Failure::Retryable(lost()));
        }
        Ok(result)
    }

    /// Commits changes that nothing delays.
    pub(crate) fn apply(self: &Arc<Self>, changes: Changes) {
        let mut transaction = self.begin();
        transaction.is_open = false;
        self.state().transactions.insert(transaction.id, changes);
        self.commit(transaction.id);
    }

    pub(crate) fn set_conditions(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.state().conditions);
    }

    pub(crate) fn mutant(&self) -> Option<Mutant> {
        self.mutant
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A message on its way. The delays decide which of two tasks goes first.
    pub(crate) async fn travel(&self) {
        let Conditions { slow, hang, .. } = self.state().conditions;
        let mut delay = self.chance.delay(20..2_000, slow);
        if self.chance.happens(hang) {
            delay += self.chance.delay(0..1, HANG);
        }
        sleep(delay).await;
    }

    pub(crate) fn begin(self: &Arc<Self>) -> SimulatedTransaction {
        let mut state = self.state();
        let id = state.next_transaction;
        state.next_transaction += 1;
        state.transactions.insert(id, Changes::default());
        SimulatedTransaction {
            server: self.clone(),
            id,
            is_open: true,
            is_lost: AtomicBool::new(false),
            decided_at: Mutex::default(),
        }
    }

    fn end(&self, id: u64) -> Option<Changes> {
        let mut state = self.state();
        let changes = state.transactions.remove(&id)?;
        state.waits.remove(&id);
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
        state.tables.apply(id, changes.clone(), now);
        state.log.push((now, id, changes));
        drop(state);
        self.end(id);
        true
    }
}

/// A transaction, which the server rolls back some time after it is dropped.
#[derive(Debug)]
pub(crate) struct SimulatedTransaction {
    server: Arc<Server>,
    id: u64,
    is_open: bool,
    /// Whether its connection is lost.
    is_lost: AtomicBool,
    decided_at: Mutex<Option<Instant>>,
}

impl Drop for SimulatedTransaction {
    fn drop(&mut self) {
        if self.is_open {
            let (server, id) = (self.server.clone(), self.id);
            // The server notices a lost connection late, and keeps the locks until then.
            let delay = Duration::from_millis(server.chance.number(0..IDLE_TIMEOUT));
            if self.is_lost() && server.has(Mutant::KeepLocksOfLost) {
                return;
            }
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
        if self.is_lost() || self.server.chance.happens(probability) {
            self.is_lost.store(true, Ordering::Relaxed);
            return Err(Failure::Retryable(lost()));
        }
        Ok(())
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Its commits are numbered so.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Reads the committed tables, and records changes that COMMIT applies.
    pub(crate) async fn change<T>(
        &self,
        change: impl FnOnce(&Tables, &mut Changes) -> T + Send,
    ) -> Result<T, Failure> {
        let id = self.id;
        self.statement(|state| {
            let State { tables, transactions, .. } = state;
            Ok(change(tables, transactions.entry(id).or_default()))
        })
        .await
    }

    /// Sends COMMIT. The server acts on it even if this future is dropped.
    pub(crate) async fn commit(mut self) -> Result<(), Failure> {
        self.is_open = false;
        let (server, id) = (self.server.clone(), self.id);
        let (sender, answer) = oneshot::channel();
        tokio::spawn(async move {
            server.travel().await;
            let Conditions { lose_commits, fail_commits, .. } = server.state().conditions;
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

/// A replica's connections to the server.
#[derive(Clone, Debug)]
pub(crate) struct Connection(pub(crate) Arc<Server>);

impl Transactions for Connection {
    type Transaction = SimulatedTransaction;

    async fn begin(&self) -> Result<SimulatedTransaction, Failure> {
        self.0.travel().await;
        let probability = self.0.state().conditions.lose_connections;
        if self.0.is_down() || self.0.chance.happens(probability) {
            return Err(Failure::Unavailable(lost()));
        }
        Ok(self.0.begin())
    }

    async fn commit(&self, transaction: SimulatedTransaction) -> Result<(), Failure> {
        let commit = transaction.commit();
        if self.0.has(Mutant::RepeatLateCommit) {
            return tokio::time::timeout(Duration::from_secs(5), commit)
                .await
                .unwrap_or_else(|_| Err(Failure::Retryable(lost())));
        }
        match commit.await {
            Err(_) if self.0.has(Mutant::AnswerWithoutCommit) => Ok(()),
            Err(Failure::Unavailable(error)) if self.0.has(Mutant::RepeatUnknownCommit) => {
                Err(Failure::Retryable(error))
            }
            result => result,
        }
    }

    async fn roll_back(&self, mut transaction: SimulatedTransaction) {
        self.0.travel().await;
        if !transaction.is_lost() {
            transaction.is_open = false;
            self.0.end(transaction.id);
        }
    }

    fn transaction_timeout(&self) -> Duration {
        TRANSACTION_TIMEOUT
    }
}
