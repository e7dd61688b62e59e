//! Applies the faults of a plan to a store.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;
use tokio::{sync::MutexGuard, task::JoinSet};

use crate::{
    clients::Recorder,
    history::Fault,
    plan::{Action, CALM, EPISODES, FIRST_FAULT, Plan, Step},
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
