//! Which requests NGINX sends to a second replica when the first one fails.

use std::time::{Duration, Instant};

use crate::{
    client::send,
    mock_api::{MockReplicas, Reply, close_on_first_attempt},
    problems::assert_problem,
    proxy::Proxy,
};

/// NGINX avoids a failed replica for a while, so there have to be enough.
const REPLICAS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn idempotent_requests_are_retried_on_another_replica() {
    let replicas = MockReplicas::start(REPLICAS, close_on_first_attempt()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (method, path, headers, body) in [
        ("GET", "/products", "", ""),
        ("HEAD", "/products", "", ""),
        ("OPTIONS", "/products", "", ""),
        ("GET", "/docs/page.css", "", ""),
        ("POST", "/orders", "Idempotency-Key: k-1\r\n", r#"{"product_id":1,"quantity":2}"#),
        ("POST", "/orders?x=y", "Idempotency-Key: k-1\r\n", r#"{"product_id":1,"quantity":2}"#),
    ] {
        let response = send(proxy.port, method, path, headers, body).await;
        assert_eq!(response.status, 200, "{method} {path}");
        let seen = replicas.take();
        assert_eq!(seen.len(), 2, "{method} {path}");
        assert_ne!(seen[0].replica, seen[1].replica, "{method} {path}");
        for request in &seen {
            assert_eq!(
                (request.method.as_str(), request.target.as_str(), request.body.as_slice()),
                (method, path, body.as_bytes())
            );
            assert_eq!(request.all("idempotency-key").len(), usize::from(!headers.is_empty()));
        }
        assert_eq!(seen[0].id(), seen[1].id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn non_idempotent_requests_are_never_repeated() {
    let replicas = MockReplicas::start(REPLICAS, close_on_first_attempt()).await;
    let proxy = Proxy::start(&replicas, &[]).await;
    for (method, path, headers) in [
        ("POST", "/orders", ""),
        ("POST", "/orders", "Idempotency-Key:\r\n"),
        ("POST", "/login", ""),
        // Only POST /orders supports keys.
        ("POST", "/users", "Idempotency-Key: k-1\r\n"),
        ("POST", "/orders/1/cancel", "Idempotency-Key: k-1\r\n"),
        // HTTP defines these as idempotent, but a repeated password change fails: the old password
        // is then wrong.
        ("PUT", "/users/1/password", ""),
        ("DELETE", "/users/1", ""),
        ("PROPFIND", "/users/1", ""),
        ("PUT", "/login", ""),
        ("PATCH", "/users/1", ""),
        ("POST", "/docs", ""),
    ] {
        let response = send(proxy.port, method, path, headers, "{}").await;
        assert_problem(&response, 503, "unavailable", path);
        let request = replicas.take_one();
        assert_eq!(
            (request.method.as_str(), request.target.as_str(), request.body.as_slice()),
            (method, path, &b"{}"[..])
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn hanging_replica_delays_only_one_request() {
    let replicas = MockReplicas::start(2, |request| {
        if request.replica == 0 && request.header("host") != "api" {
            Reply::Hang
        } else {
            Reply::ok()
        }
    })
    .await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let (port, began) = (proxy.port, Instant::now());
    // Two concurrent requests, so that one reaches the hanging replica.
    let (one, two) = tokio::join!(proxy.get("/products"), proxy.get("/products"));
    let took = began.elapsed();
    assert_eq!((one.status, two.status), (200, 200));
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(16), "{took:?}");
    // NGINX now avoids it for ten seconds.
    for _ in 0..10 {
        assert_eq!(send(port, "POST", "/users", "", "{}").await.status, 200);
    }
    assert_eq!(replicas.take().iter().filter(|request| request.replica == 0).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn hanging_upstreams_time_out() {
    let replicas = MockReplicas::start(1, |request| {
        if request.header("host") == "api" { Reply::ok() } else { Reply::Hang }
    })
    .await;
    let proxy = Proxy::start(&replicas, &[]).await;
    let began = Instant::now();
    let timed = async |method, path| {
        let response = send(proxy.port, method, path, "", "").await;
        assert_problem(&response, 503, "unavailable", path);
        began.elapsed().as_secs()
    };
    let (safe, once) = tokio::join!(timed("GET", "/products"), timed("POST", "/orders/1/cancel"));
    assert!((5..=18).contains(&safe) && (19..=35).contains(&once), "{safe} s and {once} s");
    assert_eq!(replicas.take().iter().filter(|request| request.method == "POST").count(), 1);
}
