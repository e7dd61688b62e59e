//! Requests to this machine bypass proxies; other hosts are reached through the environment's
//! proxy.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use httpmock::MockServer;
use merch_contract::rest::client::Client;
use serde_json::json;

const USER: &str = "0192f0c1-7b5e-7c3a-9d2e-1f6a5b4c3d2e";

/// Records requests and answers each with a greeting. Returns its URL and the record.
fn recording_proxy() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, record) = (format!("http://{}", listener.local_addr().unwrap()), Arc::default());
    let seen: Arc<Mutex<String>> = Arc::clone(&record);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, mut bytes) = (connection.unwrap(), [0; 4096]);
            let length = connection.read(&mut bytes).unwrap();
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            let body = json!({ "name": "Merch", "message": "Hello", "version": "1", "documentation": "/docs" }).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                        content-length";
            let _ = write!(connection, "{head}: {}\r\n\r\n{body}", body.len());
        }
    });
    (url, record)
}

fn set_proxy(command: &mut Command, proxy: &str) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, proxy).env(name.to_lowercase(), proxy);
    }
}

fn run(url: &str, proxy: &str, no_proxy: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merch-cli"));
    set_proxy(&mut command, proxy);
    command
        .env("NO_PROXY", no_proxy)
        .env("no_proxy", no_proxy)
        .env("MERCH_URL", url)
        .env("MERCH_TOKEN", "hush.token");
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"hush-password\n"); // a command that needs none may have ended
    child.wait_with_output().unwrap()
}

#[test]
fn local_requests_bypass_the_proxy() {
    let server = MockServer::start();
    server.mock(|when, then| {
        when.method("POST").path("/login");
        then.status(200).json_body(json!({ "access_token": "t", "token_type": "Bearer", "expires_in": 86400, "user_id": USER }));
    });
    let (proxy, record) = recording_proxy();
    for host in
        ["127.0.0.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]
    {
        let output = run(
            &format!("http://{host}:{}", server.port()),
            &proxy,
            "",
            &["log-in", "--username", "alice"],
        );
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(*record.lock().unwrap(), "", "expected no request to the proxy");
}

/// Without the SDK.
#[tokio::test]
#[ignore = "the child of the test below"]
async fn generated_client() {
    let client =
        Client::new(&std::env::var("STORE").unwrap(), merch_contract::sdk::Session::default());
    let answer = client.greet().send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn generated_client_bypasses_the_proxy_locally() {
    let server = MockServer::start();
    let links = json!({ "docs": "/docs", "openapi_yaml": "/openapi.yaml", "openapi_json": "/openapi.json" });
    let greeting = json!({ "greeting": "Hello", "version": "1", "links": links });
    server.mock(|when, then| {
        when.method("GET").path("/");
        then.status(200).json_body(greeting);
    });
    let (proxy, record) = recording_proxy();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["generated_client", "--exact", "--ignored"])
        .env("STORE", format!("http://127.0.0.1:{}", server.port()));
    set_proxy(&mut child, &proxy);
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(*record.lock().unwrap(), "", "expected no request to the proxy");
}

#[test]
fn remote_requests_use_the_proxy_unless_excluded() {
    let (proxy, record) = recording_proxy();
    run("http://store.example/merch", &proxy, "", &["greet"]);
    let seen = record.lock().unwrap().clone();
    assert!(seen.starts_with("GET http://store.example/merch/ HTTP/1.1\r\n"), "{seen}");
    let output = run("http://store.example", &proxy, "store.example", &["greet"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(*record.lock().unwrap(), seen, "expected no request to the proxy");
}
