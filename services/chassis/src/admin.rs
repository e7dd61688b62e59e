//! The admin port of a role: `/livez`, `/readyz` and `/metrics`, for orchestrators and operators,
//! never for the public.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Endpoint, EndpointExt as _, IntoResponse, Request, Response, Route, get, handler,
    http::{
        self, StatusCode, header,
        uri::{Authority, Scheme},
    },
    web::{Data, LocalAddr, RemoteAddr},
};
use prometheus::{Encoder as _, TextEncoder};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Readiness, StartError, network::is_loopback, tcp};

/// How long open connections may take to end once `shutdown` is cancelled: an answer here takes
/// microseconds.
const DRAIN: Duration = Duration::from_secs(1);
/// Connections that are open at the same time; further ones wait in the system's queue.
const CONNECTIONS: usize = 64;
/// Bytes of a request's line and headers.
const HEAD: usize = 16 * 1024;
/// The time that these may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a request and its answer may take together.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that the client then has to take the rest of the answer and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the admin port until `shutdown` is cancelled.
///
/// - `GET /livez`: 200 as long as the process answers;
/// - `GET /readyz`: 200 `{"ready": true, "status": "ready"}`; 200 with status `degraded` and
///   `"reasons": [{"part": …, "reason": …}]`, when the role does its work and something behind it
///   does not; 503 `{"ready": false, "status": "not_ready", "reasons": …}`;
/// - `GET /metrics`: what is registered with [`prometheus::default_registry`], as text.
///
/// On a loopback address, a request for a host that is neither an address nor `localhost` is
/// answered 403: a web page whose host name leads to a loopback address could read the answer
/// otherwise.
/// Serves HTTP/1.1, one request on each connection.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let failed =
        |error: std::io::Error| StartError::new(format!("the admin server failed: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    let is_loopback = is_loopback(address.ip());
    let routes = Route::new()
        .at("/livez", get(livez))
        .at("/readyz", get(readyz))
        .at("/metrics", get(metrics))
        .data(readiness);
    let routes = Arc::new(routes.before(move |request| async move {
        if is_loopback { of_this_machine(request) } else { Ok(request) }
    }));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    let accept = async || (Arc::clone(&places).acquire_owned().await, listener.accept().await);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept() => accepted,
        };
        match accepted {
            (place, Ok((stream, peer))) => {
                let (routes, cut) = (Arc::clone(&routes), cut.clone());
                connections.spawn(async move {
                    cut.run_until_cancelled(connection(stream, peer, address, routes)).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "failed to accept an admin connection; retrying");
                sleep(tcp::AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Answers one request and closes the connection.
async fn connection<E: Endpoint>(
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    routes: Arc<E>,
) {
    tcp::bound(&stream, EXCHANGE_TIMEOUT);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let routes = Arc::clone(&routes);
        let (local, peer) = (LocalAddr(local.into()), RemoteAddr(peer.into()));
        let request: Request = (request, local, peer, Scheme::HTTP).into();
        Box::pin(async move {
            let response = routes.get_response(request).await;
            Ok::<_, Infallible>(http::Response::from(response))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let serving = poll_fn(|context| connection.poll_without_shutdown(context));
    let served = timeout(EXCHANGE_TIMEOUT, serving).await;
    tracing::debug!(%peer, ?served, "an admin connection ended");
    tcp::close(connection.into_parts().io.into_inner(), CLOSE_TIMEOUT).await;
}

/// Refuses a request that is for another host. One that names no host is not a browser's.
fn of_this_machine(request: Request) -> poem::Result<Request> {
    let in_head = request.headers().get_all(header::HOST).iter();
    let in_head = in_head.map(|host| Authority::try_from(host.as_bytes()).ok());
    // Of a request in absolute form.
    let in_target = request.original_uri().authority().cloned().map(Some);
    let mut hosts = in_head.chain(in_target);
    if hosts.all(|host| host.is_some_and(|host| is_local(host.host()))) {
        return Ok(request);
    }
    let reason = "the admin port on a loopback address answers requests for an IP address or \
                  localhost; expected one of these as the host\n";
    Err(poem::Error::from_string(reason, StatusCode::FORBIDDEN))
}

/// Whether `host` is an address, or a name that is of this machine everywhere (RFC 6761, section
/// 6.3).
fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[handler]
fn livez() -> Response {
    json_response(StatusCode::OK, &json!({ "live": true }))
}

#[handler]
fn readyz(readiness: Data<&Readiness>) -> Response {
    let answer = |status, ready, word, reasons: Vec<(&str, String)>| {
        let mut body = json!({ "ready": ready, "status": word });
        if !reasons.is_empty() {
            body["reasons"] = reasons
                .into_iter()
                .map(|(part, reason)| json!({ "part": part, "reason": reason }))
                .collect();
        }
        json_response(status, &body)
    };
    match (readiness.check(), readiness.degraded()) {
        (Ok(()), degraded) if degraded.is_empty() => {
            answer(StatusCode::OK, true, "ready", degraded)
        }
        (Ok(()), degraded) => answer(StatusCode::OK, true, "degraded", degraded),
        (Err(reasons), _) => answer(StatusCode::SERVICE_UNAVAILABLE, false, "not_ready", reasons),
    }
}

#[handler]
fn metrics() -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut text) {
        Ok(()) => {
            Response::builder().header(header::CONTENT_TYPE, encoder.format_type()).body(text)
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(format!("{body}\n"))
}
