//! Kernel limits and graceful close of TCP connections.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Kernel send buffer in bytes; Linux reserves twice that. With 100 ms of latency a client still
/// receives over 500 kB/s.
pub const SEND_BUFFER: usize = 64 * 1024;

/// Delay after a failed `accept`, which usually means that no file descriptor is left.
pub(crate) const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The first and the longest delay between polls.
const ACK_POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// Limits the send buffer to [`SEND_BUFFER`]; the kernel would let it grow to megabytes. On Linux,
/// also closes the connection if the client acknowledges nothing for `timeout`. A socket may reject
/// both.
pub fn limit_send_buffer(stream: &TcpStream, timeout: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(timeout));
    #[cfg(not(target_os = "linux"))]
    let _ = timeout;
}

/// Closes a connection so that the client receives the last response.
///
/// Discards what the client still sends, because closing with unread data resets the connection.
/// Returns once the client has closed its side and acknowledged everything. Resets the connection
/// after `limit`, or the kernel would keep the unsent rest.
pub async fn close(mut stream: TcpStream, limit: Duration) {
    let closed = timeout(limit, async {
        stream.shutdown().await?;
        let mut discarded = vec![0; 4096];
        while stream.read(&mut discarded).await? > 0 {}
        acknowledged(&stream).await;
        std::io::Result::Ok(())
    });
    if closed.await.is_err() {
        let _ = stream.set_zero_linger();
    }
}

async fn acknowledged(stream: &TcpStream) {
    let [mut pause, longest] = ACK_POLL_INTERVALS;
    // The socket has a peer until then. The kernel reports no event for it.
    while stream.peer_addr().is_ok() {
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(connecting, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn send_buffer_does_not_grow() {
        let (mut client, mut server) = pair().await;
        limit_send_buffer(&server, Duration::from_secs(7));
        let bytes = SockRef::from(&server).send_buffer_size().unwrap();
        assert!((SEND_BUFFER..=2 * SEND_BUFFER).contains(&bytes), "{bytes}");
        #[cfg(target_os = "linux")]
        {
            let timeout = SockRef::from(&server).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(Duration::from_secs(7)));
        }
        let sent = vec![b'x'; 4 << 20];
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                server.write_all(&sent).await?;
                server.shutdown().await
            },
            client.read_to_end(&mut received)
        );
        written.unwrap();
        assert_eq!(read.unwrap(), sent.len());
        assert_eq!(SockRef::from(&server).send_buffer_size().unwrap(), bytes);
    }

    #[tokio::test]
    async fn close_waits_for_acknowledgement_and_resets_after_limit() {
        let limit = Duration::from_secs(60);
        let (mut client, mut server) = pair().await;
        server.write_all(b"answer").await.unwrap();
        client.write_all(b"unread").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        timeout(limit / 2, close(server, limit)).await.expect("it ends before the limit");
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"answer");

        let (mut client, server) = pair().await;
        SockRef::from(&client).set_recv_buffer_size(2304).unwrap();
        limit_send_buffer(&server, limit);
        while server.writable().await.is_ok() && server.try_write(&[b'x'; 4096]).is_ok() {}
        client.shutdown().await.unwrap();
        close(server, Duration::from_millis(100)).await;
        let error = client.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
