//! Discovery and balancing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use merch_chassis::{
    Readiness,
    grpc::{
        Transport,
        replicas::{CallError, Endpoints, Idempotency, Replicas},
    },
};
use tokio::{net::TcpListener, time::Instant};

use crate::support::{FakeResolver, SERVICE, Server, call, replicas, until};

fn insecure() -> Transport {
    Transport::new(None, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_replicas_are_picked_round_robin() {
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let mut answers = HashMap::<String, usize>::new();
    for _ in 0..30 {
        *answers.entry(call(&replicas, Idempotency::Safe, "").await.unwrap()).or_default() += 1;
    }
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn least_loaded_replica_is_picked() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Idempotency::NonIdempotent, "hang").await }
    });
    until("one hangs", || servers.iter().any(|server| server.calls() == 1)).await;
    let free = servers.iter().find(|server| server.calls() == 0).unwrap().address.to_string();
    for _ in 0..20 {
        assert_eq!(call(&replicas, Idempotency::Safe, "").await.unwrap(), free);
    }
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_periodically_and_failures_keep_addresses() {
    let (first, second) = (Server::start().await, Server::start().await);
    let names = Arc::new(FakeResolver::default());
    let replicas = Replicas::discover_with(
        Endpoints::parse("test", "http://echo:1", &insecure()).unwrap(),
        SERVICE,
        Arc::clone(&names) as _,
    );

    names.set([first.address]);
    until("the first serves", || replicas.serving() == 1).await;
    names.set([first.address, second.address]);
    let found = until("the second serves", || replicas.serving() == 2).await;
    println!("a new address serves after {found:?}");
    assert!(found < Duration::from_secs(1), "{found:?}");

    names.fail();
    let lookups = names.lookups.load(std::sync::atomic::Ordering::SeqCst);
    let twice = until("it has failed twice", || {
        names.lookups.load(std::sync::atomic::Ordering::SeqCst) >= lookups + 2
    })
    .await;
    assert!(twice < Duration::from_secs(2), "{twice:?}");
    assert_eq!(replicas.serving(), 2);
    names.set([]);
    let lookups = names.lookups.load(std::sync::atomic::Ordering::SeqCst);
    until("no address was the answer twice", || {
        names.lookups.load(std::sync::atomic::Ordering::SeqCst) >= lookups + 2
    })
    .await;
    assert_eq!(replicas.serving(), 2);

    names.set([second.address]);
    until("the first is removed", || replicas.serving() == 1).await;
    for _ in 0..5 {
        assert_eq!(
            call(&replicas, Idempotency::Safe, "").await.unwrap(),
            second.address.to_string()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unhealthy_and_silent_replicas_get_no_calls() {
    let (ready, starting) = (Server::start().await, Server::start().await);
    let part = starting.readiness.part("database");
    // The kernel accepts connections, but no process reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names = Arc::new(FakeResolver::default());
    names.set([ready.address, starting.address, silent.local_addr().unwrap()]);
    let replicas = Replicas::discover_with(
        Endpoints::parse("test", "http://echo:1", &insecure()).unwrap(),
        SERVICE,
        Arc::clone(&names) as _,
    );
    until("one serves", || replicas.serving() == 1).await;
    for _ in 0..20 {
        assert_eq!(
            call(&replicas, Idempotency::NonIdempotent, "").await.unwrap(),
            ready.address.to_string()
        );
    }
    assert_eq!((replicas.serving(), starting.calls()), (1, 0));
    part.ready();
    let found = until("the other is ready, too", || replicas.serving() == 2).await;
    assert!(found < Duration::from_secs(1), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_a_replica_up_to_the_pending_limit() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let replicas = Replicas::discover(
        Endpoints::parse("test", &format!("http://{address}"), &insecure()).unwrap(),
        SERVICE,
    );
    let readiness = Readiness::default();
    let part = readiness.part("test");
    tokio::spawn({
        let replicas = replicas.clone();
        async move { replicas.report_readiness(&part).await }
    });

    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { call(&replicas, Idempotency::NonIdempotent, "").await }
    });
    let server = Server::start_at(address).await;
    assert_eq!(waiting.await.unwrap().unwrap(), address.to_string());
    until("the part is ready", || readiness.check().is_ok()).await;

    server.kill();
    until("it is out", || replicas.serving() == 0).await;
    let start = Instant::now();
    assert!(matches!(
        call(&replicas, Idempotency::NonIdempotent, "").await,
        Err(CallError::NoReplica)
    ));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(matches!(call(&replicas, Idempotency::Safe, "").await, Err(CallError::NoReplica)));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let reasons = readiness.check().unwrap_err();
    assert_eq!(reasons[0].1, format!("no healthy test replica at http://{address}"));

    let calls: Vec<_> = (0..600)
        .map(|_| {
            let replicas = replicas.clone();
            tokio::spawn(async move { call(&replicas, Idempotency::NonIdempotent, "").await })
        })
        .collect();
    let _server = Server::start_at(address).await;
    let (mut succeeded, mut failed) = (0, 0);
    for outcome in calls {
        match outcome.await.unwrap() {
            Ok(_) => succeeded += 1,
            Err(CallError::NoReplica) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(succeeded >= 256 && failed > 0, "{succeeded} succeeded, {failed} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_keys_are_spread_and_sticky() {
    let servers = [Server::start().await, Server::start().await];
    let replicas = replicas(servers.iter().map(|server| server.address)).await;
    let mut streams = HashMap::<_, usize>::new();
    for seed in 0..100 {
        let address = replicas.pick_by_hash(seed).await.address();
        assert_eq!(replicas.preferred_address(seed).as_ref(), Some(&address));
        *streams.entry(address).or_default() += 1;
    }
    assert!(streams.len() == 2 && streams.values().all(|streams| *streams >= 25), "{streams:?}");
}
