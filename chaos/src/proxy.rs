//! A TCP proxy between two processes, which disturbs their connections.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What a proxy does to all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    #[default]
    None,
    /// Resets open connections and each new one.
    Cut,
    /// Connections stay open, and all bytes are held back until it ends.
    Partition,
    /// Requests pass, and responses are held back until it ends.
    LoseResponses,
    /// Delays each chunk by a random time up to this one.
    Delay(Duration),
    /// Bytes per second in each direction of each connection.
    Throttle(u32),
    /// Resets each connection inside a response.
    Tear,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    disturbance: watch::Sender<Disturbance>,
    upstream: watch::Sender<SocketAddr>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback address, which stays the same.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a proxy")?;
        let address = listener.local_addr()?;
        let (disturbance, disturbances) = watch::channel(Disturbance::None);
        let (upstream, upstreams) = watch::channel(upstream);
        let task = tokio::spawn(accept(listener, disturbances, upstreams));
        Ok(Self { address, disturbance, upstream, task })
    }

    /// Returns the address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to open and new connections.
    pub fn disturb(&self, disturbance: Disturbance) {
        self.disturbance.send_replace(disturbance);
    }

    /// Sends new connections to another address, and resets the open ones.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    disturbances: watch::Receiver<Disturbance>,
    upstreams: watch::Receiver<SocketAddr>,
) {
    loop {
        // The connection failed, or the process has no free file descriptors.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(serve(client, disturbances.clone(), upstreams.clone()));
    }
}

async fn serve(
    mut client: TcpStream,
    mut disturbances: watch::Receiver<Disturbance>,
    mut upstreams: watch::Receiver<SocketAddr>,
) {
    let upstream = *upstreams.borrow_and_update();
    let mut server = None;
    let transfer = async {
        let _ = disturbances.clone().wait_for(|now| *now != Disturbance::Partition).await;
        let server = server.insert(TcpStream::connect(upstream).await?);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        tokio::try_join!(
            pump(client_reads, server_writes, disturbances.clone(), false),
            pump(server_reads, client_writes, disturbances.clone(), true),
        )
    };
    let ended = tokio::select! {
        ended = transfer => ended.is_ok(),
        _ = async { disturbances.clone().wait_for(|now| *now == Disturbance::Cut).await.map(drop) } => false,
        _ = upstreams.changed() => false,
    };
    if !ended {
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            // Closing then sends RST.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
    // So that `select!` above may borrow it.
    let _ = disturbances.borrow_and_update();
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut disturbances: watch::Receiver<Disturbance>,
    responses: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut until_torn: usize = rand::rng().random_range(1..4096);
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let now = loop {
            let passes = |now: &Disturbance| match now {
                Disturbance::Partition => false,
                Disturbance::LoseResponses => !responses,
                _ => true,
            };
            let Ok(now) = disturbances.wait_for(passes).await.map(|now| *now) else {
                return Ok(());
            };
            let pause = match now {
                Disturbance::Delay(longest) => longest.mul_f64(rand::rng().random_range(0.0..1.0)),
                Disturbance::Throttle(rate) => {
                    let count = u32::try_from(count).expect("a buffer is smaller");
                    Duration::from_secs(1) * count / rate
                }
                _ => break now,
            };
            // The pause ends with its disturbance.
            let changes = disturbances.wait_for(|other| *other != now);
            if tokio::time::timeout(pause, changes).await.is_err() {
                break now;
            }
        };
        if now == Disturbance::Tear && responses {
            match until_torn.checked_sub(count) {
                Some(left) => until_torn = left,
                None => {
                    to.write_all(&buffer[..until_torn]).await?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Echoes each connection.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[tokio::test]
    async fn disturbances_act_on_open_connections() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says(&mut stream, "one").await.unwrap(), "one");
        for silent in [Disturbance::Partition, Disturbance::LoseResponses] {
            proxy.disturb(silent);
            let waited = tokio::time::timeout(Duration::from_millis(50), says(&mut stream, "two"));
            assert!(waited.await.is_err(), "{silent:?}");
            proxy.disturb(Disturbance::None);
            let mut rest = [0; 3];
            stream.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"two", "held bytes follow");
        }
        proxy.disturb(Disturbance::Throttle(100_000));
        assert_eq!(says(&mut stream, "slow").await.unwrap(), "slow");
        // Its bytes would need an hour.
        proxy.disturb(Disturbance::Throttle(1));
        let rest = [b'x'; 3600];
        stream.write_all(&rest).await.unwrap();
        let mut byte = [0];
        let waited = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut byte));
        assert!(waited.await.is_err(), "a byte passed");
        proxy.disturb(Disturbance::None);
        stream.read_exact(&mut [0; 3600]).await.unwrap();
        proxy.disturb(Disturbance::Tear);
        let torn = says(&mut stream, &"x".repeat(5000)).await;
        assert_eq!(torn.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        proxy.disturb(Disturbance::Cut);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut stream, "cut").await.is_err());
    }

    #[tokio::test]
    async fn redirect_resets_open_connections() {
        let (first, second) = (echo().await, echo().await);
        let proxy = Proxy::start(first).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says(&mut stream, "one").await.unwrap(), "one");
        proxy.redirect(second);
        let mut end = [0; 1];
        assert!(stream.read_exact(&mut end).await.is_err());
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says(&mut stream, "two").await.unwrap(), "two");
    }
}
