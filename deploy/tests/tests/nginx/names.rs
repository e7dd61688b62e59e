//! A name server that says which replicas there are.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// Answers every question for an IPv4 address with those that are listed; while there are none,
/// with "no such name".
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    listed: Arc<Mutex<Vec<Ipv4Addr>>>,
    serving: JoinHandle<()>,
}

impl Names {
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

impl Drop for Names {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: UdpSocket, listed: Arc<Mutex<Vec<Ipv4Addr>>>) {
    let mut query = [0; 512];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut query).await else { continue };
        let answer = answer(&query[..length], &listed.lock().unwrap());
        // Whoever did not get it asks again.
        let _ = socket.send_to(&answer, peer).await;
    }
}

/// RFC 1035 §4: the header, the question again, and an A record of one second for each address.
fn answer(query: &[u8], listed: &[Ipv4Addr]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap() + 13;
    let question = &query[12..name + 4];
    let asks_for_a = query[name..name + 2] == [0, 1];
    let addresses = if asks_for_a { listed } else { &[] };
    let no_such_name = if listed.is_empty() { 3 } else { 0 };
    let mut answer = query[..2].to_vec();
    answer.extend([
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
    answer.extend(question);
    for address in addresses {
        // The name is that of the question; type A, class IN, a time to live of 1, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
