//! Closes connections with GOAWAY, after their calls, at their maximum age or when the peer loses
//! trust. tonic's `max_connection_age` has neither jitter nor a grace period.

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
    FINAL_RESPONSE_TIMEOUT, Limits,
    access::AccessLayer,
    deadline::DeadlineLayer,
    trace::TraceLayer,
    transport::{Incoming, Peer},
};
use crate::error_chain;

pub(super) struct Connections {
    pub(super) routes: Routes,
    pub(super) access: AccessLayer,
    pub(super) limits: Limits,
    pub(super) drain_end: CancellationToken,
    pub(super) shutdown: CancellationToken,
}

impl Connections {
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
        drop(incoming);
        tasks.close();
        tasks.wait().await;
    }

    async fn serve_one(self: Arc<Self>, incoming: Incoming) {
        let Incoming { io, peer, trust } = incoming;
        let drain_end = self.drain_end.child_token();
        let service = self.service(peer.clone(), drain_end.clone());
        let mut connection =
            std::pin::pin!(self.http().serve_connection(TokioIo::new(io), service));
        let untrusted = async {
            match &trust {
                Some(trust) => trust.ended().await,
                None => std::future::pending().await,
            }
        };
        let drain = tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    let error = error_chain(error.to_string(), &error);
                    tracing::debug!(%peer, error, "connection failed");
                }
                return;
            }
            () = self.shutdown.cancelled() => Duration::MAX,
            () = sleep(with_jitter(self.limits.connection_age)) => {
                tracing::debug!(%peer, "closing connection: maximum age reached");
                self.limits.drain
            }
            error = untrusted => {
                tracing::info!(%peer, %error, "closing connection: peer no longer trusted");
                self.limits.drain
            }
        };
        connection.as_mut().graceful_shutdown();
        if timeout(drain, &mut connection).await.is_err() {
            drain_end.cancel();
            let _ = timeout(FINAL_RESPONSE_TIMEOUT, connection).await;
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

    fn service(
        &self,
        peer: Peer,
        drain_end: CancellationToken,
    ) -> impl hyper::service::Service<
        Request<RequestBody>,
        Response = tonic::codegen::http::Response<Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let deadline = DeadlineLayer { max: self.limits.deadline, drain_end };
        let bounded = self.access.layer(deadline.layer(self.routes.clone()));
        let service = TowerToHyperService::new(TraceLayer.layer(bounded));
        hyper::service::service_fn(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(peer.clone());
            service.call(request.map(Body::new))
        })
    }
}

fn with_jitter(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.9..1.1))
}
