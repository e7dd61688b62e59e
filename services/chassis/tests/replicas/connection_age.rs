use std::time::Duration;

use merch_chassis::grpc::{self, replicas::Idempotency};

use crate::support::{LoadGenerator, Server, limits, replicas_of, until};

const ALL: [Idempotency; 6] = [
    Idempotency::Safe,
    Idempotency::Idempotent,
    Idempotency::NonIdempotent,
    Idempotency::Safe,
    Idempotency::Idempotent,
    Idempotency::NonIdempotent,
];
const CONNECTIONS: usize = 6;

fn removed(service: &str) -> f64 {
    let families = prometheus::gather();
    let removed = families.iter().filter(|family| family.name() == "merch_replicas_removed_total");
    let of_service = removed
        .flat_map(|family| family.get_metric())
        .filter(|metric| metric.get_label().iter().any(|label| label.value() == service));
    of_service.map(|metric| metric.get_counter().get_value()).sum()
}

async fn age_under_load(of: &'static str, servers: usize) {
    let limits = grpc::Limits { connection_age: Duration::from_millis(300), ..limits() };
    let mut all = Vec::new();
    for _ in 0..servers {
        all.push(Server::start_with(([127, 0, 0, 1], 0).into(), limits.clone()).await);
    }
    let replicas = replicas_of(of, all.iter().map(|server| server.address)).await;
    let load = LoadGenerator::start(&replicas, &ALL);
    until("connections are replaced", || {
        all.iter().all(|server| server.connections() >= CONNECTIONS)
    })
    .await;
    let outcome = load.end().await;
    println!("{of}: {} calls, the longest {:?}", outcome.answered, outcome.longest);
    assert!(outcome.failed.is_empty(), "of {}: {:?}", outcome.answered, outcome.failed);
    // The caller's readiness must not change. One removal is tolerated for slow machines.
    assert!(removed(of) <= 1.0, "removed {} times", removed(of));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_replica_fails_no_call_at_connection_age() {
    age_under_load("aging-alone", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_replicas_fail_no_call_at_connection_age() {
    age_under_load("aging-several", 3).await;
}
