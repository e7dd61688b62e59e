//! Containers that die, freeze or vanish under load: buyers hardly notice, nothing is lost, and
//! whoever comes back serves again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use merch_deploy_tests::{
    audit::all_shipped,
    container::{Container, Disconnected},
    http::{Exchange, Outcome},
    shared::{figure, seconds},
    stack::Stack,
    wait::until,
};

use crate::{Shopping, failures, none_failed, on_stack, selling, slowest, sum};

/// A request that takes longer than this was waiting for somebody who is not there; on a machine
/// that is slow by itself, longer than thrice what the slowest took while all was well.
const SLOW: Duration = Duration::from_millis(1500);

/// What happens to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// SIGKILL.
    Kill,
    /// It is frozen: its address takes connections and nobody answers.
    Pause,
    /// It is taken from its networks: what is sent to it is lost.
    Disconnect,
}

/// How to undo it.
enum Undo {
    Start,
    Unpause,
    Connect(Disconnected),
}

impl Blow {
    /// How long after it the others may still be slow or fail: the time to notice.
    ///
    /// The api and the shippers ask every replica how it is. NGINX asks nobody, and learns of an
    /// api that takes connections and says nothing by a read that is not answered within 6 s
    /// (deploy/nginx/conf/again.conf).
    fn noticed_within(self, service: &str) -> Duration {
        match (self, service) {
            (Self::Kill, _) => Duration::from_secs(1),
            (Self::Pause | Self::Disconnect, "api") => Duration::from_secs(7),
            (Self::Pause | Self::Disconnect, _) => Duration::from_secs(2),
        }
    }

    /// How long the container is away: longer than it takes to notice, so that there is something
    /// to see afterwards.
    fn away(self, service: &str) -> Duration {
        self.noticed_within(service) + Duration::from_secs(3)
    }

    async fn strike(self, container: &Container) -> Result<Undo> {
        Ok(match self {
            Self::Kill => {
                container.kill().await?;
                Undo::Start
            }
            Self::Pause => {
                container.pause().await?;
                Undo::Unpause
            }
            Self::Disconnect => Undo::Connect(container.disconnect().await?),
        })
    }
}

/// Strikes one replica of a service under load, brings it back, and compares everything. The
/// requests that noticed it too late are in the answer: they may have been slow because the machine
/// is.
async fn strike(stack: &Stack, service: &str, blow: Blow) -> Result<Vec<String>> {
    let name = format!("{blow:?} {service}").to_lowercase();
    let container = stack.one(service).await?;
    let shopping = Shopping::start(stack).await?;
    shopping.load.run(Duration::from_secs(2)).await;
    let before = Instant::now();
    let undo = blow.strike(&container).await?;
    let after = Instant::now();
    shopping.load.run(blow.away(service)).await;
    let back = Instant::now();
    match undo {
        Undo::Start => container.start().await?,
        Undo::Unpause => container.unpause().await?,
        Undo::Connect(disconnected) => disconnected.connect().await?,
    }
    let healthy = container.healthy(Duration::from_secs(40)).await?;
    shopping.load.run(Duration::from_secs(2)).await;
    let (_, exchanges) = shopping.audit(stack, &name).await?;

    let noticed = after + blow.noticed_within(service);
    let usual = slowest(exchanges.iter().filter(|exchange| exchange.ended() < before));
    let slow = SLOW.max(3 * usual);
    let hurt = |exchange: &&Exchange| exchange.failed() || exchange.took > slow;
    let last = exchanges
        .iter()
        .filter(hurt)
        .filter(|exchange| exchange.began < back)
        .map(|exchange| exchange.began)
        .max();
    let last = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(before));
    let in_flight = exchanges
        .iter()
        .filter(|exchange| exchange.began <= after && exchange.ended() >= before)
        .count();
    figure(
        &name,
        &format!(
            "{} under way when it was struck (the slowest before took {}); the last that noticed began {} after; healthy again in {}",
            in_flight,
            seconds(usual),
            seconds(last),
            seconds(healthy)
        ),
    );
    // What may be sent again never fails, and else only what was under way to the one that is gone.
    let wrong = exchanges.iter().filter(|exchange| {
        exchange.failed() && (exchange.repeatable || (blow == Blow::Kill && exchange.began > after))
    });
    let wrong = failures(wrong);
    ensure!(
        wrong.is_empty(),
        "these had to be answered by another replica:\n- {}",
        wrong.join("\n- ")
    );
    let late: Vec<&Exchange> =
        exchanges.iter().filter(|exchange| exchange.began > noticed).filter(hurt).collect();
    Ok(late
        .iter()
        .map(|exchange| {
            format!("began {} after: {}", seconds(exchange.began - before), told(&[exchange]))
        })
        .collect())
}

fn told(exchanges: &[&Exchange]) -> String {
    let line = |exchange: &&Exchange| {
        format!("{}: {:?} after {}", exchange.request, exchange.outcome, seconds(exchange.took))
    };
    exchanges.iter().take(20).map(line).collect::<Vec<_>>().join("\n- ")
}

async fn strike_each(name: &str, blow: Blow) {
    on_stack(name, async |stack: &Stack| {
        // All of them, also when one disappoints: a report of one fault at a time is a long road.
        let mut faults = Vec::new();
        for service in ["api", "db", "logging"] {
            let mut outcome = strike(stack, service, blow).await;
            if outcome.as_ref().is_ok_and(|late| !late.is_empty()) {
                figure(name, &format!("{service}: once more, as some requests noticed it late"));
                outcome = strike(stack, service, blow).await;
            }
            match outcome {
                Ok(late) if late.is_empty() => {}
                Ok(late) => faults.push(format!(
                    "{service}: noticed after {}:\n- {}",
                    seconds(blow.noticed_within(service)),
                    late.join("\n- ")
                )),
                Err(error) => {
                    faults.push(format!("{service}: {error:#}"));
                    stack.settle().await?;
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
async fn a_killed_replica_costs_only_what_was_in_flight_to_it() {
    strike_each("kill", Blow::Kill).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_paused_replica_is_left_alone_in_time() {
    strike_each("pause", Blow::Pause).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_disconnected_replica_is_left_alone_in_time() {
    strike_each("disconnect", Blow::Disconnect).await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn without_kafka_the_store_goes_on_selling_and_events_arrive_later() {
    on_stack("kafka away", async |stack: &Stack| {
        let kafka = stack.one("kafka").await?;
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(1)).await;
        kafka.kill().await?;
        shopping.load.run(Duration::from_secs(6)).await;
        let waiting = stack.psql("SELECT count(*) FROM outbox WHERE shipped_at IS NULL").await?;
        ensure!(waiting != "0", "expected that events wait while Kafka is away");
        // A role without its Kafka is not ready, and the others do not care.
        kafka.start().await?;
        let healthy = kafka.healthy(Duration::from_secs(60)).await?;
        let shipped = all_shipped(stack).await?;
        figure(
            "kafka away",
            &format!(
                "{waiting} events waited; Kafka was healthy in {}, all were shipped {} later",
                seconds(healthy),
                seconds(shipped)
            ),
        );
        let (_, exchanges) = shopping.audit(stack, "kafka away").await?;
        none_failed(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn without_postgres_there_is_503_with_retry_after_and_then_trade_again() {
    on_stack("postgres away", async |stack: &Stack| {
        let postgres = stack.one("postgres").await?;
        let client = stack.client()?;
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(1)).await;
        postgres.kill().await?;
        shopping.load.run(Duration::from_secs(4)).await;
        postgres.start().await?;
        let up = postgres.healthy(Duration::from_secs(60)).await?;
        let again = selling(&client, Duration::from_secs(30)).await?;
        shopping.load.run(Duration::from_secs(2)).await;
        let (_, exchanges) = shopping.audit(stack, "postgres away").await?;
        let failed: Vec<&Exchange> =
            exchanges.iter().filter(|exchange| exchange.failed()).collect();
        ensure!(!failed.is_empty(), "expected that buyers notice");
        let proper = |exchange: &&&Exchange| {
            exchange.outcome == Outcome::Answered(503) && exchange.retry_after.is_some()
        };
        let proper = failed.iter().filter(proper).count();
        figure(
            "postgres away",
            &format!(
                "{proper} of {} failures are 503 with Retry-After; up in {}, sold {} later",
                failed.len(),
                seconds(up),
                seconds(again)
            ),
        );
        ensure!(proper == failed.len(), "expected only 503 with Retry-After:\n- {}", told(&failed));
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn the_outbox_has_one_shipper_and_another_when_that_one_dies() {
    on_stack("shipper", async |stack: &Stack| {
        let sent = async |container: &Container| {
            Ok::<_, anyhow::Error>(sum(
                &stack.metrics(container).await?,
                "merch_log_ship_sent_events_total",
            ))
        };
        let replicas = stack.containers(Some("db")).await?;
        let mut before = Vec::new();
        for replica in &replicas {
            before.push(sent(replica).await?);
        }
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(2)).await;
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
        let struck = Instant::now();
        shipper.kill().await?;
        let look = async || {
            ensure!(sent(other).await? > before, "{other} has shipped nothing since");
            Ok(())
        };
        until("the other db to ship", Duration::from_secs(30), look).await?;
        let took = struck.elapsed();
        figure(
            "shipper",
            &format!(
                "the other db had shipped at the latest {} after the first was killed",
                seconds(took)
            ),
        );
        shipper.start().await?;
        shopping.audit(stack, "shipper").await.map(drop)
    })
    .await;
}
