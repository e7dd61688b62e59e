//! Which role may call which method.

use std::{
    collections::HashMap,
    fmt,
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

use super::transport::{Identity, Peer};
use crate::Refusals;

/// Calls that were answered PERMISSION_DENIED.
static DENIED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_grpc_denied_calls_total",
        "gRPC calls by a role that may not make them"
    )
    .expect("the name is registered here and nowhere else")
});

/// What a process is to the others. Its certificate carries it as a DNS name, [`Role::host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The REST gateway.
    Api,
    /// The db service.
    Db,
    /// The logging service.
    Logging,
    /// The operator's commands.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Api, Self::Db, Self::Logging, Self::Operator];

    /// The role's name: `api`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Db => "db",
            Self::Logging => "logging",
            Self::Operator => "operator",
        }
    }

    /// The DNS name in the role's certificate: `api.merch.internal`.
    #[must_use]
    pub fn host(self) -> String {
        host(self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The DNS name in the certificate of the role `name`.
pub(super) fn host(name: &str) -> String {
    format!("{name}.merch.internal")
}

/// The roles that may call each method: `("/merch.assistant.v1.AssistantService/GetProduct",
/// &[Role::Api])`. A method that is not listed may be called by no role. Health and reflection are
/// not listed: every role may call them.
pub type Access = &'static [(&'static str, &'static [Role])];

/// Methods of the services that every gRPC server of the store has besides its own.
fn is_common(method: &str) -> bool {
    method.starts_with("/grpc.health.v1.Health/") || method.starts_with("/grpc.reflection.")
}

/// Refuses calls that the caller's role may not make, before anything of them is read.
#[derive(Clone)]
pub(super) struct AccessLayer(Arc<Table>);

struct Table {
    allowed: HashMap<&'static str, &'static [Role]>,
    refusals: Refusals,
}

impl AccessLayer {
    pub(super) fn new(access: Access) -> Self {
        // So that it is there, with 0, before the first refusal.
        LazyLock::force(&DENIED);
        Self(Arc::new(Table {
            allowed: access.iter().copied().collect(),
            refusals: Refusals::new(),
        }))
    }
}

impl Table {
    fn allows(&self, identity: Identity, method: &str) -> bool {
        match identity {
            // The kind of the listener has decided about these callers.
            Identity::Anyone | Identity::SameUser => true,
            Identity::Certificate(Some(role)) => self
                .allowed
                .get(method)
                .map_or_else(|| is_common(method), |roles| roles.contains(&role)),
            Identity::Certificate(None) => false,
        }
    }

    fn refused(&self, peer: &Peer, method: &str) {
        DENIED.inc();
        if let Some(calls) = self.refusals.one_more() {
            tracing::warn!(calls, %peer, method, "refused calls by a role that may not make them");
        }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner, table: Arc::clone(&self.0) }
    }
}

/// See [`AccessLayer`].
#[derive(Clone)]
pub(super) struct Checked<S> {
    inner: S,
    table: Arc<Table>,
}

impl<S> Service<Request<Body>> for Checked<S>
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
                self.table.refused(peer, method);
                Some(format!("{peer} may not call this method"))
            }
            None => Some("the caller is not known".to_owned()),
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
    fn a_role_calls_what_is_listed_for_it_and_health() {
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
                table.allows(Identity::SameUser, method) && table.allows(Identity::Anyone, method)
            );
        }
    }
}
