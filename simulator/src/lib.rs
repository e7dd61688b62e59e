//! Runs seeded histories of faults in virtual time and on one thread.
//!
//! A [`Scenario`] draws a plan from a seed, runs production code through it, and returns the
//! promises that were broken. [`assert_promises_hold`] runs many seeds on all cores; a seed that
//! breaks a promise is minimised and printed with its history. [`assert_mutants_are_found`] requires
//! that planted faults break a promise.
//!
//! `SIMULATION_SEEDS` is the number of seeds, `SIMULATION_SEED` the first one.

use std::{
    env,
    fmt::{self, Debug},
    hash::{DefaultHasher, Hash, Hasher as _},
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rand::{SeedableRng as _, rngs::StdRng};

/// Of each scenario, so that all of them run 10,000.
const SEEDS: u64 = 5_000;
/// Each mutant is found by this number of seeds.
const MUTANT_SEEDS: u64 = 3_000;

/// A plan of operations and faults.
pub trait Scenario: Clone + Debug + Send + Sync {
    /// The faults that can be planted.
    type Mutant: Mutants;

    /// Draws a plan.
    fn new(seed: u64) -> Self;

    /// Returns the seed that the plan was drawn from.
    fn seed(&self) -> u64;

    /// The number of operations and faults.
    fn steps(&self) -> usize;

    /// Leaves out `count` operations or faults from an index on.
    fn without(&self, start: usize, count: usize) -> Self;

    /// Runs the plan. Returns a sentence for each broken promise, and the history.
    fn run(&self, mutant: Option<Self::Mutant>)
    -> impl Future<Output = (Vec<String>, Vec<String>)>;
}

/// Planted faults.
pub trait Mutants: Copy + Debug + Send + Sync + 'static {
    /// Each of them.
    const ALL: &'static [Self];
}

/// A broken promise, and what happened.
#[derive(Clone, Debug)]
struct Violation<S> {
    plan: S,
    promises: Vec<String>,
    history: Vec<String>,
}

impl<S: Scenario> fmt::Display for Violation<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.plan.seed();
        writeln!(formatter, "seed {seed} breaks promises, with {} steps:", self.plan.steps())?;
        for promise in &self.promises {
            writeln!(formatter, "  {promise}")?;
        }
        writeln!(formatter, "history in virtual time:")?;
        for line in &self.history {
            writeln!(formatter, "  {line}")?;
        }
        write!(formatter, "run it again: make simulate SEED={seed} SEEDS=1")
    }
}

fn run<S: Scenario>(plan: &S, mutant: Option<S::Mutant>) -> (Vec<String>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O starts");
    runtime.block_on(plan.run(mutant))
}

fn violation<S: Scenario>(plan: &S, mutant: Option<S::Mutant>) -> Option<Violation<S>> {
    let (promises, history) = run(plan, mutant);
    (!promises.is_empty()).then(|| Violation { plan: plan.clone(), promises, history })
}

/// Leaves out steps as long as some promise stays broken.
fn minimised<S: Scenario>(mut found: Violation<S>, mutant: Option<S::Mutant>) -> Violation<S> {
    let mut chunk = found.plan.steps();
    while chunk > 0 {
        let mut start = 0;
        while start < found.plan.steps() {
            match violation(&found.plan.without(start, chunk), mutant) {
                Some(smaller) => found = smaller,
                None => start += chunk,
            }
        }
        chunk /= 2;
    }
    found
}

/// Runs seeds on all cores until one breaks a promise.
fn search<S: Scenario>(first: u64, count: u64, mutant: Option<S::Mutant>) -> Option<Violation<S>> {
    let next = AtomicU64::new(first);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return None;
            }
            if let Some(found) = violation(&S::new(seed), mutant) {
                next.store(first + count, Ordering::Relaxed);
                return Some(found);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let found = workers.into_iter().filter_map(|worker| worker.join().expect("no panic"));
        found.min_by_key(|found| found.plan.seed())
    })
}

/// Returns a generator for one purpose, so that a smaller plan does not change the rest.
pub fn random(seed: u64, purpose: impl Hash) -> StdRng {
    let mut hasher = DefaultHasher::new();
    (seed, purpose).hash(&mut hasher);
    StdRng::seed_from_u64(hasher.finish())
}

/// Locks a mutex, also one that a failed history has poisoned.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text}")))
}

/// Runs seeds until one breaks a promise.
///
/// # Panics
/// With the minimised plan and its history.
pub fn assert_promises_hold<S: Scenario>() {
    let first = setting("SIMULATION_SEED").unwrap_or(0);
    let count = setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    if let Some(found) = search::<S>(first, count, None) {
        panic!("{}", minimised(found, None));
    }
}

/// Asserts that seeds find each mutant.
///
/// # Panics
/// With the mutants that no seed finds.
pub fn assert_mutants_are_found<S: Scenario>() {
    let missed: Vec<&S::Mutant> = S::Mutant::ALL
        .iter()
        .filter(|mutant| search::<S>(0, MUTANT_SEEDS, Some(**mutant)).is_none())
        .collect();
    assert!(missed.is_empty(), "not found by {MUTANT_SEEDS} seeds: {missed:?}");
}

/// Asserts that a page names each mutant.
///
/// # Panics
/// If one is missing.
pub fn assert_mutants_are_documented<S: Scenario>(page: &str) {
    for mutant in S::Mutant::ALL {
        assert!(page.contains(&format!("`{mutant:?}`")), "the page lacks {mutant:?}");
    }
}

/// Asserts that a seed always gives the same history.
///
/// # Panics
/// With the histories that differ.
pub fn assert_seeds_repeat<S: Scenario>() {
    for seed in 0..20 {
        let history = || run(&S::new(seed), None).1;
        assert_eq!(history(), history(), "seed {seed}");
    }
}

/// Declares the tests of scenarios: `simulations!(page; name: Plan, …)`. The page lists the mutants.
#[macro_export]
macro_rules! simulations {
    ($page:expr; $($name:ident: $plan:ty),+) => {$(
        mod $name {
            #[test]
            fn promises_hold() {
                $crate::assert_promises_hold::<$plan>();
            }

            #[test]
            fn mutants_are_found() {
                $crate::assert_mutants_are_found::<$plan>();
            }

            #[test]
            fn mutants_are_documented() {
                $crate::assert_mutants_are_documented::<$plan>($page);
            }

            #[test]
            fn seeds_repeat_their_histories() {
                $crate::assert_seeds_repeat::<$plan>();
            }
        }
    )+};
}
