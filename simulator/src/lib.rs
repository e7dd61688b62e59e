//! Runs seeded histories of faults in virtual time and on one thread.
//!
//! A [`Scenario`] draws a plan from a seed, runs production code through it, and returns the
//! promises that were broken. [`assert_promises_hold`] runs many seeds on all cores; a seed that
//! breaks a promise is minimised and printed with its history. [`assert_mutants_are_found`] requires
//! that planted faults break a promise.
//!
//! `SIMULATION_SEEDS` is the number of seeds, `SIMULATION_SEED` the first one.
//!
//! [`threads`] explores what threads share.

pub mod threads;

use std::{
    any::Any,
    collections::{BTreeSet, HashMap},
    env,
    fmt::{self, Debug},
    hash::{DefaultHasher, Hash, Hasher as _},
    num::NonZeroUsize,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    runtime::Runtime,
    task::{Id, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};

/// Of each scenario.
const SEEDS: u64 = 2_500;
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

    /// Calls `is_kept` for each operation and fault, always in the same order, and leaves out those
    /// for which it returns false.
    fn retain(&mut self, is_kept: impl FnMut() -> bool);

    /// Runs the plan. Returns a sentence for each broken promise, and the history.
    fn run(&self, mutant: Option<Self::Mutant>)
    -> impl Future<Output = (Vec<String>, Vec<String>)>;

    /// Returns the number of operations and faults.
    fn steps(&self) -> usize {
        let mut steps = 0;
        self.clone().retain(|| {
            steps += 1;
            true
        });
        steps
    }

    /// Leaves out `count` operations or faults from an index on.
    #[must_use]
    fn without(&self, start: usize, count: usize) -> Self {
        let (mut plan, mut index) = (self.clone(), 0);
        plan.retain(|| {
            index += 1;
            index <= start || index > start + count
        });
        plan
    }
}

/// Planted faults, which [`mutants!`] declares.
pub trait Mutants: Copy + Debug + Send + Sync + 'static {
    /// Each of them that seeds must find.
    const ALL: &'static [Self];
}

/// Declares an enum of planted faults. Seeds must find all of them, except those in the block `not
/// found by seeds`.
#[macro_export]
macro_rules! mutants {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$of_mutant:meta])* $mutant:ident,)+
        }
        $(not found by seeds {
            $($(#[$of_other:meta])* $other:ident,)+
        })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$of_mutant])* $mutant,)+
            $($($(#[$of_other])* $other,)+)?
        }

        impl $crate::Mutants for $name {
            const ALL: &'static [Self] = &[$(Self::$mutant,)+];
        }
    };
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

/// Returns a runtime in virtual time.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O starts")
}

fn run<S: Scenario>(plan: &S, mutant: Option<S::Mutant>) -> (Vec<String>, Vec<String>) {
    runtime().block_on(plan.run(mutant))
}

fn violation<S: Scenario>(plan: &S, mutant: Option<S::Mutant>) -> Option<Violation<S>> {
    let ran = catch_unwind(AssertUnwindSafe(|| run(plan, mutant)));
    let (promises, history) = ran
        .unwrap_or_else(|panic| (vec![format!("a panic: {}", panic_message(&*panic))], Vec::new()));
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

/// The tasks of a history, with their names.
#[derive(Debug, Default)]
pub struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Runs a task from `at` on.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        at: Instant,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async move {
            sleep_until(at).await;
            task.await;
        });
        self.names.insert(task.id(), name.into());
    }

    /// Waits for all tasks, at most until `limit`. Returns the names of those that have not ended.
    ///
    /// # Panics
    /// If a task panics.
    pub async fn unfinished(mut self, limit: Instant) -> Vec<String> {
        let names = &mut self.names;
        let all = async {
            while let Some(done) = self.tasks.join_next_with_id().await {
                let (id, ()) = done.expect("no task of the simulation panics");
                names.remove(&id);
            }
        };
        let _ = timeout_at(limit, all).await;
        let mut unfinished: Vec<String> = self.names.into_values().collect();
        unfinished.sort();
        unfinished
    }
}

/// Locks a mutex, also one that a failed history has poisoned.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generator that the tasks of a history share.
#[derive(Debug)]
pub struct Chance(Mutex<StdRng>);

impl Chance {
    /// Creates the generator of one purpose.
    pub fn new(seed: u64, purpose: impl Hash) -> Self {
        Self(Mutex::new(random(seed, purpose)))
    }

    /// Draws a number of a range.
    pub fn number(&self, range: Range<u64>) -> u64 {
        locked(&self.0).random_range(range)
    }

    /// Draws whether something with a probability from 0 to 1 happens. 0 draws nothing.
    pub fn happens(&self, probability: f64) -> bool {
        probability > 0.0 && locked(&self.0).random_bool(probability)
    }

    /// Draws a number of microseconds, and a part of `slow` in addition.
    pub fn delay(&self, micros: Range<u64>, slow: Duration) -> Duration {
        let mut random = locked(&self.0);
        Duration::from_micros(random.random_range(micros)) + slow.mul_f64(random.random())
    }
}

/// What happened in a history, for people. Created at its start.
#[derive(Debug)]
pub struct History {
    started: Instant,
    lines: Mutex<Vec<String>>,
}

impl Default for History {
    fn default() -> Self {
        Self { started: Instant::now(), lines: Mutex::default() }
    }
}

impl History {
    /// Adds a line with the virtual time.
    pub fn note(&self, text: impl AsRef<str>) {
        let at = self.started.elapsed().as_secs_f64();
        locked(&self.lines).push(format!("{at:>9.4} s  {}", text.as_ref()));
    }

    /// Takes the lines.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.lines))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text").to_owned()
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

/// Asserts that a page has one row for each mutant: `` | scenario | `Mutant` | … ``.
///
/// # Panics
/// With the rows that are missing or of no mutant.
pub fn assert_mutants_are_documented<S: Scenario>(scenario: &str, page: &str) {
    let start = format!("| {scenario} | `");
    let rows = page.lines().filter_map(|line| line.strip_prefix(&start)?.split('`').next());
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    let mutants = S::Mutant::ALL.iter().map(|mutant| format!("{mutant:?}")).collect();
    assert_eq!(rows, mutants, "rows of the page, and mutants");
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
                $crate::assert_mutants_are_documented::<$plan>(stringify!($name), $page);
            }

            #[test]
            fn seeds_repeat_their_histories() {
                $crate::assert_seeds_repeat::<$plan>();
            }
        }
    )+};
}
