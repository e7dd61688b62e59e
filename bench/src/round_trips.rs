//! A proxy that counts the round trips of db to PostgreSQL.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Counts since the start of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How often db sent something after PostgreSQL had.
    round_trips: AtomicU64,
    /// In both directions.
    bytes: AtomicU64,
}

impl Counts {
    /// Returns round trips and bytes.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.round_trips.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Accepts connections until the program ends, and forwards them. Returns its address.
pub(crate) async fn start(to: SocketAddr) -> Result<(SocketAddr, Arc<Counts>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(to).await else { continue };
            let (Ok(()), Ok(())) = (client.set_nodelay(true), server.set_nodelay(true)) else {
                continue;
            };
            let answered = Arc::new(AtomicBool::new(true));
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(forward(from_client, to_server, {
                let (counts, answered) = (Arc::clone(&shared), Arc::clone(&answered));
                move |bytes| {
                    let is_next = answered.swap(false, Ordering::Relaxed);
                    counts.round_trips.fetch_add(u64::from(is_next), Ordering::Relaxed);
                    counts.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
            }));
            let counts = Arc::clone(&shared);
            tokio::spawn(forward(from_server, to_client, move |bytes| {
                answered.store(true, Ordering::Relaxed);
                counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            }));
        }
    });
    Ok((address, counts))
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        count(read as u64);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pipelined_requests_are_one_round_trip() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, counts) = start(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut accepted, _) = server.accept().await.unwrap();
        let mut buffer = [0; 4];
        for _ in 0..3 {
            client.write_all(b"ab").await.unwrap();
            client.write_all(b"cd").await.unwrap();
            accepted.read_exact(&mut buffer).await.unwrap();
            accepted.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        assert_eq!(counts.read(), (3, 30));
    }
}
