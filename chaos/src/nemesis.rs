//! Applies the faults of a plan to a store.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;
use tokio::{sync::MutexGuard, task::JoinSet};

use crate::{
    clients::Recorder,
    history::Fault,
    plan::{Action, CALM, FIRST_FAULT, Plan, Step},
    proxy::Disturbance,
    role::Role,
    store::Store,
};

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
    for episode in plan {
        if episode.is_empty() {
            tokio::time::sleep(CALM).await;
            continue;
        }
        let affects_requests = episode.iter().any(|step| step.action.affects_requests());
        let mut steps = JoinSet::new();
        for step in episode {
            let (store, recorder) = (Arc::clone(store), Arc::clone(recorder));
            steps.spawn(async move {
                tokio::time::sleep(step.after).await;
                let began = recorder.now();
                let applied = apply(&store, &recorder, &step).await;
                let (began, restored) = match &applied {
                    Ok(Some((began, taken))) => (*began, Some(*taken)),
                    Ok(None) | Err(_) => (began, None),
                };
                let ended = recorder.now();
                let what = step.action.to_string();
                say(&format!(
                    "{:7.1} s  {what} ({:.1} s)",
                    began.as_secs_f64(),
                    (ended - began).as_secs_f64()
                ));
                recorder.record_fault(Fault { began, ended, what, restored });
                applied.with_context(|| format!("the nemesis could not {}", step.action))
            });
        }
        // The other faults of the episode end before the run does.
        let mut applied = Ok(None);
        while let Some(step) = steps.join_next().await {
            applied = applied.and(step?);
        }
        applied?;
        let began = recorder.now();
        let healed = store.heal().await;
        // A process that was not ready when its fault ended is still part of a fault.
        let ended = recorder.now();
        if ended - began > Duration::from_secs(1) {
            let what = if affects_requests {
                "wait until all roles are ready"
            } else {
                "wait until logging is ready"
            };
            let what = what.to_owned();
            recorder.record_fault(Fault { began, ended, what, restored: None });
        }
        healed?;
        tokio::time::sleep(Duration::from_millis(random.random_range(100..3_000))).await;
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
        Action::Roll => roll(store, true).await?,
        Action::RollWithoutKafka => {
            store.stop_kafka().await?;
            roll(store, false).await?;
            store.start_kafka().await?;
        }
        Action::Upgrade => {
            store.migrate(recorder.now().as_millis()).await?;
            tokio::time::sleep(lasts).await;
            roll(store, true).await?;
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
        Action::StepPostgres(milliseconds) => {
            store.skew_postgres(*milliseconds)?;
            tokio::time::sleep(lasts).await;
            store.skew_postgres(0)?;
        }
        Action::Fill(name) => {
            let disk = store.disks.iter().find(|disk| disk.name == *name).context("a disk")?;
            disk.fill().await?;
            tokio::time::sleep(lasts).await;
            disk.empty().await?;
            if name.ends_with("kafka") {
                // It has exited, or does not use the disk any more.
                store.kill_kafka(Duration::ZERO).await?;
            }
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
        Action::PromoteLagging => return promote_lagging(store, recorder, lasts).await.map(Some),
        Action::Restore => return restore(store, recorder, lasts).await.map(Some),
        Action::KillKafka => store.kill_kafka(lasts).await?,
        Action::FreezeKafka => store.freeze_kafka(lasts).await?,
        Action::KillAll => kill_all(store, lasts).await?,
        Action::KillAllWaiting => {
            store.postgres.as_ref().context("PostgreSQL")?.lock().await.freeze_standby()?;
            tokio::time::sleep(lasts).await;
            kill_all(store, lasts).await?;
        }
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

/// Restarts all roles in turn. Logging becomes ready only with Kafka.
async fn roll(store: &Store, has_kafka: bool) -> Result<()> {
    for role in &store.roles {
        let mut role = role.lock().await;
        role.stop().await?;
        role.start()?;
        if has_kafka || !role.name.starts_with("logging") {
            store.wait_for(&role).await?;
        }
    }
    Ok(())
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

/// Lets the primary commit without the standby, waits, and fails over, as `docs/guarantees.md` says
/// for an asynchronous standby. The standby is the backup.
async fn promote_lagging(
    store: &Store,
    recorder: &Recorder,
    wait: Duration,
) -> Result<(Duration, Taken)> {
    let mut postgres = store.postgres.as_ref().context("PostgreSQL")?.lock().await;
    let (taken_at, taken_began) = (rfc3339_now(), recorder.now());
    postgres.degrade().await?;
    postgres.freeze_standby()?;
    let taken = (taken_began, recorder.now());
    tokio::time::sleep(wait).await;
    let began = recorder.now();
    let stopped = stop(store, |name| name.starts_with("db")).await?;
    store.redirect_database(postgres.promote_asynchronous().await?);
    let url = postgres.url();
    store.run(&["migrate", "--restored", &taken_at, "--database-url", &url], &[]).await?;
    start(store, stopped).await?;
    Ok((began, taken))
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
    let stopped = stop(store, |name| !name.starts_with("logging")).await?;
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
    start(store, stopped).await?;
    Ok((began, taken))
}

/// Stops roles, api first.
async fn stop(store: &Store, is_wanted: fn(&str) -> bool) -> Result<Vec<MutexGuard<'_, Role>>> {
    let mut stopped = Vec::new();
    for role in store.roles.iter().rev() {
        let mut role = role.lock().await;
        if is_wanted(&role.name) {
            role.stop().await?;
            stopped.push(role);
        }
    }
    Ok(stopped)
}

/// Starts stopped roles, db first.
async fn start(store: &Store, stopped: Vec<MutexGuard<'_, Role>>) -> Result<()> {
    for mut role in stopped.into_iter().rev() {
        role.start()?;
        store.wait_for(&role).await?;
    }
    Ok(())
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
