//! A DNS server that lists the replicas.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// Answers A queries with the listed addresses; with NXDOMAIN if there are none.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    listed: Arc<Mutex<Vec<Ipv4Addr>>>,
    serving: JoinHandle<()>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let listed = Arc::new(Mutex::new(Vec::new()));
        let serving = tokio::spawn(serve(socket, Arc::clone(&listed)));
        Self { address, listed, serving }
    }

    pub(crate) fn list(&self, addresses: Vec<Ipv4Addr>) {
        *self.listed.lock().unwrap() = addresses;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: UdpSocket, listed: Arc<Mutex<Vec<Ipv4Addr>>>) {
    let mut query = [0; 512];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut query).await else { continue };
        let response = response(&query[..length], &listed.lock().unwrap());
        // The resolver repeats a lost query.
        let _ = socket.send_to(&response, peer).await;
    }
}

/// Builds a response (RFC 1035 §4): header, question, and an A record with a TTL of 1 s for each
/// address.
fn response(query: &[u8], listed: &[Ipv4Addr]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap() + 13;
    let question = &query[12..name + 4];
    let asks_for_a = query[name..name + 2] == [0, 1];
    let addresses = if asks_for_a { listed } else { &[] };
    let no_such_name = if listed.is_empty() { 3 } else { 0 };
    let mut response = query[..2].to_vec();
    response.extend([
        0x81,
        0x80 | no_such_name,
        0,
        1,
        0,
        u8::try_from(addresses.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    response.extend(question);
    for address in addresses {
        // A pointer to the question's name; type A, class IN, TTL 1, 4 bytes.
        response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        response.extend(address.octets());
    }
    response
}
