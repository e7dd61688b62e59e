//! Row locks. Waiters get them in any order.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::DbErr;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{SimulatedTransaction, State};
use crate::failure::Failure;

const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL looks for a deadlock after this time.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    User(Uuid),
    Product(i32),
    Key(Uuid, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

impl State {
    /// Returns the transactions that keep a lock from another one.
    fn blockers(&self, id: u64, row: Row, lock: Lock) -> impl Iterator<Item = u64> {
        let holders =
            self.locks.get(&row).filter(|(held, _)| (*held, lock) != (Lock::Shared, Lock::Shared));
        holders
            .into_iter()
            .flat_map(|(_, holders)| holders)
            .copied()
            .filter(move |other| *other != id)
    }

    /// Whether a transaction waits for itself.
    fn is_deadlocked(&self, id: u64) -> bool {
        let (mut reached, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(waiter) = next.pop() {
            let Some((row, lock)) = self.waits.get(&waiter) else { continue };
            for blocker in self.blockers(waiter, *row, *lock) {
                if blocker == id {
                    return true;
                }
                if reached.insert(blocker) {
                    next.push(blocker);
                }
            }
        }
        false
    }
}

impl SimulatedTransaction {
    /// Locks a row until the transaction ends.
    pub(crate) async fn lock(&self, row: Row, lock: Lock) -> Result<(), Failure> {
        if self.try_lock(row, lock) {
            return Ok(());
        }
        let deadlock = async {
            sleep(DEADLOCK_TIMEOUT).await;
            let is_deadlocked = self.server.state().is_deadlocked(self.id);
            if !is_deadlocked {
                std::future::pending::<()>().await;
            }
        };
        let waiting = async {
            tokio::select! {
                biased;
                () = self.wait(row, lock) => Ok(()),
                () = deadlock => {
                    self.server.state().tables.deadlocks += 1;
                    self.server.end(self.id);
                    let error = DbErr::Custom("deadlock detected".to_owned());
                    // As `db_error` classifies 40P01.
                    Err(Failure::Retryable(error))
                }
            }
        };
        let waited = timeout(LOCK_TIMEOUT, waiting).await;
        self.server.state().waits.remove(&self.id);
        waited
            .unwrap_or_else(|_| Err(Failure::Unavailable(DbErr::Custom("lock timeout".to_owned()))))
    }

    async fn wait(&self, row: Row, lock: Lock) {
        loop {
            let mut unlocked = std::pin::pin!(self.server.unlocked.notified());
            unlocked.as_mut().enable();
            if self.try_lock(row, lock) {
                return;
            }
            self.server.state().waits.insert(self.id, (row, lock));
            unlocked.await;
            // Not the first waiter gets the lock, but any.
            for _ in 0..self.server.chance.number(0..4) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn try_lock(&self, row: Row, lock: Lock) -> bool {
        let mut state = self.server.state();
        if !state.transactions.contains_key(&self.id) {
            // The next statement fails.
            return true;
        }
        if state.blockers(self.id, row, lock).next().is_some() {
            return false;
        }
        let (held, holders) = state.locks.entry(row).or_insert((lock, BTreeSet::new()));
        if lock == Lock::Exclusive {
            *held = lock;
        }
        holders.insert(self.id);
        true
    }
}
