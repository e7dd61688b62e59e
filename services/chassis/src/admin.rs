//! The admin port of a role: `/livez`, `/readyz` and `/metrics`, for orchestrators and operators, never for the public.

use std::time::Duration;

use poem::{
    EndpointExt as _, IntoResponse, Response, Route, Server, get, handler,
    http::{StatusCode, header},
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
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: CancellationToken) -> Result<(), StartError> {
    let failed = |error: std::io::Error| StartError::new(format!("the admin server failed: {error}"));
    let routes = Route::new().at("/livez", get(livez)).at("/readyz", get(readyz)).at("/metrics", get(metrics)).data(readiness);
    Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).map_err(failed)?)
        .name("admin")
        .idle_timeout(IDLE)
        .run_with_graceful_shutdown(routes, shutdown.cancelled_owned(), Some(DRAIN))
        .await
        .map_err(failed)
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
