//! The HTTP/1.1 server: accepting, bounds on a connection, and a drain that ends.
//!
//! poem's own server leaves the time that headers may take and their size to hyper's defaults
//! (none, and about 400 KiB), so the connections are served here. HTTP/1.1 alone: no browser speaks
//! HTTP/2 without TLS, and what ends TLS in front of this server speaks HTTP/1.1 to it.

mod addresses;
mod arrival;
mod meters;
mod places;
mod progress;
mod refusal;

use std::{
    convert::Infallible,
    error::Error as _,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use merch_chassis::tcp;
use poem::{
    Body, Endpoint, Request, Response,
    http::{self, HeaderValue, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::arrival::{Arrival, Fault};
use self::{
    addresses::Addresses,
    arrival::{Bounded, Limits, Memory, Share},
    meters::{Open, Reason},
    places::Places,
    progress::Progress,
    refusal::Refusals,
};
use crate::proxies::Proxies;

/// Headers in one request. hyper answers more of them by itself, with a bare 431, and so this is
/// far more than anybody sends.
const MOST_HEADERS: usize = 256;
/// hyper answers a head that does not fit its buffer by itself, with a bare 431. So its buffer has
/// room for more than is ever read of a head; it grows with what has arrived.
const BUFFER: usize = 4;
/// The smallest buffer that hyper takes.
const SMALLEST_BUFFER: usize = 8192;
/// After a failure to accept, most often for want of file descriptors, before trying again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long a new connection may take to bring its first request while the server is closing: an
/// older one that is idle is closed at once.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// A connection that waits in the system's queue is accepted within this time.
const QUEUED: Duration = Duration::from_millis(10);

/// One client address may use one of so many parts of the common request memory.
const ADDRESS_SHARE: usize = 4;

/// How long a connection without a last answer may take to be closed by its client.
const LINGER: Duration = Duration::from_secs(5);

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of a request's line and headers that the endpoint takes.
    pub(crate) header_limit: usize,
    /// Bytes of a request's body that the endpoint takes.
    pub(crate) body_limit: usize,
    /// The time that these may take to arrive, and that a connection may be idle.
    pub(crate) header_timeout: Duration,
    /// The time that the first byte of a new connection may take.
    pub(crate) first_byte_timeout: Duration,
    /// Bytes that all requests together may hold until they are answered, beyond the first 4 KiB of
    /// each; those of one client address, at most a quarter of that.
    pub(crate) request_memory: usize,
    /// The time for which a client may take nothing of an answer, and in which it takes the rest of
    /// the last one.
    pub(crate) write_timeout: Duration,
    /// Connections that are open at the same time, at least one.
    pub(crate) connections: usize,
    /// Connections that one client address may have open, at least one; for IPv6, one /64.
    pub(crate) connections_per_address: usize,
    /// The time that requests under way have to end.
    pub(crate) drain_timeout: Duration,
}

/// Serves `endpoint` until `shutdown` is cancelled; then no connection is accepted, idle ones are
/// closed, and requests under way have the drain's time.
///
/// Once `stopping` is cancelled, some time before that, connections are accepted and requests
/// served as ever, but each answer is the last one of its connection (`Connection: close`): a proxy
/// that keeps connections to this process open makes its next ones to others, and none is closed
/// under a request.
pub(crate) async fn serve<E: Endpoint + 'static>(
    listener: TcpListener,
    endpoint: E,
    bounds: Bounds,
    proxies: Arc<Proxies>,
    stopping: CancellationToken,
    shutdown: &CancellationToken,
) {
    let endpoint = Arc::new(endpoint);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let mut places = Places::new(bounds.connections);
    let limits = Limits::new(bounds.header_limit, bounds.body_limit);
    let memory = Memory::new(bounds.request_memory);
    let share = (bounds.request_memory / ADDRESS_SHARE).max(limits.counted());
    let addresses = Addresses::new(bounds.connections_per_address, share, proxies);
    let refusals = Refusals::new();
    let start = |place, stream: TcpStream, peer: SocketAddr| {
        let cut = cut.clone();
        tcp::limit_send_buffer(&stream, bounds.write_timeout);
        let Some(admitted) = addresses.admit(peer.ip()) else {
            meters::refused(Reason::AddressLimit);
            // The place is free for another one; how many are answered is bounded there.
            drop(place);
            if let Some(refusing) = refusals.refuse(stream) {
                connections.spawn(async move { cut.run_until_cancelled(refusing).await });
            }
            return;
        };
        let arrival = Arrival::new(Share::new(&memory, admitted.memory()), limits);
        let connection = connection(
            stream,
            peer,
            Arc::clone(&endpoint),
            bounds,
            arrival,
            stopping.clone(),
            shutdown.clone(),
        );
        connections.spawn(async move {
            let _held = (place, admitted, Open::new());
            cut.run_until_cancelled(connection).await
        });
    };
    loop {
        // The place first: while there is none, whoever connects waits in the system's queue, and
        // takes nothing of this process. A rush is served a little later; were its connections
        // closed, all of it would come back at once.
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async { (places.take().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (place, Ok((stream, peer))) => start(place, stream, peer),
            (_, Err(error)) => {
                // A connection that was gone before it was accepted is nobody's fault; anything
                // else may last, and must not spin.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
    // Closing the listener resets the connections that wait in the system's queue; whoever has come
    // so far is served.
    let last = tokio::time::Instant::now() + FIRST_REQUEST;
    while tokio::time::Instant::now() < last
        && let Ok((place, accepted)) =
            tokio::time::timeout(QUEUED, async { (places.take().await, listener.accept().await) })
                .await
    {
        match accepted {
            Ok((stream, peer)) => start(place, stream, peer),
            Err(_) => tokio::time::sleep(QUEUED).await,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(bounds.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were still under way at the end of the drain and are cut off"
        );
        cut.cancel();
        connections.wait().await;
    }
}

async fn connection<E: Endpoint>(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    bounds: Bounds,
    arrival: Arrival,
    stopping: CancellationToken,
    shutdown: CancellationToken,
) {
    // Without it an answer may wait for the acknowledgement of the one before. A socket that cannot
    // be told works all the same.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let accepted = tokio::time::Instant::now();
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&begun);
    let told = shutdown.clone();
    let closing = async move {
        told.cancelled().await;
        if !has_begun.load(Ordering::Relaxed) {
            // Its first request may be on its way, and would be lost.
            tokio::time::sleep_until(accepted + FIRST_REQUEST).await;
        }
    };
    let mut closing = std::pin::pin!(closing);
    // A connection that says nothing gets no buffers and little time.
    let mut first = [0; 1];
    let heard = tokio::time::timeout(bounds.first_byte_timeout, stream.peek(&mut first));
    tokio::select! {
        biased;
        heard = heard => match heard {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return,
            Err(_) => return meters::refused(Reason::Silent),
        },
        () = &mut closing => return,
    }
    let arrival = Arc::new(arrival);
    let arriving = Arc::clone(&arrival);
    let service = service_fn(move |request: http::Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        let arrival = Arc::clone(&arriving);
        let large_head = arrival.begin();
        let (endpoint, stopping) = (Arc::clone(&endpoint), stopping.clone());
        let has_body = !request.body().is_end_stream();
        let mut request: Request =
            (request, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP).into();
        let read = has_body.then(|| watch_body(&mut request));
        // The endpoint reads from it whether the body was cut off at a bound.
        request.set_data(Arc::clone(&arrival));
        Box::pin(async move {
            let mut response: Response = endpoint.get_response(request).await;
            // hyper closes a connection on which the rest of a body may still come; a client that
            // is not told would use it again.
            let cut_short = read.is_some_and(|read| !read.load(Ordering::Relaxed));
            if let Some(fault) = arrival.body_fault() {
                meters::refused(match fault {
                    Fault::TooLarge => Reason::BodySize,
                    Fault::NoMemory => Reason::Memory,
                });
            }
            // hyper keeps the buffer of a large head until its connection ends.
            let last = cut_short || large_head || stopping.is_cancelled();
            arrival.end(last);
            if last {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(http::Response::from(response))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(MOST_HEADERS)
        .max_buf_size((bounds.header_limit * BUFFER).max(SMALLEST_BUFFER))
        .serve_connection(
            TokioIo::new(Bounded::new(
                Progress::new(stream, bounds.write_timeout),
                Arc::clone(&arrival),
            )),
            service,
        );
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = &mut closing, if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let (stream, flushed) = connection.into_parts().io.into_inner().into_parts();
    let mut stream = stream.into_inner();
    if let Some(fault) = arrival.head_fault() {
        tracing::debug!(?fault, %peer, "a head was not read to its end");
        meters::refused(match fault {
            Fault::TooLarge => Reason::HeadSize,
            Fault::NoMemory => Reason::Memory,
        });
        let answer = refusal::to_head(fault, bounds.header_limit).await;
        // In the middle of an earlier answer this one would be garbage.
        let written = flushed
            && tokio::time::timeout(bounds.write_timeout, stream.write_all(&answer))
                .await
                .is_ok_and(|written| written.is_ok());
        match written {
            true => close(stream, bounds.write_timeout, shutdown).await,
            false => reset(&stream),
        }
        return;
    }
    match ended {
        Ok(()) => close(stream, bounds.write_timeout, shutdown).await,
        Err(error) => {
            tracing::debug!(%error, %peer, "a connection ended early");
            match is_stuck(&error) {
                true => reset(&stream),
                // Answers to earlier requests may not have been taken yet.
                false => close(stream, LINGER, shutdown).await,
            }
        }
    }
}

/// The flag is set when the body has been read to its end.
fn watch_body(request: &mut Request) -> Arc<AtomicBool> {
    let read = Arc::new(AtomicBool::new(false));
    let end = stream::poll_fn({
        let read = Arc::clone(&read);
        move |_| {
            read.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        }
    });
    let body = request.take_body().into_bytes_stream();
    request.set_body(Body::from_bytes_stream(body.chain(end)));
    read
}

/// Whether a write has made no progress for too long.
fn is_stuck(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Makes the system drop what it keeps for a client that does not take it. If it refuses, it keeps
/// that for the write time-out.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Closes a connection within `limit`; at once when the server stops: the system does the rest.
async fn close(stream: TcpStream, limit: Duration, shutdown: CancellationToken) {
    tokio::select! {
        biased;
        () = tcp::close(stream, limit) => {}
        () = shutdown.cancelled() => {}
    }
}
