//! How every gRPC service of the store is served: health, reflection, deadlines, bounds, a drain that ends.

mod cut;
mod deadline;
mod health;
pub mod replicas;
pub mod trace;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

pub use deadline::AnswerBy;

use crate::{Readiness, StartError};

/// The time that calls which are cut off have for their answers to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The bounds of a gRPC server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The time a call may take until its answer begins, for callers that send no `grpc-timeout` or a longer one. A long-lived stream is answered at
    /// once, so it may last for longer.
    pub deadline: Duration,
    /// Calls that one connection may have under way; a client waits with more than these.
    pub concurrent_calls_per_connection: u32,
    /// Bytes of a call's headers.
    pub header_bytes: u32,
    /// Silence after which a connection is asked whether it still lives (HTTP/2 ping).
    pub keepalive_interval: Duration,
    /// The time that it may take to answer that; then the connection is closed.
    pub keepalive_timeout: Duration,
    /// The time that calls under way have to end after `shutdown` is cancelled.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            concurrent_calls_per_connection: 1024,
            header_bytes: 16 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The full names of the services in `routes`, for gRPC health: `merch.assistant.v1.AssistantService`.
    pub services: &'static [&'static str],
    /// An encoded `FileDescriptorSet` that describes them, for reflection.
    pub file_descriptor_set: &'static [u8],
}

/// Serves `routes`, the standard health service (which follows `readiness`, per service and for the whole server) and reflection (v1) until `shutdown` is
/// cancelled; then no call is accepted, and those under way have [`Limits::drain`] to end. What is not
/// done by then, streams included, is answered `UNAVAILABLE`, and what was computing it is dropped. Not reached by that
/// are tasks that a call has spawned, and a stream whose client takes nothing of it.
///
/// Each call runs in a span with its method, its `x-request-id` and the trace id of its `traceparent`.
///
/// A call past its deadline is answered with `DEADLINE_EXCEEDED`. The size of a message is bounded where the generated service is made
/// (`max_decoding_message_size`; tonic's default is 4 MiB).
///
/// # Errors
/// When the descriptors cannot be read or the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    contract: Contract,
    limits: Limits,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(contract.file_descriptor_set)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| StartError::new(format!("the gRPC descriptors of this build cannot be read: {error}")))?;
    // Following ends with this function, whichever way it ends.
    let following = CancellationToken::new();
    let _end = following.clone().drop_guard();
    let health = health::service(contract.services, readiness, shutdown.clone(), following).await;
    let cut = CancellationToken::new();
    let serving = Server::builder()
        .layer(trace::TraceLayer)
        .layer(deadline::DeadlineLayer { most: limits.deadline, cut: cut.clone() })
        .max_concurrent_streams(limits.concurrent_calls_per_connection)
        .http2_max_header_list_size(limits.header_bytes)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .add_routes(routes.add_service(health).add_service(reflection))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown.clone().cancelled_owned());
    let failed = |error| StartError::new(format!("the gRPC server failed: {error}"));
    let mut serving = std::pin::pin!(serving);
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limits.drain).await;
    };
    tokio::select! {
        served = &mut serving => return served.map_err(failed),
        () = too_long => {}
    }
    tracing::warn!(
        drain_seconds = limits.drain.as_secs_f64(),
        "calls were still under way at the end of the drain and are answered UNAVAILABLE"
    );
    cut.cancel();
    if let Ok(served) = tokio::time::timeout(LAST_ANSWERS, serving).await {
        return served.map_err(failed);
    }
    tracing::warn!("clients still hold connections open, or do not take their last answers; these end with the process");
    Ok(())
}
