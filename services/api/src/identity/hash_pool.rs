//! Threads that hash passwords: a bounded number at once, with a queue for each purpose.
//!
//! A hash takes 128 MiB by default, so no more than `at_once` run, whatever for. Each purpose has
//! queue places of its own, and registrations and changes of passwords each take at most half of
//! the threads: a flood of one of them leaves the others room. One client network takes at most a
//! quarter of the places of a purpose, so that three of them leave the others room as well.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{HashFailure, network};

/// What a password is hashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    LogIn,
    Registration,
    PasswordChange,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HashPool {
    log_in: Lane,
    registration: Lane,
    password_change: Lane,
    /// One for each hash that runs.
    running: Arc<Semaphore>,
}

#[derive(Clone)]
struct Lane {
    /// One for each request that runs or waits.
    places: Arc<Semaphore>,
    /// One for each hash of this purpose that runs, or that is the next to run.
    turns: Arc<Semaphore>,
    /// The places that each client network has taken.
    shares: ConcurrencyLimit<IpAddr>,
}

impl Lane {
    fn new(turns: usize, waiting: usize) -> Self {
        let places = turns.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        let turns = turns.min(Semaphore::MAX_PERMITS);
        let share = NonZeroUsize::new(places / 4).unwrap_or(NonZeroUsize::MIN);
        Self {
            places: Arc::new(Semaphore::new(places)),
            turns: Arc::new(Semaphore::new(turns)),
            shares: ConcurrencyLimit::new(share),
        }
    }
}

/// A place in the queue of one purpose, for one hash after another. It is free again when this and
/// its clones are dropped and the last of their hashes has ended.
#[derive(Clone)]
pub(crate) struct Place {
    purpose: Purpose,
    _permits: Arc<(OwnedSemaphorePermit, Option<ConcurrencyPermit<IpAddr>>)>,
}

impl HashPool {
    /// Creates a pool of `at_once` threads, at least one. For each purpose, `waiting` more requests
    /// may wait.
    pub(crate) fn new(at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        let half = at_once.div_ceil(2);
        Self {
            log_in: Lane::new(at_once, waiting),
            registration: Lane::new(half, waiting),
            password_change: Lane::new(half, waiting),
            running: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Takes a place for a client.
    ///
    /// # Errors
    /// When all of this purpose are taken, or all that one network may take.
    pub(crate) fn place(
        &self,
        purpose: Purpose,
        client: Option<IpAddr>,
    ) -> Result<Place, HashFailure> {
        let Lane { places, shares, .. } = self.lane(purpose);
        let share = match client {
            Some(client) => {
                Some(shares.try_acquire(network(client)).ok_or(HashFailure::Overloaded)?)
            }
            None => None,
        };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| HashFailure::Overloaded)?;
        Ok(Place { purpose, _permits: Arc::new((place, share)) })
    }

    /// Runs `work` on a thread of its own, when it is its turn. The thread holds the permits and
    /// not the caller's future: an abandoned request must not make room for another 128 MiB.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce() -> Result<T, HashFailure> + Send + 'static,
    ) -> Result<T, HashFailure> {
        let closed = |_| HashFailure::Overloaded;
        let turns = Arc::clone(&self.lane(place.purpose).turns);
        let turn = turns.acquire_owned().await.map_err(closed)?;
        // In order of arrival over all purposes. Of each no more than its turns wait here.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(closed)?;
        let place = place.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permits = (place, turn, running);
            work()
        });
        task.await.map_err(|error| HashFailure::Broken(error.to_string()))?
    }

    fn lane(&self, purpose: Purpose) -> &Lane {
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
    fn three_networks_leave_the_others_room() {
        let pool = HashPool::new(2, 16);
        let address = |text: &str| Some(text.parse().unwrap());
        let place = |client| pool.place(Purpose::LogIn, client);
        let mut taken = Vec::new();
        for attacker in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            while let Ok(place) = place(address(attacker)) {
                taken.push(place);
            }
        }
        assert_eq!(taken.len(), 12);
        assert!(place(address("2001:db8::2")).is_err(), "an address of the same /64");
        let owner = place(address("192.0.2.9")).expect("a place for the owner");
        assert!(
            pool.place(Purpose::PasswordChange, address("192.0.2.1")).is_ok(),
            "each purpose has its own"
        );
        drop((taken, owner));
        assert!(place(address("192.0.2.1")).is_ok(), "places are given back");
    }

    /// Runs hashes that last until `release` is dropped, and waits until `running` of them run.
    async fn occupy(
        pool: &HashPool,
        purpose: Purpose,
        count: usize,
        running: usize,
    ) -> (Vec<JoinHandle<Result<(), HashFailure>>>, Vec<mpsc::Sender<()>>) {
        let (started, mut starting) = tokio::sync::mpsc::unbounded_channel();
        let (mut tasks, mut releases) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (release, blocked) = mpsc::channel::<()>();
            let (pool, started) = (pool.clone(), started.clone());
            let place = pool.place(purpose, None).expect("a place is free");
            tasks.push(tokio::spawn(async move {
                let work = move || {
                    let _listened = started.send(());
                    let _released = blocked.recv();
                    Ok(())
                };
                pool.run(&place, work).await
            }));
            releases.push(release);
        }
        for _ in 0..running {
            starting.recv().await.expect("one starts");
        }
        (tasks, releases)
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("within 10 s")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn registrations_and_changes_take_neither_the_places_nor_the_threads_of_log_ins() {
        for flooding in [Purpose::Registration, Purpose::PasswordChange] {
            let pool = HashPool::new(2, 3);
            let (tasks, releases) = within(occupy(&pool, flooding, 4, 1)).await;
            assert!(matches!(pool.place(flooding, None), Err(HashFailure::Overloaded)));
            // One thread and all places are left.
            let places: Vec<Place> = (0..5)
                .map(|_| pool.place(Purpose::LogIn, None).expect("a place for a log-in"))
                .collect();
            assert!(matches!(pool.place(Purpose::LogIn, None), Err(HashFailure::Overloaded)));
            for place in &places {
                within(pool.run(place, || Ok(()))).await.expect("a log-in is hashed");
            }
            drop(releases);
            for task in tasks {
                within(task).await.unwrap().unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_run_at_once_than_may_whatever_for() {
        let pool = HashPool::new(2, 3);
        let (log_ins, releases) = within(occupy(&pool, Purpose::LogIn, 2, 2)).await;
        for purpose in [Purpose::Registration, Purpose::PasswordChange, Purpose::LogIn] {
            let place = pool.place(purpose, None).unwrap();
            let waiting = pool.run(&place, || Ok(()));
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending(), "{purpose:?}");
            assert_eq!(pool.running.available_permits(), 0);
        }
        drop(releases);
        for task in log_ins {
            within(task).await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_abandoned_hash_keeps_its_place_until_it_has_ended() {
        let pool = HashPool::new(1, 0);
        let (tasks, releases) = within(occupy(&pool, Purpose::LogIn, 1, 1)).await;
        tasks[0].abort();
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(matches!(pool.place(Purpose::LogIn, None), Err(HashFailure::Overloaded)));
        drop(releases);
        within(async {
            while pool.place(Purpose::LogIn, None).is_err() || pool.running.available_permits() == 0
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_gives_its_place_back() {
        let pool = HashPool::new(1, 0);
        let place = pool.place(Purpose::Registration, None).unwrap();
        let panics = || -> Result<(), HashFailure> { panic!("a bug in here") };
        assert!(matches!(pool.run(&place, panics).await, Err(HashFailure::Broken(_))));
        drop(place);
        let place = within(async {
            loop {
                match pool.place(Purpose::Registration, None) {
                    Ok(place) => return place,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        within(pool.run(&place, || Ok(()))).await.unwrap();
    }
}
