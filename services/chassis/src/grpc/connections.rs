//! The connections of a gRPC server, each served to its end.
//!
//! A connection ends in good order when it has reached its maximum age, or when its peer is no
//! longer trusted: the client is told that it takes no more calls (GOAWAY), and those under way are
//! answered. tonic's own server cannot do this: its `max_connection_age` is the same for all
//! connections, and with a grace it sends no GOAWAY.

use std::{sync::Arc, time::Duration};

use hyper::{body::Incoming as RequestBody, server::conn::http2, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, codegen::http::Request, service::Routes};
use tower::Layer as _;

use super::{
    LAST_ANSWERS, Limits,
    access::AccessLayer,
    deadline::DeadlineLayer,
    trace::TraceLayer,
    transport::{Incoming, Peer},
};
use crate::with_causes;

/// What the connections of a server have in common.
pub(super) struct Connections {
    pub(super) routes: Routes,
    pub(super) access: AccessLayer,
    pub(super) limits: Limits,
    /// Ends the calls under way when it is cancelled.
    pub(super) cut: CancellationToken,
    /// Ends the connections in good order when it is cancelled.
    pub(super) shutdown: CancellationToken,
}

impl Connections {
    /// Serves what comes out of `incoming`, until `shutdown` is cancelled and every connection has
    /// ended.
    pub(super) async fn serve(self, mut incoming: mpsc::Receiver<Incoming>) {
        let connections = Arc::new(self);
        let tasks = TaskTracker::new();
        loop {
            tokio::select! {
                () = connections.shutdown.cancelled() => break,
                next = incoming.recv() => match next {
                    Some(next) => drop(tasks.spawn(Arc::clone(&connections).serve_one(next))),
                    None => break,
                },
            }
        }
        // A connection that is handed over from now on is closed, and does not wait in the channel
        // for the drain to end.
        drop(incoming);
        tasks.close();
        tasks.wait().await;
    }

    async fn serve_one(self: Arc<Self>, incoming: Incoming) {
        let Incoming { io, peer, trust } = incoming;
        let cut = self.cut.child_token();
        let service = self.service(peer.clone(), cut.clone());
        let mut connection =
            std::pin::pin!(self.http().serve_connection(TokioIo::new(io), service));
        let untrusted = async {
            match &trust {
                Some(trust) => trust.ended().await,
                None => std::future::pending().await,
            }
        };
        // The time that calls under way have to end.
        let drain = tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    let error = with_causes(error.to_string(), &error);
                    tracing::debug!(%peer, error, "a connection broke");
                }
                return;
            }
            // `drained` bounds the drain of all connections together.
            () = self.shutdown.cancelled() => Duration::MAX,
            () = sleep(with_jitter(self.limits.connection_age)) => {
                tracing::debug!(%peer, "closing a connection that reached its maximum age");
                self.limits.drain
            }
            error = untrusted => {
                tracing::info!(%peer, %error, "closing a connection: its peer is no longer trusted");
                self.limits.drain
            }
        };
        connection.as_mut().graceful_shutdown();
        if timeout(drain, &mut connection).await.is_err() {
            cut.cancel();
            let _ = timeout(LAST_ANSWERS, connection).await;
        }
    }

    fn http(&self) -> http2::Builder<TokioExecutor> {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.concurrent_calls_per_connection)
            .max_header_list_size(self.limits.header_bytes)
            .keep_alive_interval(self.limits.keepalive_interval)
            .keep_alive_timeout(self.limits.keepalive_timeout);
        http
    }

    /// The service for the calls of `peer` on one connection.
    fn service(
        &self,
        peer: Peer,
        cut: CancellationToken,
    ) -> impl hyper::service::Service<
        Request<RequestBody>,
        Response = tonic::codegen::http::Response<Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let deadline = DeadlineLayer { most: self.limits.deadline, cut };
        let bounded = self.access.layer(deadline.layer(self.routes.clone()));
        let service = TowerToHyperService::new(TraceLayer.layer(bounded));
        hyper::service::service_fn(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(peer.clone());
            service.call(request.map(Body::new))
        })
    }
}

/// A tenth more or less, so that connections which were opened together do not end together.
fn with_jitter(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.9..1.1))
}
