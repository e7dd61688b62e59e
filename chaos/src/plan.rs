//! Draws the faults of a run from its seed.

use std::{collections::BTreeSet, fmt, time::Duration};

use rand::{
    RngExt as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use crate::{
    proxy::Disturbance,
    store::{Deployment, Store},
};

/// The time before the first episode, in which clients create users and orders.
pub(crate) const FIRST_FAULT: Duration = Duration::from_secs(4);
/// The time without faults: the recovery time, and some seconds that must have no failure.
pub(crate) const CALM: Duration = Duration::from_secs(28);
/// The number of episodes between two times without faults.
pub(crate) const EPISODES: usize = 8;

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
    /// Disturbs a link.
    Disturb(String, Disturbance),
    /// Makes a role's clock wrong by milliseconds.
    Skew(String, i64),
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
    /// Takes a backup, and later replaces the database by it.
    Restore,
    /// Kills Kafka.
    KillKafka,
    /// Stops Kafka's process.
    FreezeKafka,
    /// Kills all roles, PostgreSQL's primary and Kafka.
    KillAll,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(formatter, "kill {role}"),
            Self::Freeze(role) => write!(formatter, "freeze {role}"),
            Self::Restart(role) => write!(formatter, "restart {role}"),
            Self::Roll => write!(formatter, "restart all roles in turn"),
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
            Self::Fill(disk) => write!(formatter, "fill {disk}"),
            Self::KillPostgres => write!(formatter, "kill postgres"),
            Self::FreezePostgres => write!(formatter, "freeze postgres"),
            Self::FreezeStandby => write!(formatter, "freeze standby"),
            Self::Promote => write!(formatter, "promote standby"),
            Self::Restore => write!(formatter, "restore a backup"),
            Self::KillKafka => write!(formatter, "kill kafka"),
            Self::FreezeKafka => write!(formatter, "freeze kafka"),
            Self::KillAll => write!(formatter, "kill all"),
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
            Self::KillPostgres | Self::FreezePostgres | Self::FreezeStandby => Some("postgres"),
            Self::KillKafka | Self::FreezeKafka => Some("kafka"),
            Self::Roll | Self::Promote | Self::Restore | Self::KillAll => None,
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

/// A sequence of episodes. The faults of one begin within 3 s, and end before the next begins. Each
/// other episode is a fault of the whole store.
pub type Plan = Vec<Vec<Step>>;

/// Draws the plan of a run that lasts about `length`.
#[must_use]
pub fn plan(seed: u64, length: Duration, parts: &Parts) -> Plan {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut plan, mut planned) = (Plan::new(), FIRST_FAULT + CALM);
    // A minute has the first three.
    let mut whole = vec![Action::KillAll, Action::Restore];
    if parts.deployment == Deployment::Roles {
        whole.push(Action::Promote);
    }
    whole.shuffle(&mut random);
    whole.push(Action::Roll);
    for number in 0.. {
        if planned >= length && number >= 2 * (whole.len() - 1) {
            break;
        }
        let mut episode = Vec::new();
        let mut targets: BTreeSet<String> = BTreeSet::new();
        if number % 2 == 0 {
            let action = whole[number / 2 % whole.len()].clone();
            let lasts = Duration::from_millis(random.random_range(50..5_000));
            planned += lasts + Duration::from_secs(4);
            plan.push(vec![Step { after: Duration::ZERO, lasts, action }]);
            continue;
        }
        for _ in 0..random.random_range(1..=5) {
            let lasts = Duration::from_millis(random.random_range(50..7_000));
            let after = Duration::from_millis(random.random_range(0..3_000));
            let action = draw(&mut random, parts);
            if !action.target().is_some_and(|target| targets.insert(target.to_owned())) {
                continue;
            }
            planned += lasts / 2;
            episode.push(Step { after, lasts, action });
        }
        planned += Duration::from_secs(4);
        plan.push(episode);
        if plan.len() % EPISODES == 0 {
            planned += CALM;
        }
    }
    plan
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
            57..65 => Action::Skew(role, random.random_range(-4_000..=4_000)),
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

    #[test]
    fn a_minute_has_each_fault_of_the_whole_store() {
        for deployment in [Deployment::Roles, Deployment::Embedded] {
            let parts = Parts {
                roles: vec!["store".to_owned()],
                links: vec!["clients -> store".to_owned()],
                disks: Vec::new(),
                deployment,
                has_clocks: true,
            };
            for seed in 0..100 {
                let steps: Vec<Step> =
                    plan(seed, Duration::from_secs(60), &parts).into_iter().flatten().collect();
                let has = |action: &Action| steps.iter().any(|step| step.action == *action);
                assert!(has(&Action::KillAll) && has(&Action::Restore), "seed {seed}");
                assert_eq!(has(&Action::Promote), deployment == Deployment::Roles);
                assert!(steps.iter().any(|step| step.action.target().is_some()), "seed {seed}");
            }
        }
    }
}
