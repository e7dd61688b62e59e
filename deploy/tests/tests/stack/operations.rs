//! Operations under load: restart, scale, stop and start, backup and restore.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    checker::{DatabaseState, check_consistency},
    container::Container,
    history::History,
    shared::{format_duration, progress},
    stack::Stack,
    wait::wait_until,
};

use crate::{Workload, buyers, expect_no_failures, slowest, sum_metric, with_stack};

/// The limit of a rolling restart, one container at a time.
const ROLLING: Duration = Duration::from_secs(240);

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn rolling_restart_fails_no_request() {
    with_stack("rolling restart", async |stack: &Stack| {
        let started = async |container: &Container| {
            Ok::<_, anyhow::Error>(container.inspect().await?["State"]["StartedAt"].to_string())
        };
        let mut before = Vec::new();
        for service in ["api", "db", "logging"] {
            for container in stack.containers(Some(service)).await? {
                before.push(started(&container).await?);
            }
        }
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(1)).await;
        let began = Instant::now();
        stack.command("make").args(["rolling-restart"]).limit(ROLLING).succeed().await?;
        let took = began.elapsed();
        workload.load.run(Duration::from_secs(1)).await;
        let (_, exchanges) = workload.check(stack, "rolling restart").await?;
        for service in ["api", "db", "logging"] {
            for container in stack.containers(Some(service)).await? {
                ensure!(
                    !before.contains(&started(&container).await?),
                    "{container} was not restarted"
                );
            }
        }
        progress(
            "rolling restart",
            &format!(
                "{} containers in {}, slowest request {}",
                before.len(),
                format_duration(took),
                format_duration(slowest(&exchanges))
            ),
        );
        expect_no_failures(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn scaling_fails_no_request() {
    with_stack("scale", async |stack: &Stack| {
        let known = stack.containers(Some("api")).await?;
        let more = format!("api={}", known.len() + 1);
        let workload = Workload::start(stack).await?;
        stack.compose_up(&["--no-recreate", "--no-deps", "--scale", &more, "api"]).await?;
        let healthy = Instant::now();
        let new = stack
            .containers(Some("api"))
            .await?
            .into_iter()
            .find(|container| !known.contains(container))
            .context("a new replica")?;
        // Reading metrics starts a container, so this time is an upper bound; the NGINX tests check
        // the limit of 5 s directly.
        let look = async || {
            let served =
                sum_metric(&stack.metrics(&new).await?, "merch_api_request_duration_seconds_count");
            ensure!(served > 0.0, "it has served nothing");
            Ok(())
        };
        wait_until("the new replica to serve", Duration::from_secs(30), look).await?;
        let took = healthy.elapsed();
        progress(
            "scale",
            &format!(
                "the new replica had served at the latest {} after it was healthy",
                format_duration(took)
            ),
        );
        let fewer = format!("api={}", known.len());
        stack.compose_up(&["--no-recreate", "--no-deps", "--scale", &fewer, "api"]).await?;
        let (_, exchanges) = workload.check(stack, "scale").await?;
        expect_no_failures(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn volumes_survive_down_and_up() {
    with_stack("down and up", async |stack: &Stack| {
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(1)).await;
        workload.check(stack, "down and up").await?;
        let before = DatabaseState::read(stack).await?;
        let began = Instant::now();
        stack.compose(&["down"]).limit(Duration::from_secs(180)).succeed().await?;
        let down = began.elapsed();
        ensure!(stack.containers(None).await?.is_empty(), "expected that no container is left");
        stack.compose_up(&[]).await?;
        progress(
            "down and up",
            &format!(
                "down in {}, up again in {}",
                format_duration(down),
                format_duration(began.elapsed().saturating_sub(down))
            ),
        );
        let after = DatabaseState::read(stack).await?;
        ensure!(
            after.orders == before.orders
                && after.users == before.users
                && after.stock == before.stock,
            "the tables differ"
        );
        // The topic keeps all orders' events, and the signing key its tokens.
        check_consistency(stack, &History::default(), &before).await?;
        let buyer = buyers().into_iter().next().context("a buyer")?;
        stack.client()?.get("/orders").bearer(&buyer.token).send().await?.expect(200)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn restored_backup_is_consistent_and_loses_no_event() {
    with_stack("backup", async |stack: &Stack| {
        let dir = std::env::temp_dir().join(format!("merch-backup-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir)?;
        let file = dir.join("store.dump").display().to_string();
        let done = back_up_and_restore(stack, &file).await;
        std::fs::remove_dir_all(&dir)?;
        done
    })
    .await;
}

async fn back_up_and_restore(stack: &Stack, file: &str) -> Result<()> {
    // Without Kafka, so that the backup contains unshipped events.
    let kafka = stack.container("kafka").await?;
    kafka.kill().await?;
    let workload = Workload::start(stack).await?;
    workload.load.run(Duration::from_secs(2)).await;
    let (history, _) = workload.load.finish().await?;
    let before = DatabaseState::read(stack).await?;
    let waiting = stack.psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL").await?;
    ensure!(waiting != "0", "expected that events wait while Kafka is away");
    stack.command("make").args(["backup"]).env("FILE", file).limit(ROLLING).succeed().await?;

    // A restore removes later orders and their unshipped events.
    let later = Workload::start(stack).await?;
    later.load.run(Duration::from_secs(1)).await;
    later.load.finish().await?;
    ensure!(
        DatabaseState::read(stack).await?.orders != before.orders,
        "expected more orders after the backup"
    );
    stack
        .command("make")
        .args(["restore"])
        .env("FILE", file)
        .env("YES", "1")
        .limit(ROLLING)
        .succeed()
        .await?;
    let after = DatabaseState::read(stack).await?;
    ensure!(
        after.orders == before.orders && after.users == before.users && after.stock == before.stock,
        "the tables are not those of the backup"
    );
    ensure!(after.keys == before.keys, "the idempotency keys are not those of the backup");
    kafka.start().await?;
    stack.wait_healthy().await?;
    // All tokens are revoked: those revoked after the backup would be valid again.
    let buyer = buyers().into_iter().next().context("a buyer")?;
    stack.client()?.get("/orders").bearer(&buyer.token).send().await?.expect(401)?;
    crate::register_buyers(stack).await?;
    // Events that waited in the backup are shipped after the restore.
    let totals = check_consistency(stack, &history, &workload.before).await?;
    progress(
        "backup",
        &format!("{waiting} events waited in the backup; after the restore: {totals}"),
    );
    Ok(())
}
