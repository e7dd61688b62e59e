//! Bounds on connections: how many, how silent, and how much memory while requests arrive.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Api, eventually, within};

const ASK: &[u8] = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Connects from another address of loopback, which counts as another client.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// A client whose system takes few bytes for it.
async fn connect_with_little_room(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// The answer to a request with a large head, from another address of loopback.
async fn send_large_head(from: [u8; 4], to: SocketAddr) -> String {
    let mut stream = connect_from(from, to).await;
    let whole = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(15_000));
    stream.write_all(whole.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

/// Everything that comes until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = within("the end of the connection", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status line and the headers of an answer without a body.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_ne!(within("an answer", stream.read_buf(&mut bytes)).await.unwrap(), 0);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn assert_problem(answer: &str, status: &str, code: &str, instance: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for header in ["content-type: application/problem+json", "connection: close"] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["instance"]), (&code.into(), &instance.into()));
    assert!(head.contains(&format!("x-request-id: {}", problem["request_id"].as_str().unwrap())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_the_connections_of_others() {
    let api = Api::start_with(|config| config.connections_per_address = 3).await;
    let (greedy, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(greedy, api.address).await;
        stream.write_all(ASK).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
    for _ in 0..10 {
        let mut refused = connect_from(greedy, api.address).await;
        let answer = rest(&mut refused).await;
        assert_problem(&answer, "503", "unavailable", "/");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    let mut stream = connect_from(other, api.address).await;
    stream.write_all(ASK).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    // A flood is refused without an end, and harms no other client.
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(connect_from(greedy, api.address).await);
    }
    stream.write_all(ASK).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    drop(flood);
    // One that is closed makes room for one.
    drop(open.pop());
    crate::support::until("there is room again", async || {
        let mut stream = connect_from(greedy, api.address).await;
        // The server may have refused and closed already.
        let _ = stream.write_all(ASK).await;
        let mut start = [0; 12];
        let read = within("an answer", stream.read_exact(&mut start)).await;
        read.is_ok() && &start == b"HTTP/1.1 200"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_has_as_many_connections_as_it_needs() {
    let api = Api::start_with(|config| {
        config.connections_per_address = 1;
        config.trusted_proxies = "127.0.0.9".parse().unwrap();
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = connect_from([127, 0, 0, 9], api.address).await;
        stream.write_all(ASK).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_closed_long_before_a_slow_one() {
    let api = Api::start_with(|config| {
        config.connections = 1;
        config.first_byte_timeout = Duration::from_millis(200);
        config.header_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut silent = TcpStream::connect(api.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut slow = TcpStream::connect(api.address).await.unwrap();
    slow.write_all(&ASK[..1]).await.unwrap();
    // More than the time for the first byte: the rest has another limit.
    tokio::time::sleep(Duration::from_millis(400)).await;
    slow.write_all(&ASK[1..]).await.unwrap();
    assert!(head(&mut slow).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_an_end_is_answered_at_twice_the_limit() {
    let api = Api::start_with(|config| config.header_limit = 8 * 1024).await;
    let mut endless = TcpStream::connect(api.address).await.unwrap();
    endless.write_all(ASK).await.unwrap();
    assert!(head(&mut endless).await.starts_with("HTTP/1.1 200 "));
    endless.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-endless: ").await.unwrap();
    endless.write_all(&[b'x'; 16 * 1024]).await.unwrap();
    let answer = rest(&mut endless).await;
    assert_problem(&answer, "431", "headers_too_large", "/");
    assert!(answer.contains("8192 bytes"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_share_a_bounded_memory() {
    let api = Api::start_with(|config| config.request_memory = 64 * 1024).await;
    // Each of these holds 12 KiB beyond its first four.
    let unfinished_head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-slow: {}", "x".repeat(15_000));
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(unfinished_head.as_bytes()).await.unwrap();
        open.push(stream);
    }
    // Nothing tells when the server has read all of them, so one more is tried until it is refused.
    crate::support::until("the memory is taken", async || {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        let whole = format!("{unfinished_head}\r\nconnection: close\r\n\r\n");
        stream.write_all(whole.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            return false;
        }
        assert_problem(&answer, "503", "unavailable", "/");
        true
    })
    .await;
    // A body counts like a head; its answer comes from the operation's own path.
    let large = format!(r#"{{"username":"alice","password":"{}"}}"#, "x".repeat(40_000));
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(large.as_bytes()).await;
    assert_problem(&rest(&mut stream).await, "503", "unavailable", "/login");
    // Small requests are served meanwhile.
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
async fn one_address_cannot_take_the_memory_of_others() {
    let api = Api::start_with(|config| config.request_memory = 1024 * 1024).await;
    let (greedy, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
    // Each holds 12 KiB beyond its first four: together less than half of the memory.
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
async fn a_chunk_size_without_an_end_is_refused_and_holds_little_memory() {
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
    let answer = rest(&mut endless).await;
    assert_problem(&answer, "413", "body_too_large", "/login");
    assert!(answer.contains("65536 bytes"), "{answer}");
    for header in ["x-request-id: endless-1", "access-control-allow-origin: http://shop.example"] {
        assert!(answer.contains(&format!("{header}\r\n")), "{header} in {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_does_not_keep_the_buffer_of_a_large_head() {
    let api = Api::start().await;
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(!answer.contains("connection: close"), "{answer}");
    let large = format!("HEAD / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(9000));
    stream.write_all(large.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

/// Sends a request from a client that does not read, and that may send no more. There is one place,
/// so its connection has to be reset before another client is served.
async fn assert_reset(target: &str, headers: &str, half_close: bool) {
    let api = Api::start_with(|config| {
        config.connections = 1;
        config.header_timeout = Duration::from_secs(3600);
        config.write_timeout = Duration::from_secs(1);
    })
    .await;
    let mut greedy = connect_with_little_room(api.address).await;
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    greedy.write_all(request.as_bytes()).await.unwrap();
    within("an answer", greedy.readable()).await.unwrap();
    if half_close {
        greedy.shutdown().await.unwrap();
    }
    let mut next = TcpStream::connect(api.address).await.unwrap();
    next.write_all(ASK).await.unwrap();
    assert!(head(&mut next).await.starts_with("HTTP/1.1 200 "));
    let mut answer = Vec::new();
    let read = within("the end of the connection", greedy.read_to_end(&mut answer)).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_answer_that_is_not_taken_keeps_its_place_until_it_is_reset() {
    // The system takes the whole document from the server.
    for half_close in [true, false] {
        assert_reset("/openapi.yaml", "connection: close\r\n", half_close).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_takes_little_of_an_answer() {
    // Had it taken the whole script, this connection would be an idle one.
    assert_reset("/docs/swagger-ui-bundle.js", "", false).await;
}

/// What `/metrics` of the admin port has.
fn prometheus_text() -> String {
    prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap()
}
