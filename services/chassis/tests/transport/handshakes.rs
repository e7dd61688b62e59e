use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Pki, Server, TEST_TIMEOUT, call, code, connect, metric, tls};

async fn idle(from: [u8; 4], to: &str, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        connections.push(socket.connect(to.parse().unwrap()).await.unwrap());
    }
    connections
}

const IDLE_CONNECTIONS: usize = 300;

async fn exceed_handshake_limit(from: [u8; 4]) {
    let pki = Pki::make();
    let server = Server::with_tls(pki.files("db")).await;
    let crowded = || metric("merch_grpc_refused_connections_total", "crowded");
    let before = crowded();
    let address = server.url.strip_prefix("https://").unwrap();
    let mut idle = idle(from, address, IDLE_CONNECTIONS).await;
    let replicas = connect("db", &server.url, &tls(pki.files("api")));
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    assert!(crowded() >= before + 200.0, "{before} {}", crowded());
    let closed = timeout(TEST_TIMEOUT, idle[0].read(&mut [0])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let youngest = idle.last_mut().unwrap();
    assert_eq!(youngest.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

// Other systems have no second loopback address.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_block_other_addresses() {
    exceed_handshake_limit([127, 0, 0, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_block_their_own_address() {
    exceed_handshake_limit([127, 0, 0, 1]).await;
}
