//! Limits on connections: their number, silence, and the memory of arriving requests.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Api, eventually, within};

const HEAD_REQUEST: &[u8] = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Connects from another loopback address, which counts as another client.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Connects with a small receive buffer.
async fn connect_with_small_buffer(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Sends a request with a large head from another loopback address; returns the response.
async fn send_large_head(from: [u8; 4], to: SocketAddr) -> String {
    let mut stream = connect_from(from, to).await;
    let whole = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(15_000));
    stream.write_all(whole.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset also ends the connection.
    let _ = within("the end of the connection", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the head of a response without a body.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_ne!(within("a response", stream.read_buf(&mut bytes)).await.unwrap(), 0);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn assert_problem(response: &str, status: &str, code: &str, instance: &str) {
    assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    for header in ["content-type: application/problem+json", "connection: close"] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["instance"]), (&code.into(), &instance.into()));
    assert!(head.contains(&format!("x-request-id: {}", problem["request_id"].as_str().unwrap())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_by_client_address() {
    let api = Api::start_with(|config| config.connections_per_address = 3).await;
    let (greedy, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(greedy, api.address).await;
        stream.write_all(HEAD_REQUEST).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
    for _ in 0..10 {
        let mut refused = connect_from(greedy, api.address).await;
        let response = rest(&mut refused).await;
        assert_problem(&response, "503", "unavailable", "/");
        assert!(response.contains("retry-after: 1\r\n"), "{response}");
    }
    let mut stream = connect_from(other, api.address).await;
    stream.write_all(HEAD_REQUEST).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(connect_from(greedy, api.address).await);
    }
    stream.write_all(HEAD_REQUEST).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    drop(flood);
    drop(open.pop());
    crate::support::until("a connection is allowed again", async || {
        let mut stream = connect_from(greedy, api.address).await;
        // The server may have closed the connection already.
        let _ = stream.write_all(HEAD_REQUEST).await;
        let mut start = [0; 12];
        let read = within("a response", stream.read_exact(&mut start)).await;
        read.is_ok() && &start == b"HTTP/1.1 200"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trusted_proxy_has_no_connection_limit() {
    let api = Api::start_with(|config| {
        config.connections_per_address = 1;
        config.trusted_proxies = "127.0.0.9".parse().unwrap();
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = connect_from([127, 0, 0, 9], api.address).await;
        stream.write_all(HEAD_REQUEST).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connection_closes_before_a_slow_one() {
    let api = Api::start_with(|config| {
        config.connections = 1;
        config.first_byte_timeout = Duration::from_millis(200);
        config.header_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut silent = TcpStream::connect(api.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut slow = TcpStream::connect(api.address).await.unwrap();
    slow.write_all(&HEAD_REQUEST[..1]).await.unwrap();
    // Longer than the first-byte timeout: it does not apply to the rest.
    tokio::time::sleep(Duration::from_millis(400)).await;
    slow.write_all(&HEAD_REQUEST[1..]).await.unwrap();
    assert!(head(&mut slow).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_head_gets_431_at_twice_the_limit() {
    let api = Api::start_with(|config| config.header_limit = 8 * 1024).await;
    let mut endless = TcpStream::connect(api.address).await.unwrap();
    endless.write_all(HEAD_REQUEST).await.unwrap();
    assert!(head(&mut endless).await.starts_with("HTTP/1.1 200 "));
    endless.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-endless: ").await.unwrap();
    endless.write_all(&[b'x'; 16 * 1024]).await.unwrap();
    let response = rest(&mut endless).await;
    assert_problem(&response, "431", "headers_too_large", "/");
    assert!(response.contains("8192 bytes"), "{response}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_share_a_memory_budget() {
    let api = Api::start_with(|config| config.request_memory = 64 * 1024).await;
    // Each holds 12 KiB beyond the first 4.
    let unfinished_head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-slow: {}", "x".repeat(15_000));
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(unfinished_head.as_bytes()).await.unwrap();
        open.push(stream);
    }
    // The test cannot see when the server has read them, so it retries until a request is refused.
    within("the memory is used up", async {
        loop {
            let mut stream = TcpStream::connect(api.address).await.unwrap();
            let whole = format!("{unfinished_head}\r\nconnection: close\r\n\r\n");
            stream.write_all(whole.as_bytes()).await.unwrap();
            let response = rest(&mut stream).await;
            if !response.starts_with("HTTP/1.1 200 ") {
                break assert_problem(&response, "503", "unavailable", "/");
            }
            // This request may have been read before one of the five, which was refused then.
            let mut stream = TcpStream::connect(api.address).await.unwrap();
            stream.write_all(unfinished_head.as_bytes()).await.unwrap();
            open.push(stream);
        }
    })
    .await;
    // A body counts like a head; its response comes from the operation's path.
    let large = format!(r#"{{"username":"alice","password":"{}"}}"#, "x".repeat(40_000));
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\n\r\n",
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(large.as_bytes()).await;
    assert_problem(&rest(&mut stream).await, "503", "unavailable", "/login");
    assert_eq!(api.get("/").await.status, 200);
    drop(open);
    let again = || {
        let metrics = prometheus_text();
        metrics.contains("merch_api_connections_refused_total{reason=\"memory\"}")
    };
    eventually("the refusals are counted", again).await;
    crate::support::until("the memory is free again", async || {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        let whole = format!("{unfinished_head}\r\nconnection: close\r\n\r\n");
        stream.write_all(whole.as_bytes()).await.unwrap();
        rest(&mut stream).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_memory_is_limited_by_client_address() {
    let api = Api::start_with(|config| config.request_memory = 1024 * 1024).await;
    let (greedy, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
    // Each holds 12 KiB beyond the first 4; together less than half of the memory.
    let unfinished_head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-slow: {}", "x".repeat(15_000));
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = connect_from(greedy, api.address).await;
        stream.write_all(unfinished_head.as_bytes()).await.unwrap();
        open.push(stream);
    }
    crate::support::until("the address has no memory left", async || {
        send_large_head(greedy, api.address).await.starts_with("HTTP/1.1 503 ")
    })
    .await;
    assert!(send_large_head(other, api.address).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_chunk_size_gets_413() {
    let api = Api::start_with(|config| {
        config.request_memory = 256 * 1024;
        config.cors_origins = "http://shop.example".parse().unwrap();
    })
    .await;
    let mut endless = TcpStream::connect(api.address).await.unwrap();
    let own = "x-request-id: endless-1\r\norigin: http://shop.example";
    let headers = format!("{own}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked");
    let head = format!("POST /login HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
    endless.write_all(head.as_bytes()).await.unwrap();
    let _ = endless.write_all(&vec![b'0'; 1 << 20]).await;
    let response = rest(&mut endless).await;
    assert_problem(&response, "413", "body_too_large", "/login");
    assert!(response.contains("65536 bytes"), "{response}");
    for header in ["x-request-id: endless-1", "access-control-allow-origin: http://shop.example"] {
        assert!(response.contains(&format!("{header}\r\n")), "{header} in {response}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_closes_after_a_large_head() {
    let api = Api::start().await;
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(HEAD_REQUEST).await.unwrap();
    let response = head(&mut stream).await;
    assert!(!response.contains("connection: close"), "{response}");
    let large = format!("HEAD / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(9000));
    stream.write_all(large.as_bytes()).await.unwrap();
    let response = rest(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

/// Sends a request from a client that does not read. Only one connection is allowed, so the server
/// must reset it before it accepts the next client.
async fn assert_reset(target: &str, headers: &str, half_close: bool) {
    let api = Api::start_with(|config| {
        config.connections = 1;
        config.header_timeout = Duration::from_secs(3600);
        config.write_timeout = Duration::from_secs(1);
    })
    .await;
    let mut greedy = connect_with_small_buffer(api.address).await;
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    greedy.write_all(request.as_bytes()).await.unwrap();
    within("a response", greedy.readable()).await.unwrap();
    if half_close {
        greedy.shutdown().await.unwrap();
    }
    let mut next = TcpStream::connect(api.address).await.unwrap();
    next.write_all(HEAD_REQUEST).await.unwrap();
    assert!(head(&mut next).await.starts_with("HTTP/1.1 200 "));
    let mut response = Vec::new();
    let read = within("the end of the connection", greedy.read_to_end(&mut response)).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_last_response_ends_in_a_reset() {
    // The server's system buffers the whole document.
    for half_close in [true, false] {
        assert_reset("/openapi.yaml", "connection: close\r\n", half_close).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_response_ends_in_a_reset() {
    // If the system buffered the whole script, this connection would be idle.
    assert_reset("/docs/swagger-ui-bundle.js", "", false).await;
}

/// The text of `/metrics`.
fn prometheus_text() -> String {
    prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap()
}
