//! Draws faults from a seed and applies them to a store.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use rand::{
    RngExt as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};
use rustix::process::Signal;
use tokio::{sync::MutexGuard, task::JoinSet};

use crate::{
    clients::Recorder,
    history::Fault,
    proxy::Disturbance,
    role::Role,
    store::{Deployment, Store},
};

/// The time before the first episode, in which clients create users and orders.
const FIRST_FAULT: Duration = Duration::from_secs(4);
/// The time without faults: the recovery time, and some seconds that must have no failure.
const CALM: Duration = Duration::from_secs(28);
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

/// Applies a plan, and ends each fault before it returns.
pub async fn run(
    plan: Plan,
    seed: u64,
    store: &Arc<Store>,
    recorder: &Arc<Recorder>,
    say: fn(&str),
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(!seed);
    tokio::time::sleep(FIRST_FAULT).await;
    let episodes = plan.len();
    for (number, episode) in plan.into_iter().enumerate() {
        let mut steps = JoinSet::new();
        for step in episode {
            let (store, recorder) = (Arc::clone(store), Arc::clone(recorder));
            steps.spawn(async move {
                tokio::time::sleep(step.after).await;
                let began = recorder.now();
                let restored = apply(&store, &recorder, &step)
                    .await
                    .with_context(|| format!("the nemesis could not {}", step.action))?;
                let (began, restored) = match restored {
                    Some((began, taken)) => (began, Some(taken)),
                    None => (began, None),
                };
                let ended = recorder.now();
                let what = step.action.to_string();
                say(&format!(
                    "{:7.1} s  {what} ({:.1} s)",
                    began.as_secs_f64(),
                    (ended - began).as_secs_f64()
                ));
                recorder.record_fault(Fault { began, ended, what, restored });
                Ok::<(), anyhow::Error>(())
            });
        }
        while let Some(step) = steps.join_next().await {
            step??;
        }
        let began = recorder.now();
        store.heal().await?;
        // A process that was not ready when its fault ended is still part of a fault.
        let ended = recorder.now();
        if ended - began > Duration::from_secs(1) {
            let what = "wait until all roles are ready".to_owned();
            recorder.record_fault(Fault { began, ended, what, restored: None });
        }
        let calm = if (number + 1) % EPISODES == 0 || number + 1 == episodes {
            CALM
        } else {
            Duration::from_millis(random.random_range(100..3_000))
        };
        tokio::time::sleep(calm).await;
    }
    Ok(())
}

type Taken = (Duration, Duration);

/// Applies a fault and ends it. For a restore, returns its start and the time of its backup.
async fn apply(
    store: &Store,
    recorder: &Recorder,
    step: &Step,
) -> Result<Option<(Duration, Taken)>> {
    let lasts = step.lasts;
    match &step.action {
        Action::Kill(name) => {
            let mut role = role(store, name).await?;
            role.kill().await?;
            tokio::time::sleep(lasts).await;
            role.start()?;
        }
        Action::Freeze(name) => {
            let role = role(store, name).await?;
            role.signal(Signal::STOP);
            tokio::time::sleep(lasts).await;
            role.signal(Signal::CONT);
        }
        Action::Restart(name) => {
            let mut role = role(store, name).await?;
            role.stop().await?;
            role.start()?;
        }
        Action::Roll => {
            for role in &store.roles {
                let mut role = role.lock().await;
                role.stop().await?;
                role.start()?;
                store.wait_for(&role).await?;
            }
        }
        Action::Disturb(name, disturbance) => {
            let link = store.links.iter().find(|link| link.name == *name).context("a link")?;
            link.proxy.disturb(*disturbance);
            tokio::time::sleep(lasts).await;
            link.proxy.disturb(Disturbance::None);
        }
        Action::Skew(name, milliseconds) => {
            let number = position(store, name)?;
            store.skew(number, *milliseconds)?;
            tokio::time::sleep(lasts).await;
            store.skew(number, 0)?;
        }
        Action::Fill(name) => {
            let disk = store.disks.iter().find(|disk| disk.name == *name).context("a disk")?;
            disk.fill()?;
            tokio::time::sleep(lasts).await;
            disk.empty();
            ensure_postgres(store).await?;
        }
        Action::KillPostgres => {
            let mut postgres = store.postgres.as_ref().context("PostgreSQL")?.lock().await;
            postgres.kill()?;
            tokio::time::sleep(lasts).await;
            postgres.start_again().await?;
        }
        Action::FreezePostgres => {
            let postgres = store.postgres.as_ref().context("PostgreSQL")?.lock().await;
            postgres.freeze()?;
            tokio::time::sleep(lasts).await;
            postgres.thaw();
        }
        Action::FreezeStandby => {
            let postgres = store.postgres.as_ref().context("PostgreSQL")?.lock().await;
            postgres.freeze_standby()?;
            tokio::time::sleep(lasts).await;
            postgres.thaw_standby();
        }
        Action::Promote => {
            let mut postgres = store.postgres.as_ref().context("PostgreSQL")?.lock().await;
            let address = postgres.promote().await?;
            store.redirect_database(address);
            tokio::time::sleep(lasts).await;
            postgres.rebuild_standby().await?;
        }
        Action::Restore => return restore(store, recorder, lasts).await.map(Some),
        Action::KillKafka => store.kill_kafka(lasts).await?,
        Action::FreezeKafka => store.freeze_kafka(lasts).await?,
        Action::KillAll => kill_all(store, lasts).await?,
    }
    Ok(None)
}

async fn ensure_postgres(store: &Store) -> Result<()> {
    if let Some(postgres) = &store.postgres {
        postgres.lock().await.ensure_running().await?;
    }
    Ok(())
}

fn position(store: &Store, name: &str) -> Result<usize> {
    let found = store.names.iter().position(|other| other == name);
    found.with_context(|| format!("there is no role {name}"))
}

async fn role<'a>(store: &'a Store, name: &str) -> Result<MutexGuard<'a, Role>> {
    Ok(store.roles[position(store, name)?].lock().await)
}

async fn kill_all(store: &Store, lasts: Duration) -> Result<()> {
    let mut roles = Vec::new();
    for role in &store.roles {
        let role = role.lock().await;
        role.signal(Signal::KILL);
        roles.push(role);
    }
    if let Some(postgres) = &store.postgres {
        let mut postgres = postgres.lock().await;
        postgres.kill()?;
        postgres.stop_standby()?;
        store.kill_kafka(lasts).await?;
        postgres.ensure_running().await?;
    } else {
        tokio::time::sleep(lasts).await;
    }
    for mut role in roles {
        role.kill().await?;
        role.start()?;
    }
    Ok(())
}

/// Takes a backup, waits, and replaces the database by it as `docs/operations.md` says.
async fn restore(store: &Store, recorder: &Recorder, wait: Duration) -> Result<(Duration, Taken)> {
    let name = format!("backup-{}", recorder.now().as_millis());
    let backup = store.scratch().join(name);
    let taken_at = rfc3339_now();
    let taken_began = recorder.now();
    match &store.postgres {
        Some(postgres) => postgres.lock().await.backup(&backup).await?,
        None => store.backup_embedded(&backup).await?,
    }
    let taken = (taken_began, recorder.now());
    tokio::time::sleep(wait).await;
    let began = recorder.now();
    let mut stopped = Vec::new();
    // api first, then db.
    for role in store.roles.iter().rev() {
        let mut role = role.lock().await;
        if !role.name.starts_with("logging") {
            role.stop().await?;
            stopped.push(role);
        }
    }
    match &store.postgres {
        Some(postgres) => {
            let mut postgres = postgres.lock().await;
            postgres.restore(&backup).await?;
            store.redirect_database(postgres.address());
            postgres.rebuild_standby().await?;
            let url = postgres.url();
            store.run(&["migrate", "--restored", &taken_at, "--database-url", &url], &[]).await?;
        }
        None => store.restore_embedded(&backup).await?,
    }
    for mut role in stopped.into_iter().rev() {
        role.start()?;
        store.wait_for(&role).await?;
    }
    Ok((began, taken))
}

/// Returns the current time as RFC 3339.
fn rfc3339_now() -> String {
    use sea_orm::prelude::TimeDateTimeWithTimeZone as Time;
    let now = Time::now_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
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
