//! The admin port of a role: `/livez`, `/readyz` and `/metrics`. Not for public networks.

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

const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Further connections wait in the listen backlog.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the admin port over HTTP/1.1, one request per connection, until `shutdown` is cancelled.
///
/// - `GET /livez`: 200 while the process responds.
/// - `GET /readyz`: 200 if `ready` or `degraded`, 503 if `not_ready`. The last two list `"reasons":
///   [{"part": …, "reason": …}]`.
/// - `GET /metrics`: [`prometheus::default_registry`] in the text format.
///
/// On a loopback address, hosts other than IP addresses and `localhost` get 403, against DNS
/// rebinding.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let failed = |error: std::io::Error| {
        StartError::new(format!("the admin server failed: {error}; restart the role"))
    };
    let address = listener.local_addr().map_err(failed)?;
    let is_loopback = is_loopback(address.ip());
    let routes = Route::new()
        .at("/livez", get(livez))
        .at("/readyz", get(readyz))
        .at("/metrics", get(metrics))
        .data(readiness);
    let routes = Arc::new(routes.before(move |request| async move {
        if is_loopback { require_local_host(request) } else { Ok(request) }
    }));
    let connection_limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (connections, abort) = (TaskTracker::new(), CancellationToken::new());
    let accept =
        async || (Arc::clone(&connection_limit).acquire_owned().await, listener.accept().await);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept() => accepted,
        };
        match accepted {
            (permit, Ok((stream, peer))) => {
                let (routes, abort) = (Arc::clone(&routes), abort.clone());
                connections.spawn(async move {
                    abort.run_until_cancelled(connection(stream, peer, address, routes)).await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "failed to accept admin connection; retrying");
                sleep(tcp::ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        abort.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn connection<E: Endpoint>(
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    routes: Arc<E>,
) {
    tcp::limit_send_buffer(&stream, EXCHANGE_TIMEOUT);
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
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let serving = poll_fn(|context| connection.poll_without_shutdown(context));
    let served = timeout(EXCHANGE_TIMEOUT, serving).await;
    tracing::debug!(%peer, ?served, "admin connection closed");
    tcp::close(connection.into_parts().io.into_inner(), CLOSE_TIMEOUT).await;
}

/// Browsers always send a host, so requests without one pass.
fn require_local_host(request: Request) -> poem::Result<Request> {
    let in_head = request.headers().get_all(header::HOST).iter();
    let in_head = in_head.map(|host| Authority::try_from(host.as_bytes()).ok());
    let in_target = request.original_uri().authority().cloned().map(Some);
    let mut hosts = in_head.chain(in_target);
    if hosts.all(|host| host.is_some_and(|host| is_local(host.host()))) {
        return Ok(request);
    }
    let reason = "expected an IP address or localhost as the host, because the admin port is on a \
                  loopback address\n";
    Err(poem::Error::from_string(reason, StatusCode::FORBIDDEN))
}

/// RFC 6761, section 6.3.
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
    let respond = |status, ready, name, reasons: Vec<(&str, String)>| {
        let mut body = json!({ "ready": ready, "status": name });
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
            respond(StatusCode::OK, true, "ready", degraded)
        }
        (Ok(()), degraded) => respond(StatusCode::OK, true, "degraded", degraded),
        (Err(reasons), _) => respond(StatusCode::SERVICE_UNAVAILABLE, false, "not_ready", reasons),
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
            tracing::error!(%error, "failed to encode metrics");
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
