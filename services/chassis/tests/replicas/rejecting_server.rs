//! A server of raw HTTP/2 frames that rejects calls as "not processed" (RFC 9113).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rejection {
    RefusedStream,
    /// With a last stream id below the call's.
    GoAway,
    /// The connection ends after the call has arrived.
    Broken,
}

/// Answers UNIMPLEMENTED, like a server without a health service, until `reject` is set.
pub(crate) struct RejectingServer {
    pub(crate) address: SocketAddr,
    pub(crate) reject: Arc<AtomicBool>,
    pub(crate) rejected: Arc<AtomicUsize>,
}

impl RejectingServer {
    pub(crate) async fn start(rejection: Rejection) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, reject, rejected) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        tokio::spawn({
            let (reject, rejected) = (Arc::clone(&reject), Arc::clone(&rejected));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (reject, rejected) = (Arc::clone(&reject), Arc::clone(&rejected));
                    tokio::spawn(async move {
                        drop(serve(stream, rejection, &reject, &rejected).await)
                    });
                }
            }
        });
        Self { address, reject, rejected }
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

async fn serve(
    mut stream: TcpStream,
    rejection: Rejection,
    reject: &AtomicBool,
    rejected: &AtomicUsize,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            PING if flags & 1 == 0 => stream.write_all(&frame(PING, 1, 0, &payload)).await?,
            HEADERS if reject.load(Ordering::SeqCst) => {
                rejected.fetch_add(1, Ordering::SeqCst);
                match rejection {
                    Rejection::RefusedStream => {
                        stream.write_all(&frame(RST_STREAM, 0, id, &7_u32.to_be_bytes())).await?
                    }
                    Rejection::GoAway => {
                        stream.write_all(&frame(GOAWAY, 0, 0, &[[0; 4], [0; 4]].concat())).await?
                    }
                    Rejection::Broken => return Ok(()),
                }
            }
            HEADERS => {
                // HPACK: ":status: 200" is entry 8 of the static table; the others are literals
                // without indexing.
                let mut block = vec![0x88];
                for (name, value) in [("content-type", "application/grpc"), ("grpc-status", "12")] {
                    block.extend([0, u8::try_from(name.len()).unwrap()]);
                    block.extend(name.as_bytes());
                    block.push(u8::try_from(value.len()).unwrap());
                    block.extend(value.as_bytes());
                }
                // END_STREAM and END_HEADERS.
                stream.write_all(&frame(HEADERS, 0x5, id, &block)).await?;
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    frame
}
