use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use prometheus::{IntCounter, register_int_counter};
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
};
use tower::{Layer, Service};

use super::{
    role::Role,
    transport::{Identity, Peer},
};
use crate::LogThrottle;

static DENIED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_grpc_denied_calls_total",
        "gRPC calls by a role that may not make them"
    )
    .expect("the name is registered here and nowhere else")
});

/// Roles that may call each method: `("/merch.assistant.v1.AssistantService/GetProduct",
/// &[Role::Api])`. Unlisted methods are denied; health and reflection are open to every role.
pub type Access = &'static [(&'static str, &'static [Role])];

fn is_common(method: &str) -> bool {
    method.starts_with("/grpc.health.v1.Health/") || method.starts_with("/grpc.reflection.")
}

#[derive(Clone)]
pub(super) struct AccessLayer(Arc<AccessTable>);

struct AccessTable {
    allowed: HashMap<&'static str, &'static [Role]>,
    log_throttle: LogThrottle,
}

impl AccessLayer {
    pub(super) fn new(access: Access) -> Self {
        LazyLock::force(&DENIED);
        Self(Arc::new(AccessTable {
            allowed: access.iter().copied().collect(),
            log_throttle: LogThrottle::new(),
        }))
    }
}

impl AccessTable {
    fn allows(&self, identity: Identity, method: &str) -> bool {
        match identity {
            Identity::Unauthenticated | Identity::SameUser => true,
            Identity::Certificate(Some(role)) => self
                .allowed
                .get(method)
                .map_or_else(|| is_common(method), |roles| roles.contains(&role)),
            Identity::Certificate(None) => false,
        }
    }

    fn record_denied(&self, peer: &Peer, method: &str) {
        DENIED.inc();
        if let Some(calls) = self.log_throttle.record() {
            tracing::warn!(calls, %peer, method, "denied calls: role not authorized");
        }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = AccessService<S>;

    fn layer(&self, inner: S) -> AccessService<S> {
        AccessService { inner, table: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(super) struct AccessService<S> {
    inner: S,
    table: Arc<AccessTable>,
}

impl<S> Service<Request<Body>> for AccessService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path();
        let denied = match request.extensions().get::<Peer>() {
            Some(peer) if self.table.allows(peer.identity(), method) => None,
            Some(peer) => {
                self.table.record_denied(peer, method);
                Some(format!("{peer} may not call this method; use a role that may"))
            }
            None => {
                Some("the peer of the connection is unknown; please report this bug".to_owned())
            }
        };
        match denied {
            None => Box::pin(self.inner.call(request)),
            Some(message) => Box::pin(async { Ok(Status::permission_denied(message).into_http()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_call_their_methods_and_health() {
        let table = AccessLayer::new(&[
            ("/s/Read", &[Role::Api, Role::Operator]),
            ("/s/Write", &[Role::Api]),
        ])
        .0;
        let roles = |method: &str| {
            Role::ALL
                .into_iter()
                .filter(|role| table.allows(Identity::Certificate(Some(*role)), method))
                .collect::<Vec<_>>()
        };
        assert_eq!(roles("/s/Read"), [Role::Api, Role::Operator]);
        assert_eq!(roles("/s/Write"), [Role::Api]);
        assert_eq!(roles("/s/New"), []);
        assert_eq!(roles("/grpc.health.v1.Health/Check"), Role::ALL);
        assert_eq!(roles("/grpc.healthy/Check"), []);
        for method in ["/s/Read", "/grpc.health.v1.Health/Check"] {
            assert!(
                !table.allows(Identity::Certificate(None), method),
                "a certificate without a role calls nothing"
            );
            assert!(
                table.allows(Identity::SameUser, method)
                    && table.allows(Identity::Unauthenticated, method)
            );
        }
    }
}
