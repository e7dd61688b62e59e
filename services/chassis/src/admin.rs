//! The admin port of a role: `/livez`, `/readyz` and `/metrics`, for orchestrators and operators, never for the public.

use std::{net::IpAddr, time::Duration};

use poem::{
    EndpointExt as _, IntoResponse, Request, Response, Route, Server, get, handler,
    http::{StatusCode, header, uri::Authority},
    listener::TcpAcceptor,
    web::Data,
};
use prometheus::{Encoder as _, TextEncoder};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Readiness, StartError};

/// How long open connections may take to end once `shutdown` is cancelled: an answer here takes microseconds.
const DRAIN: Duration = Duration::from_secs(1);
/// A probe asks every few seconds; a connection that is silent for longer is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Serves the admin port until `shutdown` is cancelled.
///
/// - `GET /livez`: 200 as long as the process answers;
/// - `GET /readyz`: 200 `{"ready": true, "status": "ready"}`; 200 with status `degraded` and `"reasons": [{"part": …, "reason": …}]`, when the role does
///   its work and something behind it does not; 503 `{"ready": false, "status": "not_ready", "reasons": …}`;
/// - `GET /metrics`: what is registered with [`prometheus::default_registry`], as text.
///
/// On a loopback address, a request for a host that is neither an address nor `localhost` is
/// answered 403: a web page whose host name leads to a loopback address could read the answer
/// otherwise.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: CancellationToken) -> Result<(), StartError> {
    let failed = |error: std::io::Error| StartError::new(format!("the admin server failed: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    let is_loopback = address.ip().to_canonical().is_loopback();
    let routes = Route::new().at("/livez", get(livez)).at("/readyz", get(readyz)).at("/metrics", get(metrics)).data(readiness);
    let routes = routes.before(move |request| async move { if is_loopback { of_this_machine(request) } else { Ok(request) } });
    Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).map_err(failed)?)
        .name("admin")
        .idle_timeout(IDLE)
        .run_with_graceful_shutdown(routes, shutdown.cancelled_owned(), Some(DRAIN))
        .await
        .map_err(failed)
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
            body["reasons"] = reasons.into_iter().map(|(part, reason)| json!({ "part": part, "reason": reason })).collect();
        }
        json_response(status, &body)
    };
    match (readiness.check(), readiness.degraded()) {
        (Ok(()), degraded) if degraded.is_empty() => answer(StatusCode::OK, true, "ready", degraded),
        (Ok(()), degraded) => answer(StatusCode::OK, true, "degraded", degraded),
        (Err(reasons), _) => answer(StatusCode::SERVICE_UNAVAILABLE, false, "not_ready", reasons),
    }
}

#[handler]
fn metrics() -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut text) {
        Ok(()) => Response::builder().header(header::CONTENT_TYPE, encoder.format_type()).body(text),
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
