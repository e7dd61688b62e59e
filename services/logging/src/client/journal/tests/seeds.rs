//! Long random histories with random crashes and disk errors. `JOURNAL_SEEDS` sets their number.

use std::collections::BTreeMap;

use rand::{RngExt as _, rngs::StdRng};
use simulator::random;

use super::{
    JournalOptions,
    sim_disk::Fault,
    simulation::{Simulation, Step},
};

pub(super) const SEEDS: u64 = 1000;
const STEPS: usize = 25;

/// Runs the history of a seed. On failure, returns the seed and its history.
pub(super) fn run(seed: u64) -> Result<(), String> {
    let Err(failure) = simulate(seed, false).1 else { return Ok(()) };
    let trace = simulate(seed, true).0.disk.trace();
    Err(format!("seed {seed}: {failure}\n{trace}"))
}

fn simulate(seed: u64, traced: bool) -> (Simulation, Result<(), String>) {
    let mut random = random(seed, "journal");
    let options = JournalOptions {
        segment_bytes: [1, 25, 60, 1000][random.random_range(0..4)],
        retained_events: [0, 0, 1, 3][random.random_range(0..4)],
        replay_retained: random.random_range(0..2) == 0,
        ..JournalOptions::default()
    };
    let mut simulation = Simulation::new(options.clone(), traced);
    simulation.disk.note(|| format!("{options:?}"));
    let outcome = crash_repeatedly(&mut simulation, &mut random);
    (simulation, outcome)
}

fn crash_repeatedly(simulation: &mut Simulation, random: &mut StdRng) -> Result<(), String> {
    let fails = random.random_range(0..2) == 0;
    plan(simulation, random, fails);
    for _ in 0..STEPS {
        let step = step(random);
        simulation.step(step)?;
        while simulation.disk.is_stopped() {
            crash(simulation, random);
            plan(simulation, random, fails);
            simulation.check()?;
        }
    }
    // Without further faults the journal accepts, delivers and deletes everything.
    simulation.disk.inject(BTreeMap::new());
    crash(simulation, random);
    for step in [Step::Append(1), Step::Acknowledge(usize::MAX), Step::Clear, Step::Append(1)] {
        simulation.step(step)?;
    }
    crash(simulation, random);
    simulation.check()
}

fn step(random: &mut StdRng) -> Step {
    match random.random_range(0..14) {
        0..4 => Step::Append(1 + random.random_range(0..3)),
        4..7 => Step::Acknowledge(1 + random.random_range(0..4)),
        7 => Step::AcknowledgeAndAppend(random.random_range(0..8)),
        8 => Step::AppendAndAcknowledge(random.random_range(0..5)),
        9 => [Step::DeadLetter, Step::Clear][random.random_range(0..2)],
        10 => Step::Close { replay: random.random_range(0..2) == 0 },
        _ => Step::Kill,
    }
}

/// Chooses the next crash, and errors before it.
fn plan(simulation: &Simulation, random: &mut StdRng, fails: bool) {
    let now = simulation.disk.operations().len();
    simulation.disk.stop_at(now + random.random_range(0..40), random.random_range(0..20));
    let mut faults = BTreeMap::new();
    for at in now..now + 40 {
        if fails && random.random_range(0..12) == 0 {
            let fault = [Fault::Full(random.random_range(0..20)), Fault::Failed, Fault::Dropped];
            faults.insert(at, fault[random.random_range(0..3)]);
        }
    }
    simulation.disk.inject(faults);
}

fn crash(simulation: &mut Simulation, random: &mut StdRng) {
    if random.random_range(0..3) == 0 {
        simulation.disk.note(|| "kill".to_owned());
        simulation.kill();
    } else {
        // Mostly a choice for all changes, as mixed ones hide which change matters.
        let all = random.random_range(0..4);
        simulation.power_cut(&mut |alternatives| match all {
            0 | 1 => all,
            _ => random.random_range(0..alternatives),
        });
    }
}

#[test]
fn events_survive_random_crashes_and_disk_errors() {
    let seeds = match std::env::var("JOURNAL_SEEDS") {
        Ok(seeds) => seeds.parse().expect("JOURNAL_SEEDS is a number of seeds"),
        Err(_) => SEEDS,
    };
    for seed in 0..seeds {
        if let Err(failure) = run(seed) {
            panic!("{failure}");
        }
    }
}
