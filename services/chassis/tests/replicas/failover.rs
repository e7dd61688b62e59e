use std::time::Duration;

use merch_chassis::grpc::replicas::Idempotency;
use tokio::time::{Instant, sleep};

use crate::support::{LoadGenerator, Process, Server, call, replicas, until};

const RETRYABLE: [Idempotency; 4] =
    [Idempotency::Safe, Idempotency::Idempotent, Idempotency::Safe, Idempotency::Idempotent];
const ALL: [Idempotency; 6] = [
    Idempotency::Safe,
    Idempotency::Idempotent,
    Idempotency::NonIdempotent,
    Idempotency::Safe,
    Idempotency::Idempotent,
    Idempotency::NonIdempotent,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replica_fails_no_retryable_call() {
    let (healthy, killed) = (Server::start().await, Server::start().await);
    let (address, replicas) = (killed.address, replicas([healthy.address, killed.address]).await);
    let load = LoadGenerator::start(&replicas, &RETRYABLE);
    until("both serve calls", || healthy.calls() > 20 && killed.calls() > 20).await;
    killed.kill();
    let out = until("it is out", || replicas.serving() == 1).await;
    let again = Server::start_at(address).await;
    let back = until("it is back", || replicas.serving() == 2).await;
    until("it serves calls again", || again.calls() > 20).await;
    let outcome = load.end().await;
    println!(
        "killed: out after {out:?}, back {back:?} after its start; {} calls, the longest {:?}",
        outcome.answered, outcome.longest
    );
    assert!(out < Duration::from_secs(1), "{out:?}");
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_replica_is_ejected_and_fails_no_retryable_call() {
    let (healthy, paused) = (Server::start().await, Process::start());
    let replicas = replicas([healthy.address, paused.address]).await;
    let load = LoadGenerator::start(&replicas, &RETRYABLE);
    until("calls are served", || healthy.calls() > 20).await;
    paused.pause();
    let out = until("it is out", || replicas.serving() == 1).await;
    let served = healthy.calls();
    sleep(Duration::from_secs(3)).await;
    assert!(healthy.calls() > served);
    paused.resume();
    let back = until("it is back", || replicas.serving() == 2).await;
    let outcome = load.end().await;
    println!(
        "paused: out after {out:?}, back {back:?} after it went on; {} calls, the longest {:?}",
        outcome.answered, outcome.longest
    );
    assert!(out < Duration::from_secs(2), "{out:?}");
    assert!(
        outcome.longest < Duration::from_secs(3),
        "a call waited for a paused replica: {:?}",
        outcome.longest
    );
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_on_the_only_replica_survives_a_pause() {
    let paused = Process::start();
    let replicas = replicas([paused.address]).await;
    paused.pause();
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Idempotency::NonIdempotent, "").await }
    });
    until("it does not count as serving", || replicas.serving() == 0).await;
    paused.resume();
    assert_eq!(waiting.await.unwrap().unwrap(), paused.address.to_string());
    until("it serves", || replicas.serving() == 1).await;
}

async fn rolling_restart(delay: Duration) {
    let mut servers = vec![Server::start().await, Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let load = LoadGenerator::start(&replicas, &ALL);
    let start = Instant::now();
    for _ in 0..2 {
        for _ in 0..3 {
            let server = servers.remove(0);
            let address = server.address;
            until("it serves calls", || server.calls() > 20).await;
            server.stop(delay).await;
            until("it is out", || replicas.serving() == 2).await;
            servers.push(Server::start_at(address).await);
            until("it is back", || replicas.serving() == 3).await;
        }
    }
    let took = start.elapsed();
    let outcome = load.end().await;
    println!(
        "six restarts with a delay of {delay:?} in {took:?}: {} calls, the longest {:?}",
        outcome.answered, outcome.longest
    );
    assert!(outcome.failed.is_empty(), "of {}: {:?}", outcome.answered, outcome.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_fails_no_call() {
    rolling_restart(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_without_delay_fails_no_call() {
    rolling_restart(Duration::ZERO).await;
}
