//! Long random histories with random crashes and disk errors, as a scenario of the simulator.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use rand::{RngExt as _, rngs::StdRng};
use simulator::{Scenario, random};

use super::{
    JournalOptions, Mutant, mutants,
    sim_disk::Fault,
    simulation::{Simulation, Step},
};

const ACTIONS: usize = 25;

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    segment_bytes: u64,
    retained_events: u64,
    replays_retained: bool,
    actions: Vec<Action>,
}

#[derive(Clone, Debug)]
struct Action {
    /// Unique in the plan.
    id: usize,
    step: Step,
    crash: Option<Crash>,
    /// By the number of disk operations since the action began.
    faults: Vec<(usize, Fault)>,
}

#[derive(Clone, Copy, Debug)]
struct Crash {
    /// The number of disk operations since the action began.
    after: usize,
    /// The bytes that the interrupted write still writes.
    written: usize,
    kind: CrashKind,
}

#[derive(Clone, Copy, Debug)]
enum CrashKind {
    Kill,
    /// Unsynced changes are lost (0), kept (1), or either (`None`). Mostly a choice for all changes,
    /// as mixed ones hide which change matters.
    PowerCut(Option<usize>),
}

impl Scenario for Plan {
    type Mutant = Mutant;

    fn new(seed: u64) -> Self {
        let mut random = random(seed, "journal");
        let fails = random.random();
        Self {
            seed,
            segment_bytes: [1, 25, 60, 1000][random.random_range(0..4)],
            retained_events: [0, 0, 1, 3][random.random_range(0..4)],
            replays_retained: random.random(),
            actions: (0..ACTIONS).map(|id| Action::random(id, &mut random, fails)).collect(),
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        self.actions.retain(|_| is_kept());
        for action in &mut self.actions {
            action.crash = action.crash.filter(|_| is_kept());
            action.faults.retain(|_| is_kept());
        }
    }

    async fn run(&self, mutant: Option<Mutant>) -> (Vec<String>, Vec<String>) {
        mutants::plant(mutant);
        let (simulation, outcome) = self.simulate(false);
        let result = match outcome {
            Ok(()) => {
                let mut hasher = DefaultHasher::new();
                simulation.disk.image().hash(&mut hasher);
                let operations = simulation.disk.operations().len();
                let history =
                    format!("{operations} operations lead to the disk {:x}", hasher.finish());
                (Vec::new(), vec![history])
            }
            Err(failure) => {
                let trace = self.simulate(true).0.disk.trace();
                (vec![failure], trace.lines().map(str::to_owned).collect())
            }
        };
        mutants::plant(None);
        result
    }
}

impl Plan {
    fn simulate(&self, traced: bool) -> (Simulation, Result<(), String>) {
        let options = JournalOptions {
            segment_bytes: self.segment_bytes,
            retained_events: self.retained_events,
            replay_retained: self.replays_retained,
            ..JournalOptions::default()
        };
        let mut simulation = Simulation::new(options.clone(), traced);
        simulation.disk.note(|| format!("{options:?}"));
        let outcome = self.act(&mut simulation);
        (simulation, outcome)
    }

    fn act(&self, simulation: &mut Simulation) -> Result<(), String> {
        for Action { id, step, crash, faults } in &self.actions {
            let now = simulation.disk.operations().len();
            let faults = faults.iter().map(|(after, fault)| (now + after, *fault));
            simulation.disk.inject(faults.collect());
            if let Some(Crash { after, written, .. }) = crash {
                simulation.disk.stop_at(now + after, *written);
            }
            simulation.step(*step)?;
            if let Some(Crash { kind, .. }) = crash
                && simulation.disk.is_stopped()
            {
                self.crash(simulation, *id, *kind);
            }
            simulation.disk.stop_at(usize::MAX, 0);
        }
        // Without further faults the journal accepts, delivers and deletes everything.
        simulation.disk.inject(BTreeMap::new());
        self.crash(simulation, ACTIONS, CrashKind::PowerCut(None));
        for step in [Step::Append(1), Step::Acknowledge(usize::MAX), Step::Clear, Step::Append(1)] {
            simulation.step(step)?;
        }
        self.crash(simulation, ACTIONS + 1, CrashKind::PowerCut(Some(0)));
        simulation.check()
    }

    fn crash(&self, simulation: &mut Simulation, id: usize, kind: CrashKind) {
        match kind {
            CrashKind::Kill => {
                simulation.disk.note(|| "kill".to_owned());
                simulation.kill();
            }
            CrashKind::PowerCut(Some(outcome)) => simulation.power_cut(&mut |_| outcome),
            CrashKind::PowerCut(None) => {
                let mut random = random(self.seed, ("power cut", id));
                simulation.power_cut(&mut |alternatives| random.random_range(0..alternatives));
            }
        }
    }
}

impl Action {
    fn random(id: usize, random: &mut StdRng, fails: bool) -> Self {
        let step = match random.random_range(0..16) {
            0..4 => Step::Append(1 + random.random_range(0..3)),
            4..7 => Step::Acknowledge(1 + random.random_range(0..4)),
            7 => Step::AcknowledgeAndAppend(random.random_range(0..8)),
            8 => Step::AppendAndAcknowledge(random.random_range(0..5)),
            9..11 => Step::DeadLetter,
            11 => Step::Clear,
            12 => Step::Close { replay: random.random() },
            _ => Step::Kill,
        };
        let crash = random.random_bool(0.4).then(|| Crash {
            after: random.random_range(0..12),
            written: random.random_range(0..20),
            kind: match random.random_range(0..6) {
                0 | 1 => CrashKind::Kill,
                2 => CrashKind::PowerCut(Some(0)),
                3 => CrashKind::PowerCut(Some(1)),
                _ => CrashKind::PowerCut(None),
            },
        });
        let mut faults = Vec::new();
        for after in 0..12 {
            if fails && random.random_range(0..12) == 0 {
                let full = Fault::Full(random.random_range(0..20));
                faults.push((
                    after,
                    [full, Fault::Failed, Fault::Dropped][random.random_range(0..3)],
                ));
            }
        }
        Self { id, step, crash, faults }
    }
}

simulator::simulations!(
    include_str!("../../../../../../docs/simulation.md");
    journal: super::Plan
);
