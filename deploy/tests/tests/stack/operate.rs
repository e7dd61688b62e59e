//! What operators do while buyers shop: restart, scale, stop and start, back up and restore.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    audit::{Books, audit},
    container::Container,
    ledger::Ledger,
    shared::{figure, seconds},
    stack::Stack,
    wait::until,
};

use crate::{Shopping, buyers, none_failed, on_stack, slowest, sum};

/// How long `make` may take for a rolling restart: a container at a time, the next when the last is
/// healthy.
const ROLLING: Duration = Duration::from_secs(240);

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_rolling_restart_fails_no_request() {
    on_stack("rolling restart", async |stack: &Stack| {
        let started = async |container: &Container| {
            Ok::<_, anyhow::Error>(container.inspect().await?["State"]["StartedAt"].to_string())
        };
        let mut before = Vec::new();
        for service in ["api", "db", "logging"] {
            for container in stack.containers(Some(service)).await? {
                before.push(started(&container).await?);
            }
        }
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(1)).await;
        let began = Instant::now();
        stack.command("make").args(["rolling-restart"]).limit(ROLLING).succeed().await?;
        let took = began.elapsed();
        shopping.load.run(Duration::from_secs(1)).await;
        let (_, exchanges) = shopping.audit(stack, "rolling restart").await?;
        for service in ["api", "db", "logging"] {
            for container in stack.containers(Some(service)).await? {
                ensure!(
                    !before.contains(&started(&container).await?),
                    "{container} was not restarted"
                );
            }
        }
        figure(
            "rolling restart",
            &format!(
                "{} containers in {}, slowest request {}",
                before.len(),
                seconds(took),
                seconds(slowest(&exchanges))
            ),
        );
        none_failed(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_new_replica_serves_and_one_that_goes_is_not_noticed() {
    on_stack("scale", async |stack: &Stack| {
        let known = stack.containers(Some("api")).await?;
        let more = format!("api={}", known.len() + 1);
        let shopping = Shopping::start(stack).await?;
        stack.compose_up(&["--no-recreate", "--no-deps", "--scale", &more, "api"]).await?;
        let healthy = Instant::now();
        let new = stack
            .containers(Some("api"))
            .await?
            .into_iter()
            .find(|container| !known.contains(container))
            .context("a new replica")?;
        // Reading metrics takes a container, so the time is too long by as much as that takes on a
        // busy machine: that it is 5 s at most is shown by the tests of NGINX, whose replicas are
        // asked directly.
        let look = async || {
            let served =
                sum(&stack.metrics(&new).await?, "merch_api_request_duration_seconds_count");
            ensure!(served > 0.0, "it has served nothing");
            Ok(())
        };
        until("the new replica to serve", Duration::from_secs(30), look).await?;
        let took = healthy.elapsed();
        figure(
            "scale",
            &format!(
                "the new replica had served at the latest {} after it was healthy",
                seconds(took)
            ),
        );
        let fewer = format!("api={}", known.len());
        stack.compose_up(&["--no-recreate", "--no-deps", "--scale", &fewer, "api"]).await?;
        let (_, exchanges) = shopping.audit(stack, "scale").await?;
        none_failed(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn volumes_survive_down_and_up() {
    on_stack("down and up", async |stack: &Stack| {
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(1)).await;
        shopping.audit(stack, "down and up").await?;
        let before = Books::read(stack).await?;
        let began = Instant::now();
        stack.compose(&["down"]).limit(Duration::from_secs(180)).succeed().await?;
        let down = began.elapsed();
        ensure!(stack.containers(None).await?.is_empty(), "expected that no container is left");
        stack.compose_up(&[]).await?;
        figure(
            "down and up",
            &format!(
                "down in {}, up again in {}",
                seconds(down),
                seconds(began.elapsed().saturating_sub(down))
            ),
        );
        let after = Books::read(stack).await?;
        ensure!(
            after.orders == before.orders
                && after.users == before.users
                && after.stock == before.stock,
            "the tables are others"
        );
        // The topic too: it still tells of every order that there ever was. And tokens are good, as
        // the key is the same.
        audit(stack, &Ledger::default(), &before).await?;
        let buyer = buyers().into_iter().next().context("a buyer")?;
        stack.client()?.get("/orders").bearer(&buyer.token).send().await?.expect(200)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_restored_backup_agrees_with_itself_and_loses_no_event() {
    on_stack("backup", async |stack: &Stack| {
        let folder = std::env::temp_dir().join(format!("merch-backup-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder)?;
        let file = folder.join("store.dump").display().to_string();
        let done = backed_up_and_restored(stack, &file).await;
        std::fs::remove_dir_all(&folder)?;
        done
    })
    .await;
}

async fn backed_up_and_restored(stack: &Stack, file: &str) -> Result<()> {
    // While Kafka is away, so that the backup has events that nobody has read yet.
    let kafka = stack.one("kafka").await?;
    kafka.kill().await?;
    let shopping = Shopping::start(stack).await?;
    shopping.load.run(Duration::from_secs(2)).await;
    let (ledger, _) = shopping.load.finish().await?;
    let before = Books::read(stack).await?;
    let waiting = stack.psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL").await?;
    ensure!(waiting != "0", "expected that events wait while Kafka is away");
    stack.command("make").args(["backup"]).env("FILE", file).limit(ROLLING).succeed().await?;

    // What is sold after the backup is gone after the restore, and with it the events that were not
    // shipped.
    let later = Shopping::start(stack).await?;
    later.load.run(Duration::from_secs(1)).await;
    later.load.finish().await?;
    ensure!(
        Books::read(stack).await?.orders != before.orders,
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
    let after = Books::read(stack).await?;
    ensure!(
        after.orders == before.orders && after.users == before.users && after.stock == before.stock,
        "the tables are not those of the backup"
    );
    ensure!(after.keys == before.keys, "the idempotency keys are not those of the backup");
    kafka.start().await?;
    stack.settle().await?;
    // Everybody has to log in again: tokens that were revoked since would hold again.
    let buyer = buyers().into_iter().next().context("a buyer")?;
    stack.client()?.get("/orders").bearer(&buyer.token).send().await?.expect(401)?;
    crate::enrol(stack).await?;
    // Every order that is held has its event: those that waited in the backup were shipped from it.
    let figures = audit(stack, &ledger, &shopping.before).await?;
    figure(
        "backup",
        &format!("{waiting} events waited in the backup; after the restore: {figures}"),
    );
    Ok(())
}
