//! Short histories, interrupted at each disk operation and after each byte of each write, with each
//! outcome of a power cut; and with an error of each operation before the crash.

use std::collections::{BTreeMap, HashSet};

use rand::RngExt as _;
use simulator::random;

use super::{
    JournalOptions,
    sim_disk::{Fault, Operation},
    simulation::{
        Simulation,
        Step::{
            self, Acknowledge, AcknowledgeAndAppend, Append, AppendAndAcknowledge, Clear, Close,
            DeadLetter, Kill,
        },
    },
};

struct Search {
    /// More outcomes than this are sampled.
    max_outcomes: usize,
    sampled_outcomes: usize,
    /// A second crash interrupts each operation of the recovery from each n-th outcome.
    second_crashes: usize,
}

const ALL: Search = Search { max_outcomes: 3000, sampled_outcomes: 300, second_crashes: 3 };
const SAMPLE: Search = Search { max_outcomes: 4, sampled_outcomes: 6, second_crashes: usize::MAX };

#[derive(Debug)]
pub(super) struct History {
    name: &'static str,
    segment_bytes: u64,
    retained_events: u64,
    steps: &'static [Step],
}

const REOPEN: Step = Close { replay: false };
const REPLAY: Step = Close { replay: true };

const HISTORIES: &[History] = &[
    History {
        name: "appends, alone and in groups",
        segment_bytes: 1000,
        retained_events: 0,
        steps: &[Append(1), Append(3), Append(1), REOPEN, Append(2)],
    },
    History {
        name: "a segment for each group",
        segment_bytes: 1,
        retained_events: 0,
        steps: &[Append(1), Append(2), Append(1), Acknowledge(2), Append(1), Acknowledge(9)],
    },
    History {
        name: "segments of several groups",
        segment_bytes: 25,
        retained_events: 0,
        steps: &[
            Append(1),
            Append(1),
            Append(1),
            Append(1),
            Acknowledge(1),
            Append(2),
            Acknowledge(3),
            REOPEN,
            Append(1),
            Acknowledge(9),
        ],
    },
    History {
        name: "dead letters",
        segment_bytes: 25,
        retained_events: 0,
        steps: &[Append(3), DeadLetter, DeadLetter, Acknowledge(1), REOPEN, Append(1), DeadLetter],
    },
    History {
        name: "retained segments and replay",
        segment_bytes: 1,
        retained_events: 2,
        steps: &[
            Append(1),
            Append(1),
            Append(1),
            Append(1),
            Acknowledge(3),
            REPLAY,
            Acknowledge(1),
            Append(1),
            Acknowledge(9),
            REOPEN,
            Append(1),
        ],
    },
    History {
        name: "an append during an acknowledgement",
        segment_bytes: 1,
        retained_events: 0,
        steps: &[
            Append(1),
            Append(1),
            AcknowledgeAndAppend(1),
            AcknowledgeAndAppend(3),
            AcknowledgeAndAppend(4),
            AcknowledgeAndAppend(5),
        ],
    },
    History {
        name: "an acknowledgement during an append",
        segment_bytes: 1,
        retained_events: 0,
        steps: &[
            Append(1),
            Append(1),
            AppendAndAcknowledge(1),
            AppendAndAcknowledge(2),
            AppendAndAcknowledge(3),
        ],
    },
    History {
        name: "a killed process",
        segment_bytes: 25,
        retained_events: 0,
        steps: &[Append(2), Kill, Append(1), Acknowledge(2), Kill, Append(1), Acknowledge(9), Kill],
    },
    History {
        name: "a cleared journal",
        segment_bytes: 1,
        retained_events: 2,
        steps: &[Append(1), Append(1), Acknowledge(9), Clear, Append(1), Clear, Append(1)],
    },
];

/// An execution of a history.
#[derive(Clone, Debug, Default)]
struct Case {
    faults: BTreeMap<usize, Fault>,
    /// The interrupted operation, and the bytes that it writes.
    stop: Option<(usize, usize)>,
    /// The choices of a power cut; `None` is a kill.
    power_cut: Option<Choices>,
    /// Whether a second crash interrupts the recovery.
    second_crash: bool,
}

impl Case {
    fn recover(&self, simulation: &mut Simulation) -> Result<(), String> {
        if self.second_crash { simulation.recover_from_crashes() } else { simulation.recover() }
    }
}

/// The outcomes of unsynced changes, in order, each with the number of alternatives.
#[derive(Clone, Debug, Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, alternatives: usize, choice: impl FnOnce(usize) -> usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((choice(alternatives), alternatives));
        }
        self.next += 1;
        self.made[self.next - 1].0
    }

    /// Moves to the next sequence. Returns `false` after the last one.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, alternatives)) = self.made.last_mut() {
            *choice += 1;
            if choice < alternatives {
                return true;
            }
            self.made.pop();
        }
        false
    }
}

/// Counts what was explored.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) crash_points: usize,
    /// Different disks after a crash.
    pub(super) outcomes: usize,
}

impl History {
    fn run(&self, case: &Case, traced: bool) -> (Simulation, Result<(), String>) {
        let options = JournalOptions {
            segment_bytes: self.segment_bytes,
            retained_events: self.retained_events,
            ..JournalOptions::default()
        };
        let mut simulation = Simulation::new(options, traced);
        simulation.disk.inject(case.faults.clone());
        if let Some((operation, written)) = case.stop {
            simulation.disk.stop_at(operation, written);
        }
        for step in self.steps {
            let outcome = simulation.step(*step);
            if outcome.is_err() || simulation.disk.is_stopped() {
                return (simulation, outcome);
            }
        }
        (simulation, Ok(()))
    }

    /// Repeats a failed case to record its history.
    fn report(&self, case: &Case, failure: &str) -> String {
        let (mut simulation, outcome) = self.run(case, true);
        if outcome.is_ok() {
            match case.power_cut.clone() {
                None => {
                    simulation.disk.note(|| "kill".to_owned());
                    simulation.kill();
                }
                Some(mut choices) => {
                    choices.next = 0;
                    simulation.power_cut(&mut |alternatives| choices.choose(alternatives, |_| 0));
                }
            }
            drop(case.recover(&mut simulation));
        }
        format!("{}: {failure}\n{}", self.name, simulation.disk.trace())
    }

    /// Crashes at each operation.
    pub(super) fn crash_everywhere(&self, coverage: &mut Coverage) -> Result<(), String> {
        let (whole, outcome) = self.run(&Case::default(), false);
        outcome.map_err(|failure| self.report(&Case::default(), &failure))?;
        let operations = whole.disk.operations();
        for at in 0..=operations.len() {
            self.crash(&BTreeMap::new(), at, &ALL, coverage)?;
            // The outcomes of a power cut include the torn writes.
            if let Some(Operation::Write(bytes)) = operations.get(at) {
                for written in 1..*bytes {
                    let case = Case { stop: Some((at, written)), ..Case::default() };
                    let (mut simulation, _) = self.run(&case, false);
                    simulation.kill();
                    coverage.outcomes += 1;
                    case.recover(&mut simulation)
                        .map_err(|failure| self.report(&case, &failure))?;
                }
            }
        }
        Ok(())
    }

    /// Fails each operation, and crashes at the end or soon after.
    pub(super) fn fail_everywhere(&self, coverage: &mut Coverage) -> Result<(), String> {
        let (whole, _) = self.run(&Case::default(), false);
        for (at, operation) in whole.disk.operations().into_iter().enumerate() {
            let faults = match operation {
                Operation::Write(bytes) => vec![Fault::Full(0), Fault::Full(bytes / 2)],
                Operation::Sync => vec![Fault::Failed, Fault::Dropped],
                Operation::Change => vec![Fault::Failed],
            };
            for fault in faults {
                let faults = BTreeMap::from([(at, fault)]);
                for crash in (at + 1..=at + 6).chain([usize::MAX]) {
                    self.crash(&faults, crash, &SAMPLE, coverage)?;
                }
            }
        }
        Ok(())
    }

    /// Crashes at an operation, by a kill and by power cuts with all outcomes or a sample.
    fn crash(
        &self,
        faults: &BTreeMap<usize, Fault>,
        at: usize,
        search: &Search,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let mut case = Case {
            faults: faults.clone(),
            stop: Some((at, 0)),
            second_crash: search.second_crashes != usize::MAX,
            ..Case::default()
        };
        let (crashed, outcome) = self.run(&case, false);
        outcome.map_err(|failure| self.report(&case, &failure))?;
        coverage.crash_points += 1;
        coverage.outcomes += 1;
        let mut killed = crashed.fork();
        killed.kill();
        case.recover(&mut killed).map_err(|failure| self.report(&case, &failure))?;

        let mut seen = HashSet::new();
        let mut random = random(at as u64, "outcomes");
        let is_sampled = crashed.disk.outcomes() > search.max_outcomes;
        let mut choices = Choices::default();
        for sample in 0.. {
            let mut cut = crashed.fork();
            cut.power_cut(&mut |alternatives| {
                choices.choose(alternatives, |below| match sample {
                    // All lost, all kept, and random ones.
                    _ if !is_sampled => 0,
                    0 | 1 => sample,
                    _ => random.random_range(0..below),
                })
            });
            if seen.insert(cut.disk.image()) {
                coverage.outcomes += 1;
                case.second_crash = seen.len().is_multiple_of(search.second_crashes);
                if let Err(failure) = case.recover(&mut cut) {
                    case.power_cut = Some(choices);
                    return Err(self.report(&case, &failure));
                }
            }
            if is_sampled {
                choices = Choices::default();
                if sample == search.sampled_outcomes {
                    break;
                }
            } else if !choices.advance() {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn history(name: &str) -> &'static History {
    HISTORIES.iter().find(|history| history.name == name).expect("a history has this name")
}

#[test]
fn events_survive_a_crash_at_each_operation() {
    let mut coverage = Coverage::default();
    for history in HISTORIES {
        if let Err(failure) = history.crash_everywhere(&mut coverage) {
            panic!("{failure}");
        }
    }
    // Fewer would mean that the histories no longer reach the disk.
    assert!(coverage.crash_points > 300 && coverage.outcomes > 5000, "{coverage:?}");
}

#[test]
fn events_survive_a_crash_after_each_disk_error() {
    let mut coverage = Coverage::default();
    for history in HISTORIES {
        if let Err(failure) = history.fail_everywhere(&mut coverage) {
            panic!("{failure}");
        }
    }
    assert!(coverage.crash_points > 4000, "{coverage:?}");
}
