//! Runs models of what threads share under many schedules.
//!
//! In unit tests, production code uses these types instead of those of `std` and tokio. In a model,
//! each operation on one of them is a point where another thread may continue; elsewhere they are
//! the originals. [`check`] runs a model with shuttle. All atomic operations are sequentially
//! consistent, and timers never fire.

use std::{
    cell::Cell,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LockResult, MutexGuard, RwLockReadGuard, RwLockWriteGuard, TryLockError,
        TryLockResult,
        atomic::{self, Ordering},
    },
};

use shuttle::{
    Config, FailurePersistence, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler},
};
pub use shuttle::{
    future::block_on,
    thread::{JoinHandle, spawn},
};

use crate::{panic_message, runtime, setting};

/// Of each model: half of them random, half with few preemptions at random points. Each planted
/// fault is found by them.
const SCHEDULES: u64 = 10_000;
/// The preemptions of a schedule with few of them.
const PREEMPTIONS: usize = 3;
/// Unoptimised code uses more stack than shuttle's default.
const STACK_BYTES: usize = 256 * 1024;
const MAX_STEPS: usize = 100_000;
/// Attempts to lock. The holder runs at least once in a few of them.
const MAX_ATTEMPTS: usize = 2_000;

/// A fault that can be planted in these types. It has the effect of the fault in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A waiter subscribes when it begins to wait, so it misses changes since its last check.
    LateSubscription,
    /// An update of an atomic is a load and a store.
    TornUpdates,
    /// A notification without a waiter is lost.
    LostPermits,
}

thread_local! {
    static IS_MODEL: Cell<bool> = const { Cell::new(false) };
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Lets another thread of the model continue.
pub fn point() {
    if IS_MODEL.get() {
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Asserts that `model` neither panics nor deadlocks. `SIMULATION_SEEDS` is the number of schedules,
/// `SIMULATION_SEED` selects them.
///
/// # Panics
/// If a schedule fails.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let seed = setting("SIMULATION_SEED").unwrap_or(0);
    let schedules = setting("SIMULATION_SEEDS").unwrap_or(SCHEDULES);
    if let Err(failure) = explore(model, None, seed, schedules) {
        panic!("a schedule fails: {failure}");
    }
}

/// Asserts that a schedule of `model` fails with a message that contains `failure`.
///
/// # Panics
/// If none does.
pub fn assert_found(fault: Option<Fault>, failure: &str, model: impl Fn() + Send + Sync + 'static) {
    match explore(model, fault, 0, SCHEDULES) {
        Ok(()) => panic!("{SCHEDULES} schedules do not find the fault"),
        Err(found) => assert!(found.contains(failure), "expected {failure:?}, found: {found}"),
    }
}

fn explore(
    model: impl Fn() + Send + Sync + 'static,
    fault: Option<Fault>,
    seed: u64,
    schedules: u64,
) -> Result<(), String> {
    // Timers need a runtime. After a failure, some may be on stacks that shuttle has freed.
    let runtime = ManuallyDrop::new(runtime());
    let _context = runtime.enter();
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    let model = Arc::new(model);
    let count = usize::try_from(schedules.div_ceil(2)).unwrap_or(usize::MAX);
    IS_MODEL.set(true);
    PLANTED.set(fault);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let random = RandomScheduler::new_from_seed(seed, count);
        let of_model = Arc::clone(&model);
        Runner::new(random, config.clone()).run(move || of_model());
        let preempting = PctScheduler::new_from_seed(seed, PREEMPTIONS, count);
        Runner::new(preempting, config).run(move || model());
    }));
    IS_MODEL.set(false);
    PLANTED.set(None);
    ran.map_err(|panic| panic_message(&*panic))
}

fn lock<G>(
    attempt: impl Fn() -> TryLockResult<G>,
    block: impl FnOnce() -> LockResult<G>,
) -> LockResult<G> {
    if !IS_MODEL.get() {
        return block();
    }
    point();
    for _ in 0..MAX_ATTEMPTS {
        match attempt() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
            Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
        }
    }
    panic!("deadlock: a lock is not released")
}

/// [`std::sync::Mutex`].
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates a mutex.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Locks it.
    ///
    /// # Errors
    /// If it is poisoned.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        lock(|| self.0.try_lock(), || self.0.lock())
    }
}

/// [`std::sync::RwLock`].
#[derive(Debug, Default)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Creates a lock.
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }

    /// Locks it for reading.
    ///
    /// # Errors
    /// If it is poisoned.
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        lock(|| self.0.try_read(), || self.0.read())
    }

    /// Locks it for reading if that needs no wait.
    ///
    /// # Errors
    /// If it is locked for writing, or poisoned.
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        point();
        self.0.try_read()
    }

    /// Locks it for writing.
    ///
    /// # Errors
    /// If it is poisoned.
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        lock(|| self.0.try_write(), || self.0.write())
    }

    /// Returns the value.
    ///
    /// # Errors
    /// If the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }
}

/// [`std::sync::atomic::AtomicUsize`].
#[derive(Debug, Default)]
pub struct AtomicUsize(atomic::AtomicUsize);

impl AtomicUsize {
    /// Creates an atomic.
    pub const fn new(value: usize) -> Self {
        Self(atomic::AtomicUsize::new(value))
    }

    /// Returns the value.
    pub fn load(&self, order: Ordering) -> usize {
        point();
        self.0.load(order)
    }

    /// Adds, and returns the previous value.
    pub fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        self.update(order, |old| Some(old.wrapping_add(value))).unwrap_or_else(|old| old)
    }

    /// Subtracts, and returns the previous value.
    pub fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        self.update(order, |old| Some(old.wrapping_sub(value))).unwrap_or_else(|old| old)
    }

    /// Sets the value that `next` returns, and returns the previous one.
    ///
    /// # Errors
    /// The value, if `next` returns none.
    pub fn fetch_update(
        &self,
        set: Ordering,
        _fetch: Ordering,
        next: impl FnMut(usize) -> Option<usize>,
    ) -> Result<usize, usize> {
        self.update(set, next)
    }

    fn update(
        &self,
        order: Ordering,
        mut next: impl FnMut(usize) -> Option<usize>,
    ) -> Result<usize, usize> {
        point();
        if is_planted(Fault::TornUpdates) {
            let old = self.0.load(Ordering::SeqCst);
            point();
            self.0.store(next(old).ok_or(old)?, Ordering::SeqCst);
            return Ok(old);
        }
        self.0.fetch_update(order, Ordering::Relaxed, next)
    }
}

/// [`tokio::sync::Notify`].
#[derive(Debug, Default)]
pub struct Notify(tokio::sync::Notify);

impl Notify {
    /// Creates it without a permit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes one waiter, or the next one.
    pub fn notify_one(&self) {
        point();
        if is_planted(Fault::LostPermits) {
            self.0.notify_waiters();
        } else {
            self.0.notify_one();
        }
    }

    /// Wakes the waiters.
    pub fn notify_waiters(&self) {
        point();
        self.0.notify_waiters();
    }

    /// Waits for a notification after this call.
    pub fn notified(&self) -> impl Future<Output = ()> + Send {
        point();
        let subscribed = (!is_planted(Fault::LateSubscription)).then(|| self.0.notified());
        async move {
            match subscribed {
                Some(notified) => notified.await,
                None => self.0.notified().await,
            }
        }
    }
}

/// [`tokio::sync::watch`].
pub mod watch {
    use super::{Fault, is_planted, point};

    pub use tokio::sync::watch::error::RecvError;

    /// The side that sends.
    #[derive(Debug)]
    pub struct Sender<T>(tokio::sync::watch::Sender<T>);

    impl<T> Sender<T> {
        /// Creates it with a first value.
        pub fn new(value: T) -> Self {
            Self(tokio::sync::watch::Sender::new(value))
        }

        /// Sends a value, and returns the previous one.
        pub fn send_replace(&self, value: T) -> T {
            point();
            self.0.send_replace(value)
        }

        /// Returns a receiver that waits for the next value.
        pub fn subscribe(&self) -> Receiver<T> {
            point();
            Receiver(self.0.subscribe())
        }
    }

    /// The side that receives.
    #[derive(Clone, Debug)]
    pub struct Receiver<T>(tokio::sync::watch::Receiver<T>);

    impl<T> Receiver<T> {
        /// Waits for a value that it has not seen.
        ///
        /// # Errors
        /// If the sender is dropped.
        pub async fn changed(&mut self) -> Result<(), RecvError> {
            point();
            if is_planted(Fault::LateSubscription) {
                self.0.mark_unchanged();
            }
            self.0.changed().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_cycle_is_a_deadlock() {
        assert_found(None, "deadlock", || {
            let locks = Arc::new((Mutex::new(()), Mutex::new(())));
            let other = Arc::clone(&locks);
            let thread = spawn(move || drop((other.0.lock(), other.1.lock())));
            drop((locks.1.lock(), locks.0.lock()));
            thread.join().unwrap();
        });
    }

    #[test]
    fn check_and_act_on_an_atomic_is_found() {
        let model = |is_atomic: bool| {
            move || {
                let used = Arc::new(AtomicUsize::new(0));
                let take = move |used: &AtomicUsize| {
                    if is_atomic {
                        let next = |used: usize| (used < 1).then_some(used + 1);
                        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
                    } else if used.load(Ordering::Relaxed) < 1 {
                        used.fetch_add(1, Ordering::Relaxed);
                        true
                    } else {
                        false
                    }
                };
                let other = Arc::clone(&used);
                let thread = spawn(move || take(&other));
                let taken = [take(&used), thread.join().unwrap()];
                assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "permits");
            }
        };
        check(model(true));
        assert_found(None, "permits", model(false));
        assert_found(Some(Fault::TornUpdates), "permits", model(true));
    }
}
