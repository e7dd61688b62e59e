//! Draws the faults of a run from its seed.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, time::Duration};

use rand::{
    RngExt as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use crate::{books::Deployment, checker::RECOVERY, proxy::Disturbance, store::Store};

/// The time before the first episode, in which clients create users and orders.
pub(crate) const FIRST_FAULT: Duration = Duration::from_secs(4);
/// The time without faults: the recovery time, and some seconds that must have no failure.
pub(crate) const CALM: Duration = RECOVERY.saturating_add(Duration::from_secs(4));
/// The number of episodes between two times without faults.
const EPISODES: usize = 8;

/// One fault of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its delay after the start of its episode.
    pub after: Duration,
    /// How long it lasts, at least.
    pub lasts: Duration,
    /// The fault.
    pub action: Action,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Kills a role with SIGKILL and starts it again.
    Kill(String),
    /// Stops a role's process with SIGSTOP and continues it.
    Freeze(String),
    /// Stops a role with SIGTERM and starts it again.
    Restart(String),
    /// Restarts all roles, one after the other, as a deployment does.
    Roll,
    /// The same while Kafka is down.
    RollWithoutKafka,
    /// Migrates the schema as a later release would, and restarts all roles in turn on it.
    Upgrade,
    /// Disturbs a link.
    Disturb(String, Disturbance),
    /// Makes a role's clock wrong by milliseconds.
    Skew(String, i64),
    /// Steps the clock of both PostgreSQL servers by milliseconds, and back.
    StepPostgres(i64),
    /// Takes all free space of a disk.
    Fill(String),
    /// Kills PostgreSQL's primary.
    KillPostgres,
    /// Stops the processes of the primary.
    FreezePostgres,
    /// Stops the processes of the standby, so that commits wait.
    FreezeStandby,
    /// Kills the primary and promotes the standby.
    Promote,
    /// The same after the primary has committed without the standby for a while.
    PromoteLagging,
    /// Takes a backup, and later replaces the database by it.
    Restore,
    /// Kills Kafka.
    KillKafka,
    /// Stops Kafka's process.
    FreezeKafka,
    /// Kills all roles, PostgreSQL's primary and Kafka.
    KillAll,
    /// The same while commits wait for a frozen standby.
    KillAllWaiting,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(formatter, "kill {role}"),
            Self::Freeze(role) => write!(formatter, "freeze {role}"),
            Self::Restart(role) => write!(formatter, "restart {role}"),
            Self::Roll => write!(formatter, "restart all roles in turn"),
            Self::RollWithoutKafka => write!(formatter, "restart all roles in turn and kill kafka"),
            Self::Upgrade => write!(formatter, "migrate, then restart all roles in turn"),
            Self::Disturb(link, disturbance) => {
                let verb = match disturbance {
                    Disturbance::None => "mend",
                    Disturbance::Cut => "cut",
                    Disturbance::Partition => "partition",
                    Disturbance::LoseResponses => "lose-responses",
                    Disturbance::Delay(_) => "delay",
                    Disturbance::Throttle(_) => "throttle",
                    Disturbance::Tear => "tear",
                };
                write!(formatter, "{verb} {link}")?;
                match disturbance {
                    Disturbance::Delay(longest) => write!(formatter, ", up to {longest:?}"),
                    Disturbance::Throttle(rate) => write!(formatter, ", {rate} bytes a second"),
                    _ => Ok(()),
                }
            }
            Self::Skew(role, by) => write!(formatter, "skew {role}, {by:+} ms"),
            Self::StepPostgres(by) => write!(formatter, "step clock of postgres, {by:+} ms"),
            Self::Fill(disk) => write!(formatter, "fill {disk}"),
            Self::KillPostgres => write!(formatter, "kill postgres"),
            Self::FreezePostgres => write!(formatter, "freeze postgres"),
            Self::FreezeStandby => write!(formatter, "freeze standby"),
            Self::Promote => write!(formatter, "promote standby"),
            Self::PromoteLagging => write!(formatter, "promote standby that lacks commits"),
            Self::Restore => write!(formatter, "restore a backup"),
            Self::KillKafka => write!(formatter, "kill kafka"),
            Self::FreezeKafka => write!(formatter, "freeze kafka"),
            Self::KillAll => write!(formatter, "kill all"),
            Self::KillAllWaiting => write!(formatter, "freeze standby and kill all"),
        }
    }
}

impl Action {
    /// Returns its target. Faults of one target do not overlap. `None`: the whole store.
    fn target(&self) -> Option<&str> {
        match self {
            Self::Kill(role) | Self::Freeze(role) | Self::Restart(role) | Self::Skew(role, _) => {
                Some(role)
            }
            Self::Disturb(link, _) => Some(link),
            Self::Fill(disk) if disk.ends_with("postgres") => Some("postgres"),
            // A full disk stops its owner from starting.
            Self::Fill(disk) => Some(disk.trim_start_matches("disk of ")),
            Self::StepPostgres(_) => Some("clock of postgres"),
            Self::KillPostgres | Self::FreezePostgres | Self::FreezeStandby => Some("postgres"),
            Self::KillKafka | Self::FreezeKafka => Some("kafka"),
            Self::Roll
            | Self::RollWithoutKafka
            | Self::Upgrade
            | Self::Promote
            | Self::PromoteLagging
            | Self::Restore
            | Self::KillAll
            | Self::KillAllWaiting => None,
        }
    }

    /// Returns whether it may make requests fail. Faults of Kafka and of logging must not.
    pub(crate) fn affects_requests(&self) -> bool {
        !match self {
            Self::Kill(part)
            | Self::Freeze(part)
            | Self::Restart(part)
            | Self::Skew(part, _)
            | Self::Disturb(part, _)
            | Self::Fill(part) => part.contains("logging") || part.contains("kafka"),
            Self::KillKafka | Self::FreezeKafka => true,
            _ => false,
        }
    }
}

/// The parts of a store that faults act on.
#[derive(Clone, Debug)]
pub struct Parts {
    roles: Vec<String>,
    links: Vec<String>,
    disks: Vec<String>,
    deployment: Deployment,
    has_clocks: bool,
}

impl Parts {
    /// Lists the parts of a store.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            roles: store.names.clone(),
            links: store.links.iter().map(|link| link.name.clone()).collect(),
            disks: store.disks.iter().map(|disk| disk.name.clone()).collect(),
            deployment: store.deployment,
            has_clocks: !store.clocks.is_empty(),
        }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (roles, links, disks) = (self.roles.len(), self.links.len(), self.disks.len());
        let clocks = if self.has_clocks { "clocks" } else { "no clocks (libfaketime is missing)" };
        write!(formatter, "{roles} roles, {links} links, {disks} disks to fill, {clocks}")
    }
}

/// A sequence of episodes. The faults of one begin within 3 s, and end before the next begins. An
/// episode without faults is a time in which no request may fail at its end.
///
/// Each other episode is a fault of the whole store. After each time without faults, the roles have
/// an episode with faults of Kafka and of logging, in which no request may fail either.
pub type Plan = Vec<Vec<Step>>;

/// Draws the plan of a run that lasts about `length`.
#[must_use]
pub fn plan(seed: u64, length: Duration, parts: &Parts) -> Plan {
    let mut random = StdRng::seed_from_u64(seed);
    let is_quiet = |step: &Step| !step.action.affects_requests();
    let has_roles = parts.deployment == Deployment::Roles;
    // A minute has these.
    let mut whole = vec![Action::KillAll, Action::Restore];
    let mut others = vec![Action::Roll];
    if has_roles {
        whole.push(Action::Promote);
        others.extend([
            Action::RollWithoutKafka,
            Action::Upgrade,
            Action::PromoteLagging,
            Action::KillAllWaiting,
        ]);
    }
    let least = 2 * whole.len();
    whole.shuffle(&mut random);
    others.shuffle(&mut random);
    whole.extend(others);

    let last = CALM + if has_roles { Duration::from_secs(8) } else { Duration::ZERO };
    let (mut plan, mut planned) = (Plan::new(), FIRST_FAULT + last);
    for number in 0.. {
        let is_last = planned >= length && number >= least;
        if is_last || number > 0 && number % EPISODES == 0 {
            plan.push(Vec::new());
            if has_roles {
                plan.push(episode(&mut random, parts, 2..=4, &is_quiet));
            }
            planned += last;
        }
        if is_last {
            break;
        }
        let steps = if number % 2 == 0 {
            let action = whole[number / 2 % whole.len()].clone();
            let lasts = Duration::from_millis(random.random_range(50..5_000));
            vec![Step { after: Duration::ZERO, lasts, action }]
        } else {
            episode(&mut random, parts, 1..=5, &|_| true)
        };
        let ends = steps.iter().map(|step| step.after + step.lasts).max();
        planned += ends.unwrap_or_default() + Duration::from_secs(3);
        plan.push(steps);
    }
    plan
}

/// Draws faults of different parts, at least one.
fn episode(
    random: &mut StdRng,
    parts: &Parts,
    count: RangeInclusive<usize>,
    is_wanted: &dyn Fn(&Step) -> bool,
) -> Vec<Step> {
    let (mut steps, mut targets) = (Vec::new(), BTreeSet::new());
    for _ in 0..random.random_range(count) {
        let step = loop {
            let lasts = Duration::from_millis(random.random_range(50..7_000));
            let after = Duration::from_millis(random.random_range(0..3_000));
            let step = Step { after, lasts, action: draw(random, parts) };
            if is_wanted(&step) {
                break step;
            }
        };
        if step.action.target().is_some_and(|target| targets.insert(target.to_owned())) {
            steps.push(step);
        }
    }
    steps
}

fn draw(random: &mut StdRng, parts: &Parts) -> Action {
    let embedded = parts.deployment == Deployment::Embedded;
    loop {
        let role = parts.roles.choose(random).cloned().unwrap_or_default();
        let action = match random.random_range(0..100) {
            0..13 => Action::Kill(role),
            13..22 => Action::Freeze(role),
            22..27 => Action::Restart(role),
            27..57 => {
                let Some(link) = parts.links.choose(random).cloned() else { continue };
                let disturbance = match random.random_range(0..6) {
                    0 => Disturbance::Cut,
                    1 => Disturbance::Partition,
                    2 => Disturbance::LoseResponses,
                    3 => Disturbance::Delay(Duration::from_millis(random.random_range(5..800))),
                    4 => Disturbance::Throttle(random.random_range(1_000..100_000)),
                    _ => Disturbance::Tear,
                };
                Action::Disturb(link, disturbance)
            }
            57..62 => Action::Skew(role, random.random_range(-4_000..=4_000)),
            62..65 => Action::StepPostgres(random.random_range(-4_000..=4_000)),
            65..72 => match parts.disks.choose(random) {
                Some(disk) => Action::Fill(disk.clone()),
                None => continue,
            },
            72..77 => Action::KillPostgres,
            77..79 => Action::FreezePostgres,
            79..81 => Action::FreezeStandby,
            81..85 => Action::KillKafka,
            85..88 => Action::FreezeKafka,
            _ => Action::Freeze(role),
        };
        let possible = match action {
            Action::KillPostgres
            | Action::FreezePostgres
            | Action::FreezeStandby
            | Action::KillKafka
            | Action::FreezeKafka => !embedded,
            Action::Skew(..) => parts.has_clocks,
            Action::StepPostgres(_) => parts.has_clocks && !embedded,
            _ => true,
        };
        if possible {
            return action;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(deployment: Deployment) -> Parts {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Parts {
            roles: strings(&["logging 0", "db 0", "api 0"]),
            links: strings(&["logging -> kafka", "db 0 -> logging 0", "clients -> api 0"]),
            disks: strings(&["disk of kafka", "disk of api 0"]),
            deployment,
            has_clocks: true,
        }
    }

    #[test]
    fn a_minute_has_each_fault_of_the_whole_store() {
        for deployment in [Deployment::Roles, Deployment::Embedded] {
            for seed in 0..100 {
                let plan = plan(seed, Duration::from_secs(60), &parts(deployment));
                let steps: Vec<&Step> = plan.iter().flatten().collect();
                let has = |action: &Action| steps.iter().any(|step| step.action == *action);
                assert!(has(&Action::KillAll) && has(&Action::Restore), "seed {seed}");
                assert_eq!(has(&Action::Promote), deployment == Deployment::Roles);
                assert!(steps.iter().any(|step| step.action.target().is_some()), "seed {seed}");
            }
        }
    }

    #[test]
    fn calm_is_followed_by_faults_of_events() {
        for seed in 0..100 {
            let plan = plan(seed, Duration::from_secs(600), &parts(Deployment::Roles));
            let calm: Vec<usize> =
                (0..plan.len()).filter(|number| plan[*number].is_empty()).collect();
            assert!(calm.len() > 2, "seed {seed}");
            for number in &calm {
                let after = &plan[number + 1];
                assert!(!after.is_empty(), "seed {seed}");
                assert!(after.iter().all(|step| !step.action.affects_requests()), "{after:?}");
            }
            assert_eq!(calm.last(), Some(&(plan.len() - 2)), "seed {seed}");
        }
    }
}
