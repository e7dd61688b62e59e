//! A deterministic simulation of placing orders: the production code of the committer, the batch
//! and the transactions on a simulated PostgreSQL, in virtual time and on one thread.
//!
//! A seed gives a [`plan`]: what clients do, and which faults occur when. The [`world`] runs it on
//! several replicas and records each call. After the last fault, [`check`] compares the history and
//! the tables with the promises of `docs/guarantees.md`. [`mutant`] plants faults, each of which the
//! check must find.
//!
//! `SIMULATION_SEEDS` is the number of seeds, `SIMULATION_SEED` the first one. A failing seed is
//! minimised and printed with its history.

mod check;
mod mutant;
mod plan;
mod server;
mod world;

use std::{
    env, fmt,
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::{mutant::Mutant, plan::Plan};

const SEEDS: u64 = 10_000;

/// A broken promise, and what happened.
#[derive(Clone, Debug)]
struct Violation {
    plan: Plan,
    promises: Vec<String>,
    history: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {} breaks promises with {} operations and {} faults:",
            self.plan.seed,
            self.plan.operations.len(),
            self.plan.faults.len()
        )?;
        for promise in &self.promises {
            writeln!(formatter, "  {promise}")?;
        }
        writeln!(formatter, "history in virtual time:")?;
        for line in &self.history {
            writeln!(formatter, "  {line}")?;
        }
        write!(formatter, "repeat it: SIMULATION_SEED={} SIMULATION_SEEDS=1", self.plan.seed)
    }
}

/// Runs a plan. Returns the promises that it breaks.
fn violation(plan: &Plan, mutant: Option<Mutant>) -> Option<Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O starts");
    let history = runtime.block_on(world::run(plan, mutant));
    let promises = check::broken_promises(plan, &history);
    (!promises.is_empty()).then(|| Violation {
        plan: plan.clone(),
        promises,
        history: history.lines,
    })
}

/// Leaves out operations and faults as long as some promise stays broken.
fn minimised(mut found: Violation, mutant: Option<Mutant>) -> Violation {
    let mut chunk = found.plan.operations.len().max(found.plan.faults.len());
    while chunk > 0 {
        let mut start = 0;
        while start < found.plan.len() {
            match violation(&found.plan.without(start, chunk), mutant) {
                Some(smaller) => found = smaller,
                None => start += chunk,
            }
        }
        chunk /= 2;
    }
    found
}

/// Runs seeds on all cores until one breaks a promise. Returns the violation and the number of
/// seeds that ran.
fn search(first: u64, count: u64, mutant: Option<Mutant>) -> (Option<Violation>, u64) {
    let next = AtomicU64::new(first);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let found = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count {
                            return None;
                        }
                        if let Some(found) = violation(&Plan::new(seed), mutant) {
                            next.store(first + count, Ordering::Relaxed);
                            return Some((seed, found));
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().expect("no panic"))
            .min_by_key(|(seed, _)| *seed)
    });
    match found {
        Some((seed, found)) => (Some(minimised(found, mutant)), seed - first + 1),
        None => (None, count),
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text}")))
}

#[test]
fn promises_hold_under_every_seed() {
    let first = setting("SIMULATION_SEED").unwrap_or(0);
    let (found, _) = search(first, setting("SIMULATION_SEEDS").unwrap_or(SEEDS), None);
    if let Some(found) = found {
        panic!("{found}");
    }
}

#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..20 {
        let history = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(world::run(&Plan::new(seed), None)).lines
        };
        assert_eq!(history(), history(), "seed {seed}");
    }
}

#[test]
fn every_mutant_is_found() {
    const BOUND: u64 = 2_000;
    let missed: Vec<Mutant> = Mutant::ALL
        .into_iter()
        .filter(|mutant| search(0, BOUND, Some(*mutant)).0.is_none())
        .collect();
    assert!(missed.is_empty(), "not found by {BOUND} seeds: {missed:?}");
}
