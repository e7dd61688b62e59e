//! Faults under load: killed, paused and disconnected containers cost at most requests in flight,
//! and no data.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use merch_deploy_tests::{
    checker::wait_until_shipped,
    container::{Container, Disconnected},
    http::{Exchange, Outcome},
    shared::{format_duration, progress},
    stack::Stack,
    wait::wait_until,
};

use crate::{
    Workload, expect_no_failures, failures, slowest, sum_metric, wait_until_selling, with_stack,
};

/// A slower request was waiting for a failed container. On a slow machine the limit is three times
/// the slowest request before the fault.
const SLOW: Duration = Duration::from_millis(1500);

/// A fault that is injected into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL.
    Kill,
    /// Frozen: connections are accepted but not answered.
    Pause,
    /// Disconnected from its networks: packets are lost.
    Disconnect,
}

/// How to revert a fault.
enum Recovery {
    Start,
    Unpause,
    Connect(Disconnected),
}

impl Fault {
    /// How long requests may fail or be slow after the fault, until it is detected.
    ///
    /// The api and db services health-check their replicas. NGINX has no active checks and detects
    /// a hanging api by its read timeout of 6 s (deploy/nginx/conf/idempotent.conf).
    fn detection_time(self, service: &str) -> Duration {
        match (self, service) {
            (Self::Kill, _) => Duration::from_secs(1),
            (Self::Pause | Self::Disconnect, "api") => Duration::from_secs(7),
            (Self::Pause | Self::Disconnect, _) => Duration::from_secs(2),
        }
    }

    /// How long the fault lasts: longer than its detection.
    fn downtime(self, service: &str) -> Duration {
        self.detection_time(service) + Duration::from_secs(3)
    }

    async fn inject(self, container: &Container) -> Result<Recovery> {
        Ok(match self {
            Self::Kill => {
                container.kill().await?;
                Recovery::Start
            }
            Self::Pause => {
                container.pause().await?;
                Recovery::Unpause
            }
            Self::Disconnect => Recovery::Connect(container.disconnect().await?),
        })
    }
}

/// Injects a fault into one replica under load, reverts it, and checks consistency. Returns the
/// requests that were affected after the detection time; a slow machine may be their cause.
async fn inject_fault(stack: &Stack, service: &str, fault: Fault) -> Result<Vec<String>> {
    let name = format!("{fault:?} {service}").to_lowercase();
    let container = stack.container(service).await?;
    let workload = Workload::start(stack).await?;
    workload.load.run(Duration::from_secs(2)).await;
    let before = Instant::now();
    let recovery = fault.inject(&container).await?;
    let after = Instant::now();
    workload.load.run(fault.downtime(service)).await;
    let back = Instant::now();
    match recovery {
        Recovery::Start => container.start().await?,
        Recovery::Unpause => container.unpause().await?,
        Recovery::Connect(disconnected) => disconnected.connect().await?,
    }
    let healthy = container.wait_healthy(Duration::from_secs(40)).await?;
    workload.load.run(Duration::from_secs(2)).await;
    let (_, exchanges) = workload.check(stack, &name).await?;

    let noticed = after + fault.detection_time(service);
    let usual = slowest(exchanges.iter().filter(|exchange| exchange.ended() < before));
    let slow = SLOW.max(3 * usual);
    let affected = |exchange: &&Exchange| exchange.failed() || exchange.took > slow;
    let last = exchanges
        .iter()
        .filter(affected)
        .filter(|exchange| exchange.began < back)
        .map(|exchange| exchange.began)
        .max();
    let last = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(before));
    let in_flight = exchanges
        .iter()
        .filter(|exchange| exchange.began <= after && exchange.ended() >= before)
        .count();
    progress(
        &name,
        &format!(
            "{} requests in flight at the fault (slowest before: {}); the last affected one began \
             {} after; healthy again in {}",
            in_flight,
            format_duration(usual),
            format_duration(last),
            format_duration(healthy)
        ),
    );
    // Idempotent requests never fail; others only if they were in flight to the failed replica.
    let wrong = exchanges.iter().filter(|exchange| {
        exchange.failed()
            && (exchange.idempotent || (fault == Fault::Kill && exchange.began > after))
    });
    let wrong = failures(wrong);
    ensure!(
        wrong.is_empty(),
        "these had to be answered by another replica:\n- {}",
        wrong.join("\n- ")
    );
    let late: Vec<&Exchange> =
        exchanges.iter().filter(|exchange| exchange.began > noticed).filter(affected).collect();
    Ok(late
        .iter()
        .map(|exchange| {
            format!(
                "began {} after: {}",
                format_duration(exchange.began - before),
                describe(&[exchange])
            )
        })
        .collect())
}

fn describe(exchanges: &[&Exchange]) -> String {
    let line = |exchange: &&Exchange| {
        format!(
            "{}: {:?} after {}",
            exchange.request,
            exchange.outcome,
            format_duration(exchange.took)
        )
    };
    exchanges.iter().take(20).map(line).collect::<Vec<_>>().join("\n- ")
}

async fn inject_into_each_role(name: &str, fault: Fault) {
    with_stack(name, async |stack: &Stack| {
        // Test all services before reporting failures.
        let mut faults = Vec::new();
        for service in ["api", "db", "logging"] {
            let mut outcome = inject_fault(stack, service, fault).await;
            if outcome.as_ref().is_ok_and(|late| !late.is_empty()) {
                progress(name, &format!("{service}: once more, as some requests noticed it late"));
                outcome = inject_fault(stack, service, fault).await;
            }
            match outcome {
                Ok(late) if late.is_empty() => {}
                Ok(late) => faults.push(format!(
                    "{service}: noticed after {}:\n- {}",
                    format_duration(fault.detection_time(service)),
                    late.join("\n- ")
                )),
                Err(error) => {
                    faults.push(format!("{service}: {error:#}"));
                    stack.wait_healthy().await?;
                }
            }
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn killed_replica_fails_only_requests_in_flight() {
    inject_into_each_role("kill", Fault::Kill).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn paused_replica_is_detected_in_time() {
    inject_into_each_role("pause", Fault::Pause).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn disconnected_replica_is_detected_in_time() {
    inject_into_each_role("disconnect", Fault::Disconnect).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn orders_continue_without_kafka_and_events_follow() {
    with_stack("kafka away", async |stack: &Stack| {
        let kafka = stack.container("kafka").await?;
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(1)).await;
        kafka.kill().await?;
        workload.load.run(Duration::from_secs(6)).await;
        let waiting = stack.psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL").await?;
        ensure!(waiting != "0", "expected that events wait while Kafka is away");
        // The other roles stay ready without Kafka.
        kafka.start().await?;
        let healthy = kafka.wait_healthy(Duration::from_secs(60)).await?;
        let shipped = wait_until_shipped(stack).await?;
        progress(
            "kafka away",
            &format!(
                "{waiting} events waited; Kafka was healthy in {}, all were shipped {} later",
                format_duration(healthy),
                format_duration(shipped)
            ),
        );
        let (_, exchanges) = workload.check(stack, "kafka away").await?;
        expect_no_failures(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn postgres_outage_is_503_with_retry_after() {
    with_stack("postgres away", async |stack: &Stack| {
        let postgres = stack.container("postgres").await?;
        let client = stack.client()?;
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(1)).await;
        postgres.kill().await?;
        workload.load.run(Duration::from_secs(4)).await;
        postgres.start().await?;
        let up = postgres.wait_healthy(Duration::from_secs(60)).await?;
        let again = wait_until_selling(&client, Duration::from_secs(30)).await?;
        workload.load.run(Duration::from_secs(2)).await;
        let (_, exchanges) = workload.check(stack, "postgres away").await?;
        let failed: Vec<&Exchange> =
            exchanges.iter().filter(|exchange| exchange.failed()).collect();
        ensure!(!failed.is_empty(), "expected that buyers notice");
        let proper = |exchange: &&&Exchange| {
            exchange.outcome == Outcome::Answered(503) && exchange.retry_after.is_some()
        };
        let proper = failed.iter().filter(proper).count();
        progress(
            "postgres away",
            &format!(
                "{proper} of {} failures are 503 with Retry-After; up in {}, sold {} later",
                failed.len(),
                format_duration(up),
                format_duration(again)
            ),
        );
        ensure!(
            proper == failed.len(),
            "expected only 503 with Retry-After:\n- {}",
            describe(&failed)
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn outbox_leader_fails_over() {
    with_stack("shipper", async |stack: &Stack| {
        let sent = async |container: &Container| {
            Ok::<_, anyhow::Error>(sum_metric(
                &stack.metrics(container).await?,
                "merch_log_ship_sent_events_total",
            ))
        };
        let replicas = stack.containers(Some("db")).await?;
        let mut before = Vec::new();
        for replica in &replicas {
            before.push(sent(replica).await?);
        }
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(2)).await;
        let (mut shippers, mut others) = (Vec::new(), Vec::new());
        for (replica, before) in replicas.iter().zip(before) {
            if sent(replica).await? > before {
                shippers.push(replica)
            } else {
                others.push(replica)
            }
        }
        let ([shipper], [other]) = (&shippers[..], &others[..]) else {
            bail!("expected one db that ships, got {shippers:?}")
        };
        let before = sent(other).await?;
        let killed_at = Instant::now();
        shipper.kill().await?;
        let look = async || {
            ensure!(sent(other).await? > before, "{other} has shipped nothing since");
            Ok(())
        };
        wait_until("the other db to ship", Duration::from_secs(30), look).await?;
        let took = killed_at.elapsed();
        progress(
            "shipper",
            &format!(
                "the other db had shipped at the latest {} after the first was killed",
                format_duration(took)
            ),
        );
        shipper.start().await?;
        workload.check(stack, "shipper").await.map(drop)
    })
    .await;
}
