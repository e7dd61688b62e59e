//! What is sent to a second replica when the first one fails, and what never is.

use std::time::{Duration, Instant};

use crate::{
    client::send,
    edge::Edge,
    problems::assert_problem,
    replicas::{Replicas, Reply, dies_of_the_first},
};

/// Each replica that dies of a request is left alone for a while: there are enough of them.
const REPLICAS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn what_may_be_done_twice_is_sent_to_another_replica() {
    let replicas = Replicas::start(REPLICAS, dies_of_the_first()).await;
    let edge = Edge::start(&replicas, &[]).await;
    for (method, path, headers, body) in [
        ("GET", "/products", "", ""),
        ("HEAD", "/products", "", ""),
        ("OPTIONS", "/products", "", ""),
        ("GET", "/docs/page.css", "", ""),
        ("POST", "/orders", "Idempotency-Key: k-1\r\n", r#"{"product_id":1,"quantity":2}"#),
        ("POST", "/orders?x=y", "Idempotency-Key: k-1\r\n", r#"{"product_id":1,"quantity":2}"#),
    ] {
        let answer = send(edge.port, method, path, headers, body).await;
        assert_eq!(answer.status, 200, "{method} {path}");
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
async fn what_was_sent_and_must_not_be_done_twice_is_not_sent_again() {
    let replicas = Replicas::start(REPLICAS, dies_of_the_first()).await;
    let edge = Edge::start(&replicas, &[]).await;
    for (method, path, headers) in [
        ("POST", "/orders", ""),
        ("POST", "/orders", "Idempotency-Key:\r\n"),
        ("POST", "/login", ""),
        // Nobody honours a key there.
        ("POST", "/users", "Idempotency-Key: k-1\r\n"),
        ("POST", "/orders/1/cancel", "Idempotency-Key: k-1\r\n"),
        // HTTP calls these repeatable. A changed password is not: the second time the old one is
        // wrong.
        ("PUT", "/users/1/password", ""),
        ("DELETE", "/users/1", ""),
        ("PROPFIND", "/users/1", ""),
        ("PUT", "/login", ""),
        ("PATCH", "/users/1", ""),
        ("POST", "/docs", ""),
    ] {
        let answer = send(edge.port, method, path, headers, "{}").await;
        assert_problem(&answer, 503, "unavailable", path);
        let request = replicas.take_one();
        assert_eq!(
            (request.method.as_str(), request.target.as_str(), request.body.as_slice()),
            (method, path, &b"{}"[..])
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_replica_that_says_nothing_costs_one_request_some_seconds_and_the_others_nothing() {
    let replicas = Replicas::start(2, |request| {
        if request.replica == 0 && request.header("host") != "api" {
            Reply::Hangs
        } else {
            Reply::ok()
        }
    })
    .await;
    let edge = Edge::start(&replicas, &[]).await;
    let (port, began) = (edge.port, Instant::now());
    // Two at the same time, so that one of them meets it.
    let (one, two) = tokio::join!(edge.get("/products"), edge.get("/products"));
    let took = began.elapsed();
    assert_eq!((one.status, two.status), (200, 200));
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(16), "{took:?}");
    // It is left alone now, for ten seconds.
    for _ in 0..10 {
        assert_eq!(send(port, "POST", "/users", "", "{}").await.status, 200);
    }
    assert_eq!(replicas.take().iter().filter(|request| request.replica == 0).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn nobody_waits_for_ever() {
    let replicas = Replicas::start(1, |request| {
        if request.header("host") == "api" { Reply::ok() } else { Reply::Hangs }
    })
    .await;
    let edge = Edge::start(&replicas, &[]).await;
    let began = Instant::now();
    let timed = async |method, path| {
        let answer = send(edge.port, method, path, "", "").await;
        assert_problem(&answer, 503, "unavailable", path);
        began.elapsed().as_secs()
    };
    let (safe, once) = tokio::join!(timed("GET", "/products"), timed("POST", "/orders/1/cancel"));
    assert!((5..=18).contains(&safe) && (19..=35).contains(&once), "{safe} s and {once} s");
    assert_eq!(replicas.take().iter().filter(|request| request.method == "POST").count(), 1);
}
