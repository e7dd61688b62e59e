//! The admin port over TCP.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

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
    start_at([127, 0, 0, 1]).await
}

async fn start_at(address: [u8; 4]) -> Admin {
    let listener = bind("the admin server", (address, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let task = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { admin::serve(listener, readiness, shutdown).await.unwrap() }
    });
    Admin { address, readiness, shutdown, task }
}

impl Admin {
    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        ))
        .await
    }

    async fn send(&self, request: &str) -> (u16, String) {
        let port = self.address.port();
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

fn has(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[tokio::test]
async fn readyz_reports_readiness_and_reasons() {
    let admin = start().await;
    let database = admin.readiness.part("database");
    assert_eq!(admin.get("/livez").await.0, 200);
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 503);
    has(
        &answer,
        &[
            r#""ready":false"#,
            r#""status":"not_ready""#,
            r#"[{"part":"database","reason":"starting"}]"#,
        ],
    );
    database.ready();
    let (status, answer) = admin.get("/readyz").await;
    assert_eq!(status, 200);
    has(&answer, &[r#""ready":true"#, r#""status":"ready""#]);
    assert!(!answer.contains("reasons"), "{answer}");
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
    assert!(
        answer.contains("text/plain; version=0.0.4")
            && answer.contains("merch_chassis_test_total 1"),
        "{answer}"
    );
}

#[tokio::test]
async fn unknown_paths_get_404() {
    assert_eq!(start().await.get("/").await.0, 404);
}

#[tokio::test]
async fn foreign_host_is_forbidden_on_loopback() {
    let request = |line: &str, host: &str| format!("GET {line}\r\n{host}connection: close\r\n\r\n");
    let (local, open) = (start().await, start_at([0, 0, 0, 0]).await);
    for (line, host, status) in [
        ("/metrics HTTP/1.1", "host: 127.0.0.1:9101\r\n", 200),
        ("/metrics HTTP/1.1", "host: 10.1.2.3\r\n", 200),
        ("/metrics HTTP/1.1", "host: [::1]:9101\r\n", 200),
        ("/metrics HTTP/1.1", "host: LocalHost:9101\r\n", 200),
        ("/metrics HTTP/1.1", "host: db.localhost.\r\n", 200),
        ("/metrics HTTP/1.0", "", 200),
        ("http://localhost/metrics HTTP/1.1", "host: localhost\r\n", 200),
        ("/metrics HTTP/1.1", "host: rebound.example:9101\r\n", 403),
        ("/metrics HTTP/1.1", "host: localhost.example\r\n", 403),
        ("/metrics HTTP/1.1", "host: 127.0.0.1.example\r\n", 403),
        ("/livez HTTP/1.1", "host: rebound.example\r\n", 403),
        ("http://rebound.example/metrics HTTP/1.1", "host: localhost\r\n", 403),
        ("/metrics HTTP/1.1", "host: localhost\r\nhost: rebound.example\r\n", 403),
    ] {
        let (answered, answer) = local.send(&request(line, host)).await;
        assert_eq!(answered, status, "{line} {host}: {answer}");
        assert!(status == 200 || !answer.contains("# HELP"), "{answer}");
    }
    // Elsewhere, an orchestrator may use any host name.
    assert_eq!(open.send(&request("/metrics HTTP/1.1", "host: db:9102\r\n")).await.0, 200);
}

#[tokio::test]
async fn connection_serves_one_small_http_1_request() {
    let admin = start().await;
    let exchange = async |bytes: &[u8]| {
        let mut connection = TcpStream::connect(admin.address).await.unwrap();
        let _ = connection.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), connection.read_to_end(&mut answer)).await;
        let _ = read.expect("the connection ends");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = exchange(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    has(&answer, &["HTTP/1.1 200", "connection: close"]);
    let header = "x".repeat(32 * 1024);
    let large = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {header}\r\n\r\n");
    assert!(!exchange(large.as_bytes()).await.contains("HTTP/1.1 200"));
    let preface = exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(preface.is_empty() || preface.starts_with("HTTP/1.1 4"), "{preface:?}");
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut connection = TcpStream::connect(admin.address).await.unwrap();
        connection.write_all(b"GET").await.unwrap();
        slow.push(connection);
    }
    let mut byte = [0];
    tokio::select! {
        closed = timeout(Duration::from_secs(20), slow[0].read(&mut byte)) => {
            assert_eq!(closed.expect("it is closed in time").unwrap(), 0);
        }
        answer = admin.get("/livez") => panic!("one connection too many: {answer:?}"),
    }
    let livez = timeout(Duration::from_secs(20), admin.get("/livez")).await;
    assert_eq!(livez.expect("connections are available again").0, 200);
}

#[tokio::test]
async fn server_stops_despite_an_open_connection() {
    let admin = start().await;
    let _idle = TcpStream::connect(admin.address).await.unwrap();
    assert_eq!(admin.get("/livez").await.0, 200);
    admin.shutdown.cancel();
    timeout(Duration::from_secs(10), admin.task).await.expect("the admin server ends").unwrap();
}
