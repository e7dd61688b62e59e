//! Replicas that die, hang and are restarted under load.

use std::time::Duration;

use merch_chassis::grpc::replicas::Kind;
use tokio::time::{Instant, sleep};

use crate::support::{Load, Process, Server, call, replicas, until};

const HARMLESS: [Kind; 4] = [Kind::Safe, Kind::Keyed, Kind::Safe, Kind::Keyed];
const ALL: [Kind; 6] = [Kind::Safe, Kind::Keyed, Kind::Once, Kind::Safe, Kind::Keyed, Kind::Once];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_is_out_at_once_and_no_harmless_call_fails() {
    let (stays, dies) = (Server::start().await, Server::start().await);
    let (address, replicas) = (dies.address, replicas([stays.address, dies.address]).await);
    let load = Load::start(&replicas, &HARMLESS);
    until("both serve calls", || stays.calls() > 20 && dies.calls() > 20).await;
    dies.kill();
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
async fn a_paused_replica_is_out_within_two_seconds_and_no_harmless_call_fails() {
    let (stays, pauses) = (Server::start().await, Process::start());
    let replicas = replicas([stays.address, pauses.address]).await;
    let load = Load::start(&replicas, &HARMLESS);
    until("calls are served", || stays.calls() > 20).await;
    pauses.pause();
    let out = until("it is out", || replicas.serving() == 1).await;
    // Long enough for its connection to be given up.
    let served = stays.calls();
    sleep(Duration::from_secs(3)).await;
    assert!(stays.calls() > served);
    pauses.resume();
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
async fn one_that_is_paused_alone_is_waited_for() {
    let pauses = Process::start();
    let replicas = replicas([pauses.address]).await;
    pauses.pause();
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Kind::Once, "").await }
    });
    until("it does not count as serving", || replicas.serving() == 0).await;
    pauses.resume();
    // Where there is nowhere else to go, a call that is under way is answered when the replica goes
    // on.
    assert_eq!(waiting.await.unwrap().unwrap(), pauses.address.to_string());
    until("it serves", || replicas.serving() == 1).await;
}

/// SIGTERM to each of three, one after another, under load of every kind of call.
async fn rolling_restart(delay: Duration) {
    let mut servers = vec![Server::start().await, Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let load = Load::start(&replicas, &ALL);
    let begun = Instant::now();
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
    let took = begun.elapsed();
    let outcome = load.end().await;
    println!(
        "six restarts with a delay of {delay:?} in {took:?}: {} calls, the longest {:?}",
        outcome.answered, outcome.longest
    );
    assert!(outcome.failed.is_empty(), "of {}: {:?}", outcome.answered, outcome.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    rolling_restart(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_without_a_delay_fails_no_call_either() {
    rolling_restart(Duration::ZERO).await;
}
