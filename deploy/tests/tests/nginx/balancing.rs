//! Replicas are discovered and left, and upstream connections are reused.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::{StreamExt as _, stream};
use merch_deploy_tests::wait::wait_until;

use crate::{
    client::send,
    mock_api::{MockReplicas, Reply},
    proxy::Proxy,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn new_replicas_are_found_and_dead_ones_left() {
    let mut replicas = MockReplicas::start(1, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let added = replicas.add().await;
    replicas.list_all();
    let found = async || {
        proxy.get("/products").await;
        ensure!(
            replicas.take().iter().any(|request| request.replica == added),
            "only the first one serves"
        );
        Ok(())
    };
    let (_, took) =
        wait_until("the second replica to serve", Duration::from_secs(5), found).await.unwrap();
    println!("a new replica serves after {took:?}");

    // Killed but still listed: another replica answers, also where retries are forbidden.
    replicas.kill(0).await;
    let killed = Instant::now();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"].repeat(10) {
        let response = send(proxy.port, method, "/users/1", "", "{}").await;
        assert_eq!(response.status, 200, "{method} {:?} after the kill", killed.elapsed());
    }
    assert!(replicas.take().iter().all(|request| request.replica == added));
    replicas.list_all();
    for _ in 0..10 {
        assert_eq!(proxy.get("/products").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn all_replicas_serve_over_few_connections() {
    const REQUESTS: usize = 1000;
    let replicas = MockReplicas::start(3, |_| Reply::ok()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let port = proxy.port;
    let send = |number: usize| async move {
        let (method, path) =
            if number.is_multiple_of(2) { ("GET", "/products") } else { ("POST", "/users") };
        send(port, method, path, "", if method == "POST" { "{}" } else { "" }).await.status
    };
    let statuses: Vec<u16> =
        stream::iter(0..REQUESTS).map(send).buffer_unordered(16).collect().await;
    assert!(statuses.iter().all(|status| *status == 200));
    let seen = replicas.take();
    assert_eq!(seen.len(), REQUESTS);
    let mut of_each = BTreeMap::new();
    seen.iter().for_each(|request| *of_each.entry(request.replica).or_insert(0) += 1);
    assert!(
        of_each.len() == 3 && of_each.values().all(|served| *served > REQUESTS / 6),
        "{of_each:?}"
    );
    let connections: BTreeSet<u64> = seen.iter().map(|request| request.connection).collect();
    println!("{REQUESTS} requests over {} connections, by replica {of_each:?}", connections.len());
    assert!(connections.len() <= REQUESTS / 10, "{} connections", connections.len());
}
