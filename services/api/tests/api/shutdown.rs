//! The shutdown: responses before the drain, and work after it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Api, eventually, until, within};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: api\r\n\r\n";

/// Sends a request on an open connection and reads the head of the response.
async fn head(connection: &mut TcpStream) -> String {
    connection.write_all(REQUEST).await.unwrap();
    let mut response = String::new();
    while !response.contains("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let length = within("a response", connection.read(&mut bytes)).await.unwrap();
        assert!(length > 0, "closed without a response: {response}");
        response.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    response.to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_close_connections_before_the_drain() {
    let api = Api::start().await;
    eventually("the service is ready", || api.readiness.check().is_ok()).await;
    let mut kept = TcpStream::connect(api.address).await.unwrap();
    let mut idle = TcpStream::connect(api.address).await.unwrap();
    for connection in [&mut kept, &mut idle] {
        let head = head(connection).await;
        assert!(head.starts_with("http/1.1 200") && !head.contains("connection: close"), "{head}");
    }

    api.readiness.stop();
    assert_eq!(api.readiness.check(), Err(vec![("process", "shutting down".to_owned())]));
    let mut fresh = TcpStream::connect(api.address).await.unwrap();
    for connection in [&mut kept, &mut fresh] {
        let head = head(connection).await;
        assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
        let mut rest = Vec::new();
        within("the connection is closed", connection.read_to_end(&mut rest)).await.unwrap();
    }

    // An idle connection stays usable until the drain.
    let mut byte = [0];
    assert!(
        idle.try_read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    );
    api.shutdown.cancel();
    assert_eq!(within("the connection is closed", idle.read(&mut byte)).await.unwrap(), 0);
    within("the service ends", api.serving).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ships_refusals_of_disconnected_clients() {
    let api = Api::start().await;
    let response = api.db.has_no_user_after_signal();
    let body = json!({ "username": "bob", "password": "wrong" });
    let client = tokio::spawn(
        api.request(Method::POST, "/login").header("x-request-id", "gone").json(&body).send(),
    );
    eventually("the check is reserved", || api.db.begin_password_check.calls() == 1).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());

    api.shutdown.cancel();
    until("no connection is accepted", async || TcpStream::connect(api.address).await.is_err())
        .await;
    // The drain has ended; the service waits for the log-in.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!api.serving.is_finished());
    response.send(true).unwrap();
    within("the service ends", api.serving).await.unwrap();
    let events: Vec<_> =
        api.received.events().into_iter().map(|event| (event.event, event.request_id)).collect();
    assert_eq!(events, [("log_in_failed".to_owned(), "gone".to_owned())]);
}
