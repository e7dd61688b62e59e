//! The HTTP/1.1 server: accepts connections, limits them, and drains them at shutdown.
//!
//! poem's own server has no limit on the time and size of headers beyond hyper's defaults (none,
//! and about 400 KiB). It serves HTTP/1.1 only: browsers need TLS for HTTP/2, and the proxies that
//! terminate TLS use HTTP/1.1 to their upstreams.

mod address_limit;
mod connection_limit;
mod early_response;
mod metrics;
mod write_timeout;

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

use self::{
    address_limit::AddressLimit,
    connection_limit::ConnectionLimit,
    early_response::EarlyResponses,
    metrics::{OpenConnection, RefusalReason},
    write_timeout::WriteTimeout,
};
use crate::{
    proxies::Proxies,
    read_limit::{
        LimitedStream, MemoryBudget, MemoryQuota, ReadLimit, ReadLimitError, RequestLimits,
    },
};

/// Maximum number of headers; hyper responds to more with a 431 without a body.
const MAX_HEADERS: usize = 256;
/// Size of hyper's buffer, as a multiple of the header limit. hyper responds to a larger head with
/// a 431 without a body; [`ReadLimit`] stops before.
const BUFFER_FACTOR: usize = 4;
/// hyper's minimum buffer size.
const MIN_BUFFER: usize = 8192;
/// Delay after a failed `accept`, which usually means that no file descriptor is left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The time for the first request of a new connection during the shutdown.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
/// The time to accept the next connection of the listen backlog during the shutdown.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(10);

/// A client address may hold a quarter of the request memory.
const ADDRESS_MEMORY_DIVISOR: usize = 4;

/// The time for the client to read earlier responses after an error.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of the server, as in [`Config`](crate::Config).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerLimits {
    pub(crate) header_limit: usize,
    pub(crate) body_limit: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) request_memory: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) drain_timeout: Duration,
}

/// Serves `endpoint` until `shutdown` is cancelled. Then it stops accepting, closes idle
/// connections, and waits at most the drain timeout for requests in flight.
///
/// After `stopping` is cancelled, each response has `Connection: close`, so that a proxy moves its
/// kept-alive connections to other replicas before the shutdown.
pub(crate) async fn serve<E: Endpoint + 'static>(
    listener: TcpListener,
    endpoint: E,
    limits: ServerLimits,
    proxies: Arc<Proxies>,
    stopping: CancellationToken,
    shutdown: &CancellationToken,
) {
    let endpoint = Arc::new(endpoint);
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut connection_limit = ConnectionLimit::new(limits.connections);
    let request_limits = RequestLimits::new(limits.header_limit, limits.body_limit);
    let memory = MemoryBudget::new(limits.request_memory);
    let address_memory =
        (limits.request_memory / ADDRESS_MEMORY_DIVISOR).max(request_limits.max_counted());
    let address_limit = AddressLimit::new(limits.connections_per_address, address_memory, proxies);
    let early_responses = EarlyResponses::new();
    let start = |permit, stream: TcpStream, peer: SocketAddr| {
        let abort = abort.clone();
        tcp::limit_send_buffer(&stream, limits.write_timeout);
        let Some(address_permit) = address_limit.try_acquire(peer.ip()) else {
            metrics::count_refused(RefusalReason::AddressLimit);
            drop(permit);
            if let Some(response) = early_responses.try_respond(stream) {
                connections.spawn(async move { abort.run_until_cancelled(response).await });
            }
            return;
        };
        let quota = MemoryQuota::new(&memory, address_permit.memory());
        let connection = connection(
            stream,
            peer,
            Arc::clone(&endpoint),
            limits,
            ReadLimit::new(quota, request_limits),
            stopping.clone(),
            shutdown.clone(),
        );
        connections.spawn(async move {
            let _guards = (permit, address_permit, OpenConnection::new());
            abort.run_until_cancelled(connection).await
        });
    };
    loop {
        // The permit comes first: without one, new connections stay in the listen backlog and cost
        // this process nothing. Clients whose connections were closed would reconnect immediately.
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                (connection_limit.acquire().await, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (permit, Ok((stream, peer))) => start(permit, stream, peer),
            (_, Err(error)) => {
                // Other errors may last: do not spin.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "failed to accept a connection; retrying");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
    // Closing the listener would reset the connections in its backlog, so accept them first.
    let deadline = tokio::time::Instant::now() + FIRST_REQUEST_GRACE;
    while tokio::time::Instant::now() < deadline
        && let Ok((permit, accepted)) = tokio::time::timeout(BACKLOG_TIMEOUT, async {
            (connection_limit.acquire().await, listener.accept().await)
        })
        .await
    {
        match accepted {
            Ok((stream, peer)) => start(permit, stream, peer),
            Err(_) => tokio::time::sleep(BACKLOG_TIMEOUT).await,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "drain timed out; aborting connections");
        abort.cancel();
        connections.wait().await;
    }
}

async fn connection<E: Endpoint>(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    limits: ServerLimits,
    read_limit: ReadLimit,
    stopping: CancellationToken,
    shutdown: CancellationToken,
) {
    // Without it, a response may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let accepted = tokio::time::Instant::now();
    let started = Arc::new(AtomicBool::new(false));
    let has_started = Arc::clone(&started);
    let token = shutdown.clone();
    let closing = async move {
        token.cancelled().await;
        if !has_started.load(Ordering::Relaxed) {
            // The first request may be on its way and would be lost.
            tokio::time::sleep_until(accepted + FIRST_REQUEST_GRACE).await;
        }
    };
    let mut closing = std::pin::pin!(closing);
    // No buffers before the first byte.
    let mut byte = [0; 1];
    let first_byte = tokio::time::timeout(limits.first_byte_timeout, stream.peek(&mut byte));
    tokio::select! {
        biased;
        first_byte = first_byte => match first_byte {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return,
            Err(_) => return metrics::count_refused(RefusalReason::FirstByteTimeout),
        },
        () = &mut closing => return,
    }
    let read_limit = Arc::new(read_limit);
    let service_read_limit = Arc::clone(&read_limit);
    let service = service_fn(move |request: http::Request<Incoming>| {
        started.store(true, Ordering::Relaxed);
        let read_limit = Arc::clone(&service_read_limit);
        let large_head = read_limit.start_request();
        let (endpoint, stopping) = (Arc::clone(&endpoint), stopping.clone());
        let has_body = !request.body().is_end_stream();
        let mut request: Request =
            (request, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP).into();
        let body_read = has_body.then(|| track_body(&mut request));
        request.set_data(Arc::clone(&read_limit));
        Box::pin(async move {
            let mut response: Response = endpoint.get_response(request).await;
            // hyper closes a connection with an unread body; without the header, the client would
            // reuse it.
            let body_unread = body_read.is_some_and(|read| !read.load(Ordering::Relaxed));
            if let Some(error) = read_limit.body_error() {
                metrics::count_refused(match error {
                    ReadLimitError::TooLarge => RefusalReason::BodySize,
                    ReadLimitError::OutOfMemory => RefusalReason::Memory,
                });
            }
            // hyper keeps the buffer of a large head as long as its connection.
            let last = body_unread || large_head || stopping.is_cancelled();
            read_limit.finish_request(last);
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
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size((limits.header_limit * BUFFER_FACTOR).max(MIN_BUFFER))
        .serve_connection(
            TokioIo::new(LimitedStream::new(
                WriteTimeout::new(stream, limits.write_timeout),
                Arc::clone(&read_limit),
            )),
            service,
        );
    let mut is_closing = false;
    let result = loop {
        tokio::select! {
            result = poll_fn(|context| connection.poll_without_shutdown(context)) => break result,
            () = &mut closing, if !is_closing => {
                is_closing = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let (stream, flushed) = connection.into_parts().io.into_inner().into_parts();
    let mut stream = stream.into_inner();
    if let Some(error) = read_limit.head_error() {
        tracing::debug!(?error, %peer, "request head exceeded a limit");
        metrics::count_refused(match error {
            ReadLimitError::TooLarge => RefusalReason::HeadSize,
            ReadLimitError::OutOfMemory => RefusalReason::Memory,
        });
        let response = early_response::to_unread_head(error, limits.header_limit).await;
        // Bytes in the middle of an earlier response would corrupt it.
        let written = flushed
            && tokio::time::timeout(limits.write_timeout, stream.write_all(&response))
                .await
                .is_ok_and(|written| written.is_ok());
        match written {
            true => close(stream, limits.write_timeout, shutdown).await,
            false => reset(&stream),
        }
        return;
    }
    match result {
        Ok(()) => close(stream, limits.write_timeout, shutdown).await,
        Err(error) => {
            tracing::debug!(%error, %peer, "connection failed");
            match is_write_timeout(&error) {
                true => reset(&stream),
                false => close(stream, LINGER_TIMEOUT, shutdown).await,
            }
        }
    }
}

/// Returns a flag that is set at the end of the body.
fn track_body(request: &mut Request) -> Arc<AtomicBool> {
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

fn is_write_timeout(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Discards unsent data.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Closes a connection within `limit`; during the shutdown it leaves that to the system.
async fn close(stream: TcpStream, limit: Duration, shutdown: CancellationToken) {
    tokio::select! {
        biased;
        () = tcp::close(stream, limit) => {}
        () = shutdown.cancelled() => {}
    }
}
