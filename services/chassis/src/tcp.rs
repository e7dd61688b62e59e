//! Accepted TCP connections: bounds that the system keeps beyond this process's own, and their end.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Bytes of answers that the system keeps for a client which does not read. Linux allows twice as
/// many for its own records. A client 100 ms away still gets more than half a megabyte a second.
pub const SEND_BUFFER: usize = 64 * 1024;

/// The pause after the system gave no connection: most often there is no file descriptor left.
pub(crate) const AFTER_ERROR: Duration = Duration::from_millis(100);

/// The pauses between checks for the last acknowledgement.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// Bounds what the system keeps of answers on an accepted connection: [`SEND_BUFFER`] bytes, which
/// would else grow to megabytes, and on Linux for `timeout` after the client has last taken any.
///
/// A socket that refuses an option still works.
pub fn bound(stream: &TcpStream, timeout: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(timeout));
    #[cfg(not(target_os = "linux"))]
    let _ = timeout;
}

/// Closes a connection so that its last answer arrives.
///
/// Discards what the client still sends: if the socket were closed with that unread, the system
/// would reset the connection, and the client could lose the answer. Returns once the client has
/// closed its side and has acknowledged all. Resets the connection after `limit`: else the system
/// would keep the rest of the answer, and no limit of this process would count it.
pub async fn close(mut stream: TcpStream, limit: Duration) {
    let closed = timeout(limit, async {
        stream.shutdown().await?;
        let mut scrap = vec![0; 4096];
        while stream.read(&mut scrap).await? > 0 {}
        acknowledged(&stream).await;
        std::io::Result::Ok(())
    });
    if closed.await.is_err() {
        let _ = stream.set_zero_linger();
    }
}

/// Waits until the client has acknowledged everything; both sides have shut the connection down.
async fn acknowledged(stream: &TcpStream) {
    let [mut pause, longest] = PAUSES;
    // The socket has a peer until then. The system reports no event when that changes.
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
    async fn the_buffer_of_a_socket_does_not_grow() {
        let (mut client, mut server) = pair().await;
        bound(&server, Duration::from_secs(7));
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
    async fn a_connection_is_closed_when_all_was_taken_and_reset_when_not() {
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
        bound(&server, limit);
        // The system takes as much as it ever does, and the client reads none of it.
        while server.writable().await.is_ok() && server.try_write(&[b'x'; 4096]).is_ok() {}
        client.shutdown().await.unwrap();
        close(server, Duration::from_millis(100)).await;
        let error = client.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
