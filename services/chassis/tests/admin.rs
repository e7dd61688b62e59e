//! The admin port over a real socket.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]

use std::time::Duration;

use merch_chassis::{Readiness, admin, bind};
use prometheus::IntCounter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

struct Admin {
    address: std::net::SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start() -> Admin {
    let listener = bind("the admin server", ([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let task = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { admin::serve(listener, readiness, shutdown).await.unwrap() }
    });
    Admin { address, readiness, shutdown, task }
}

impl Admin {
    /// The status and the whole answer.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

/// That an answer has all of these, in whatever order.
fn has(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[tokio::test]
async fn readyz_follows_readiness_and_says_why_not() {
    let admin = start().await;
    let database = admin.readiness.part("database");
    assert_eq!(admin.get("/livez").await.0, 200);
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 503);
    has(&answer, &[r#""ready":false"#, r#""status":"not_ready""#, r#"[{"part":"database","reason":"starting"}]"#]);
    database.ready();
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 200);
    has(&answer, &[r#""ready":true"#, r#""status":"ready""#]);
    assert!(!answer.contains("reasons"), "{answer}");
    // Something behind it is in trouble: a balancer goes on sending requests, and an operator sees why to look.
    database.degraded("the oldest log event waits for 75 s");
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 200);
    let reason = r#"[{"part":"database","reason":"the oldest log event waits for 75 s"}]"#;
    has(&answer, &[r#""ready":true"#, r#""status":"degraded""#, reason]);
    database.not_ready("no answer");
    assert_eq!(admin.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let counter = IntCounter::new("merch_chassis_test_total", "A counter of this test.").unwrap();
    prometheus::register(Box::new(counter.clone())).unwrap();
    counter.inc();
    let (status, answer) = start().await.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(answer.contains("text/plain; version=0.0.4") && answer.contains("merch_chassis_test_total 1"), "{answer}");
}

#[tokio::test]
async fn unknown_paths_are_404() {
    assert_eq!(start().await.get("/").await.0, 404);
}

#[tokio::test]
async fn it_ends_when_told_even_with_an_open_connection() {
    let admin = start().await;
    let _idle = TcpStream::connect(admin.address).await.unwrap();
    assert_eq!(admin.get("/livez").await.0, 200);
    admin.shutdown.cancel();
    timeout(Duration::from_secs(10), admin.task).await.expect("the admin server ends").unwrap();
}
