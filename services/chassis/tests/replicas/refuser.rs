//! A server of bare HTTP/2 frames that refuses calls in the two ways in which the protocol says
//! "never begun with".

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

/// How it refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// RST_STREAM with REFUSED_STREAM.
    RefusedStream,
    /// GOAWAY whose last stream is before the call's.
    GoAway,
    /// The connection ends after the call has come: nobody knows.
    Broken,
}

/// Until told to refuse it answers every call UNIMPLEMENTED, as a server without a health service
/// does.
pub(crate) struct Refuser {
    pub(crate) address: SocketAddr,
    pub(crate) refuse: Arc<AtomicBool>,
    pub(crate) refused: Arc<AtomicUsize>,
}

impl Refuser {
    pub(crate) async fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, refuse, refused) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        tokio::spawn({
            let (refuse, refused) = (Arc::clone(&refuse), Arc::clone(&refused));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (refuse, refused) = (Arc::clone(&refuse), Arc::clone(&refused));
                    // Whatever goes wrong with a connection ends it.
                    tokio::spawn(async move { drop(serve(stream, way, &refuse, &refused).await) });
                }
            }
        });
        Self { address, refuse, refused }
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

async fn serve(
    mut stream: TcpStream,
    way: Way,
    refuse: &AtomicBool,
    refused: &AtomicUsize,
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
            HEADERS if refuse.load(Ordering::SeqCst) => {
                refused.fetch_add(1, Ordering::SeqCst);
                match way {
                    Way::RefusedStream => {
                        stream.write_all(&frame(RST_STREAM, 0, id, &7_u32.to_be_bytes())).await?
                    }
                    Way::GoAway => {
                        stream.write_all(&frame(GOAWAY, 0, 0, &[[0; 4], [0; 4]].concat())).await?
                    }
                    Way::Broken => return Ok(()),
                }
            }
            HEADERS => {
                // HPACK: ":status: 200" is entry 8 of the static table; the two others as literals
                // that are not indexed.
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
