//! How every gRPC service of the store is served: health, reflection, deadlines, bounds, a drain
//! that ends.

mod access;
mod connections;
mod cut;
mod deadline;
mod health;
pub mod replicas;
pub mod trace;
mod transport;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use self::{
    access::{Access, Role},
    deadline::AnswerBy,
    transport::{Address, Files, Listen, Listener, Peer, Tls, Transport, path_of_url, url_of_path},
};
#[cfg(feature = "pki")]
pub(crate) use transport::inspect;

use self::connections::Connections;
use crate::{Readiness, StartError};

/// The time that calls which are cut off have for their answers to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The bounds of a gRPC server, and what it offers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The time a call may take until its answer begins, for callers that send no `grpc-timeout` or
    /// a longer one. A long-lived stream is answered at once, so it may last for longer.
    pub deadline: Duration,
    /// Calls that one connection may have under way; a client waits with more than these.
    pub concurrent_calls_per_connection: u32,
    /// Bytes of a call's headers.
    pub header_bytes: u32,
    /// Silence after which a connection is asked whether it still lives (HTTP/2 ping).
    pub keepalive_interval: Duration,
    /// The time that it may take to answer that; then the connection is closed.
    pub keepalive_timeout: Duration,
    /// The age at which a connection takes no more calls, a tenth more or less; its client opens
    /// another one.
    pub connection_age: Duration,
    /// The time that calls under way have to end after `shutdown` is cancelled, and after their
    /// connection has reached its age or its peer is no longer trusted.
    pub drain: Duration,
    /// Whether reflection is served.
    pub reflection: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            concurrent_calls_per_connection: 1024,
            header_bytes: 16 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(60 * 60),
            drain: Duration::from_secs(10),
            reflection: false,
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The full names of the services in `routes`, for gRPC health:
    /// `merch.assistant.v1.AssistantService`.
    pub services: &'static [&'static str],
    /// An encoded `FileDescriptorSet` that describes them, for reflection.
    pub file_descriptor_set: &'static [u8],
    /// Who may call what, where callers prove their role.
    pub access: Access,
}

/// Serves `routes`, the standard health service (which follows `readiness`, per service and for the
/// whole server) and, if [`Limits::reflection`] says so, reflection (v1 and v1alpha) until
/// `shutdown` is cancelled; then no call is accepted, and those under way have [`Limits::drain`] to
/// end. What is not done by then, streams included, is answered `UNAVAILABLE`, and what was
/// computing it is dropped. Not reached by that are tasks that a call has spawned, and a stream
/// whose client takes nothing of it.
///
/// Each call runs in a span with its method, its `x-request-id` and the trace id of its
/// `traceparent`.
///
/// A call past its deadline is answered with `DEADLINE_EXCEEDED`. The size of a message is bounded
/// where the generated service is made (`max_decoding_message_size`; tonic's default is 4 MiB).
///
/// # Errors
/// When the descriptors cannot be read.
pub async fn serve(
    listener: impl Into<Listener>,
    routes: Routes,
    contract: Contract,
    limits: Limits,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    // Following ends with this function, whichever way it ends.
    let following = CancellationToken::new();
    let _end = following.clone().drop_guard();
    let health = health::service(contract.services, readiness, shutdown.clone(), following).await;
    let cut = CancellationToken::new();
    let (incoming, accepting) = listener.into().incoming(&shutdown);
    // Its connections end with this function, too.
    let ended = shutdown.child_token();
    let _end_connections = ended.clone().drop_guard();
    let routes = with_reflection(routes.add_service(health), contract, limits.reflection)?;
    let connections = Connections {
        routes: routes.prepare(),
        access: access::AccessLayer::new(contract.access),
        limits: limits.clone(),
        cut: cut.clone(),
        shutdown: ended,
    };
    let mut drained =
        std::pin::pin!(drained(connections.serve(incoming), &limits, &cut, &shutdown));
    // In this task, so that the port and the socket are free once this returns or is dropped.
    tokio::select! {
        () = &mut drained => {}
        () = accepting => drained.await,
    }
    Ok(())
}

/// Runs `serving` to its end: at most [`Limits::drain`] and the time for last answers after
/// `shutdown` is cancelled.
async fn drained(
    serving: impl Future<Output = ()>,
    limits: &Limits,
    cut: &CancellationToken,
    shutdown: &CancellationToken,
) {
    let mut serving = std::pin::pin!(serving);
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limits.drain).await;
    };
    tokio::select! {
        () = &mut serving => return,
        () = too_long => {}
    }
    tracing::warn!(
        drain_seconds = limits.drain.as_secs_f64(),
        "calls were still under way at the end of the drain and are answered UNAVAILABLE"
    );
    cut.cancel();
    if tokio::time::timeout(LAST_ANSWERS, serving).await.is_err() {
        tracing::warn!(
            "clients still hold connections open, or do not take their last answers; these end with the process"
        );
    }
}

/// Adds reflection in both of its versions, as clients in use know only one of them.
fn with_reflection(routes: Routes, contract: Contract, wanted: bool) -> Result<Routes, StartError> {
    if !wanted {
        return Ok(routes);
    }
    let unreadable = |error| {
        StartError::new(format!("the gRPC descriptors of this build cannot be read: {error}"))
    };
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(contract.file_descriptor_set)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (
        described().build_v1().map_err(unreadable)?,
        described().build_v1alpha().map_err(unreadable)?,
    );
    Ok(routes.add_service(v1).add_service(v1alpha))
}
