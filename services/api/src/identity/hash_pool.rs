//! The threads that hash passwords, with a queue for each purpose.
//!
//! A hash takes 128 MiB by default, so few run in parallel. Registrations and password changes each
//! use at most half of the threads, and a client network at most a quarter of a queue: floods leave
//! room for others.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::network;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    LogIn,
    Registration,
    PasswordChange,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// The queue is full, or the client's network has its share of it.
    #[error("the password hash queue is full")]
    Overloaded,
    /// The stored hash is invalid, or scrypt failed.
    #[error("failed to compute a password hash: {0}")]
    Internal(String),
}

#[derive(Clone)]
pub(crate) struct HashPool {
    log_in: Queue,
    registration: Queue,
    password_change: Queue,
    /// Permits of running hashes.
    running: Arc<Semaphore>,
}

#[derive(Clone)]
struct Queue {
    /// Permits of requests that run or wait.
    slots: Arc<Semaphore>,
    /// Permits of hashes that run or are next to run.
    purpose_running: Arc<Semaphore>,
    per_network: ConcurrencyLimit<IpAddr>,
}

impl Queue {
    fn new(concurrency: usize, queue_capacity: usize) -> Self {
        let slots = concurrency.saturating_add(queue_capacity).min(Semaphore::MAX_PERMITS);
        let max = NonZeroUsize::new(slots / 4).unwrap_or(NonZeroUsize::MIN);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            purpose_running: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            per_network: ConcurrencyLimit::new(max),
        }
    }
}

/// A slot in a queue, for several hashes. Released when its clones are dropped and the last hash
/// ends.
#[derive(Clone)]
pub(crate) struct QueueSlot {
    purpose: Purpose,
    _permits: Arc<(OwnedSemaphorePermit, Option<ConcurrencyPermit<IpAddr>>)>,
}

impl HashPool {
    /// Creates a pool of `concurrency` threads (minimum 1), and queues of `queue_capacity`
    /// requests.
    pub(crate) fn new(concurrency: usize, queue_capacity: usize) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let half = concurrency.div_ceil(2);
        Self {
            log_in: Queue::new(concurrency, queue_capacity),
            registration: Queue::new(half, queue_capacity),
            password_change: Queue::new(half, queue_capacity),
            running: Arc::new(Semaphore::new(concurrency)),
        }
    }

    pub(crate) fn try_enqueue(
        &self,
        purpose: Purpose,
        client: Option<IpAddr>,
    ) -> Result<QueueSlot, HashError> {
        let Queue { slots, per_network, .. } = self.queue(purpose);
        let network_permit = match client {
            Some(client) => {
                Some(per_network.try_acquire(network(client)).ok_or(HashError::Overloaded)?)
            }
            None => None,
        };
        let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| HashError::Overloaded)?;
        Ok(QueueSlot { purpose, _permits: Arc::new((slot, network_permit)) })
    }

    /// Runs `work` on a thread. The thread holds the permits, not the caller's future: a cancelled
    /// request must not make room for another 128 MiB.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        slot: &QueueSlot,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let closed = |_| HashError::Overloaded;
        let purpose_running = Arc::clone(&self.queue(slot.purpose).purpose_running);
        let purpose_permit = purpose_running.acquire_owned().await.map_err(closed)?;
        // First come, first served across purposes.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(closed)?;
        let slot = slot.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permits = (slot, purpose_permit, running);
            work()
        });
        task.await.map_err(|error| HashError::Internal(error.to_string()))?
    }

    fn queue(&self, purpose: Purpose) -> &Queue {
        match purpose {
            Purpose::LogIn => &self.log_in,
            Purpose::Registration => &self.registration,
            Purpose::PasswordChange => &self.password_change,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::task::JoinHandle;

    use super::*;

    #[test]
    fn three_networks_leave_room_for_others() {
        let pool = HashPool::new(2, 16);
        let address = |text: &str| Some(text.parse().unwrap());
        let slot = |client| pool.try_enqueue(Purpose::LogIn, client);
        let mut taken = Vec::new();
        for attacker in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            while let Ok(slot) = slot(address(attacker)) {
                taken.push(slot);
            }
        }
        assert_eq!(taken.len(), 12);
        assert!(slot(address("2001:db8::2")).is_err(), "an address of the same /64");
        let owner = slot(address("192.0.2.9")).expect("a slot for the owner");
        assert!(
            pool.try_enqueue(Purpose::PasswordChange, address("192.0.2.1")).is_ok(),
            "each purpose has its own queue"
        );
        drop((taken, owner));
        assert!(slot(address("192.0.2.1")).is_ok(), "slots are released");
    }

    /// Runs `count` hashes that end when `release` is dropped. Returns when `running` of them run.
    async fn occupy(
        pool: &HashPool,
        purpose: Purpose,
        count: usize,
        running: usize,
    ) -> (Vec<JoinHandle<Result<(), HashError>>>, Vec<mpsc::Sender<()>>) {
        let (started, mut starting) = tokio::sync::mpsc::unbounded_channel();
        let (mut tasks, mut releases) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (release, blocked) = mpsc::channel::<()>();
            let (pool, started) = (pool.clone(), started.clone());
            let slot = pool.try_enqueue(purpose, None).expect("a slot is free");
            tasks.push(tokio::spawn(async move {
                let work = move || {
                    let _listened = started.send(());
                    let _released = blocked.recv();
                    Ok(())
                };
                pool.run(&slot, work).await
            }));
            releases.push(release);
        }
        for _ in 0..running {
            starting.recv().await.expect("a hash starts");
        }
        (tasks, releases)
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("within 10 s")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn floods_of_other_purposes_leave_room_for_log_ins() {
        for flooding in [Purpose::Registration, Purpose::PasswordChange] {
            let pool = HashPool::new(2, 3);
            let (tasks, releases) = within(occupy(&pool, flooding, 4, 1)).await;
            assert!(matches!(pool.try_enqueue(flooding, None), Err(HashError::Overloaded)));
            let slots: Vec<QueueSlot> = (0..5)
                .map(|_| pool.try_enqueue(Purpose::LogIn, None).expect("a slot for a log-in"))
                .collect();
            assert!(matches!(pool.try_enqueue(Purpose::LogIn, None), Err(HashError::Overloaded)));
            for slot in &slots {
                within(pool.run(slot, || Ok(()))).await.expect("a log-in is hashed");
            }
            drop(releases);
            for task in tasks {
                within(task).await.unwrap().unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn running_hashes_are_limited_across_purposes() {
        let pool = HashPool::new(2, 3);
        let (log_ins, releases) = within(occupy(&pool, Purpose::LogIn, 2, 2)).await;
        for purpose in [Purpose::Registration, Purpose::PasswordChange, Purpose::LogIn] {
            let slot = pool.try_enqueue(purpose, None).unwrap();
            let queued = pool.run(&slot, || Ok(()));
            tokio::pin!(queued);
            assert!(futures_util::poll!(&mut queued).is_pending(), "{purpose:?}");
            assert_eq!(pool.running.available_permits(), 0);
        }
        drop(releases);
        for task in log_ins {
            within(task).await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn cancelled_hash_keeps_its_slot_until_it_ends() {
        let pool = HashPool::new(1, 0);
        let (tasks, releases) = within(occupy(&pool, Purpose::LogIn, 1, 1)).await;
        tasks[0].abort();
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(matches!(pool.try_enqueue(Purpose::LogIn, None), Err(HashError::Overloaded)));
        drop(releases);
        within(async {
            while pool.try_enqueue(Purpose::LogIn, None).is_err()
                || pool.running.available_permits() == 0
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn panic_releases_its_slot() {
        let pool = HashPool::new(1, 0);
        let slot = pool.try_enqueue(Purpose::Registration, None).unwrap();
        let panics = || -> Result<(), HashError> { panic!("a bug") };
        assert!(matches!(pool.run(&slot, panics).await, Err(HashError::Internal(_))));
        drop(slot);
        let slot = within(async {
            loop {
                match pool.try_enqueue(Purpose::Registration, None) {
                    Ok(slot) => return slot,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        within(pool.run(&slot, || Ok(()))).await.unwrap();
    }
}
