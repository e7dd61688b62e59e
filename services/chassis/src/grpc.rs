//! The gRPC server of a role, and the client side of replicated services.

mod access;
mod connections;
mod deadline;
mod drain_body;
mod health;
pub mod replicas;
mod role;
pub mod trace;
mod transport;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use self::{
    access::Access,
    deadline::CallDeadline,
    role::Role,
    transport::{
        Address, ListenAddress, Listener, Peer, Tls, TlsFiles, Transport, path_of_url, url_of_path,
    },
};
#[cfg(feature = "pki")]
pub(crate) use transport::inspect;

use self::connections::Connections;
use crate::{Readiness, StartError};

const FINAL_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits and options of a gRPC server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum time until a response begins; a shorter `grpc-timeout` wins. Streams may last
    /// longer.
    pub deadline: Duration,
    /// Maximum concurrent calls on a connection.
    pub concurrent_calls_per_connection: u32,
    /// Maximum size of a call's headers in bytes.
    pub header_bytes: u32,
    /// Idle time after which the server sends an HTTP/2 PING.
    pub keepalive_interval: Duration,
    /// Time for the PING response; then the connection is closed.
    pub keepalive_timeout: Duration,
    /// Age after which a connection is closed with GOAWAY, with ±10 % jitter.
    pub connection_age: Duration,
    /// Time for calls in flight when the server or their connection closes.
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

/// The services of a server.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// Full names of the services: `merch.assistant.v1.AssistantService`.
    pub services: &'static [&'static str],
    /// Encoded `FileDescriptorSet`, for reflection.
    pub file_descriptor_set: &'static [u8],
    /// Roles that may call each method, if callers have certificates.
    pub access: Access,
}

/// Serves `routes`, gRPC health and, with [`Limits::reflection`], reflection v1 and v1alpha until
/// `shutdown` is cancelled; then drains for [`Limits::drain`].
///
/// Calls past their deadline get `DEADLINE_EXCEEDED`. Calls that outlast the drain get
/// `UNAVAILABLE`; tasks that they spawned go on. The generated services limit message sizes
/// (`max_decoding_message_size`; tonic's default is 4 MiB).
///
/// # Errors
/// If the descriptors are invalid.
pub async fn serve(
    listener: impl Into<Listener>,
    routes: Routes,
    contract: Contract,
    limits: Limits,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let health_updates = CancellationToken::new();
    let _stop_health = health_updates.clone().drop_guard();
    let health =
        health::service(contract.services, readiness, shutdown.clone(), health_updates).await;
    let drain_end = CancellationToken::new();
    let (incoming, accepting) = listener.into().incoming(&shutdown);
    let connections_shutdown = shutdown.child_token();
    let _stop_connections = connections_shutdown.clone().drop_guard();
    let routes = with_reflection(routes.add_service(health), contract, limits.reflection)?;
    let connections = Connections {
        routes: routes.prepare(),
        access: access::AccessLayer::new(contract.access),
        limits: limits.clone(),
        drain_end: drain_end.clone(),
        shutdown: connections_shutdown,
    };
    let mut serving = std::pin::pin!(serve_until_drained(
        connections.serve(incoming),
        &limits,
        &drain_end,
        &shutdown
    ));
    // In this task, so that port and socket are free once this returns or is dropped.
    tokio::select! {
        () = &mut serving => {}
        () = accepting => serving.await,
    }
    Ok(())
}

async fn serve_until_drained(
    serving: impl Future<Output = ()>,
    limits: &Limits,
    drain_end: &CancellationToken,
    shutdown: &CancellationToken,
) {
    let mut serving = std::pin::pin!(serving);
    let drain_timeout = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limits.drain).await;
    };
    tokio::select! {
        () = &mut serving => return,
        () = drain_timeout => {}
    }
    tracing::warn!(
        drain_seconds = limits.drain.as_secs_f64(),
        "drain timed out; aborting calls in flight with UNAVAILABLE"
    );
    drain_end.cancel();
    if tokio::time::timeout(FINAL_RESPONSE_TIMEOUT, serving).await.is_err() {
        tracing::warn!("connections still open after the drain; they close when the process exits");
    }
}

/// Clients support only one of the two versions.
fn with_reflection(routes: Routes, contract: Contract, wanted: bool) -> Result<Routes, StartError> {
    if !wanted {
        return Ok(routes);
    }
    let unreadable = |error| {
        StartError::new(format!(
            "the gRPC descriptors of this build cannot be read: {error}; please report this bug"
        ))
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
