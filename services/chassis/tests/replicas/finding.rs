//! Which replicas there are, and who of them gets a call.

use std::{collections::HashMap, sync::Arc, time::Duration};

use merch_chassis::{
    Readiness,
    grpc::{
        Transport,
        replicas::{CallError, Endpoints, Kind, Replicas},
    },
};
use tokio::{net::TcpListener, time::Instant};

use crate::support::{Names, SERVICE, Server, call, replicas, until};

/// Plaintext to any name.
fn insecure() -> Transport {
    Transport::new(None, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_take_turns() {
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let mut answers = HashMap::<String, usize>::new();
    for _ in 0..30 {
        *answers.entry(call(&replicas, Kind::Safe, "").await.unwrap()).or_default() += 1;
    }
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_loaded_gets_the_call() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Kind::Once, "hang").await }
    });
    until("one hangs", || servers.iter().any(|server| server.calls() == 1)).await;
    let free = servers.iter().find(|server| server.calls() == 0).unwrap().address.to_string();
    for _ in 0..20 {
        assert_eq!(call(&replicas, Kind::Safe, "").await.unwrap(), free);
    }
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up_again_and_a_failed_look_up_keeps_the_last_answer() {
    let (first, second) = (Server::start().await, Server::start().await);
    let names = Arc::new(Names::default());
    let replicas = Replicas::find_with(
        Endpoints::parse("test", "http://echo:1", &insecure()).unwrap(),
        SERVICE,
        Arc::clone(&names) as _,
    );

    names.are([first.address]);
    until("the first serves", || replicas.serving() == 1).await;
    names.are([first.address, second.address]);
    let found = until("the second serves", || replicas.serving() == 2).await;
    println!("a new address serves after {found:?}");
    assert!(found < Duration::from_secs(1), "{found:?}");

    names.fail();
    let asked = names.asked.load(std::sync::atomic::Ordering::SeqCst);
    let twice = until("it has failed twice", || {
        names.asked.load(std::sync::atomic::Ordering::SeqCst) >= asked + 2
    })
    .await;
    assert!(twice < Duration::from_secs(2), "{twice:?}");
    assert_eq!(replicas.serving(), 2);
    names.are([]);
    let asked = names.asked.load(std::sync::atomic::Ordering::SeqCst);
    until("no address was the answer twice", || {
        names.asked.load(std::sync::atomic::Ordering::SeqCst) >= asked + 2
    })
    .await;
    assert_eq!(replicas.serving(), 2);

    names.are([second.address]);
    until("the first is forgotten", || replicas.serving() == 1).await;
    for _ in 0..5 {
        assert_eq!(call(&replicas, Kind::Safe, "").await.unwrap(), second.address.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_ready_or_answers_nothing_gets_no_call() {
    let (ready, starting) = (Server::start().await, Server::start().await);
    let part = starting.readiness.part("database");
    // Connections are taken by the system, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names = Arc::new(Names::default());
    names.are([ready.address, starting.address, silent.local_addr().unwrap()]);
    let replicas = Replicas::find_with(
        Endpoints::parse("test", "http://echo:1", &insecure()).unwrap(),
        SERVICE,
        Arc::clone(&names) as _,
    );
    until("one serves", || replicas.serving() == 1).await;
    for _ in 0..20 {
        assert_eq!(call(&replicas, Kind::Once, "").await.unwrap(), ready.address.to_string());
    }
    assert_eq!((replicas.serving(), starting.calls()), (1, 0));
    part.ready();
    let found = until("the other is ready, too", || replicas.serving() == 2).await;
    assert!(found < Duration::from_secs(1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_replica_calls_wait_a_little_unless_there_are_many() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let replicas = Replicas::find(
        Endpoints::parse("test", &format!("http://{address}"), &insecure()).unwrap(),
        SERVICE,
    );
    let readiness = Readiness::default();
    let part = readiness.part("test");
    tokio::spawn({
        let replicas = replicas.clone();
        async move { replicas.follow(&part).await }
    });

    // It comes while a call waits for it.
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Kind::Once, "").await }
    });
    let server = Server::start_at(address).await;
    assert_eq!(waiting.await.unwrap().unwrap(), address.to_string());
    until("the part is ready", || readiness.check().is_ok()).await;

    // It goes: calls wait, the first ones longest.
    server.kill();
    until("it is out", || replicas.serving() == 0).await;
    let begun = Instant::now();
    assert!(matches!(call(&replicas, Kind::Once, "").await, Err(CallError::NoReplica)));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(matches!(call(&replicas, Kind::Safe, "").await, Err(CallError::NoReplica)));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let reasons = readiness.check().unwrap_err();
    assert_eq!(
        reasons[0].1,
        format!("no test service at http://{address} answers that it is serving")
    );

    // Of very many at once most are told at once, and the others get the answer when it comes back.
    let calls: Vec<_> = (0..600)
        .map(|_| {
            let replicas = replicas.clone();
            tokio::spawn(async move { call(&replicas, Kind::Once, "").await })
        })
        .collect();
    let _server = Server::start_at(address).await;
    let (mut answered, mut told) = (0, 0);
    for outcome in calls {
        match outcome.await.unwrap() {
            Ok(_) => answered += 1,
            Err(CallError::NoReplica) => told += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(answered >= 256 && told > 0, "{answered} answered, {told} told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_many_seeds_are_spread_and_each_keeps_its_own() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let mut streams = HashMap::<_, usize>::new();
    for seed in 0..100 {
        let address = replicas.hold(seed).await.address();
        assert_eq!(replicas.favourite(seed).as_ref(), Some(&address));
        *streams.entry(address).or_default() += 1;
    }
    assert!(streams.len() == 2 && streams.values().all(|streams| *streams >= 25), "{streams:?}");
}
