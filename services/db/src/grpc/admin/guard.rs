//! Authenticates admin callers before their request is read.
//!
//! A refusal is logged before the response. In a flood, refusals are only counted, so the log stays
//! bounded.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use merch_chassis::{LogThrottle, grpc::Peer};
use prometheus::{IntCounter, register_int_counter};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use crate::{
    admin_token::AdminToken,
    store::{Store, refusals::CredentialError},
};

static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_admin_refused_calls_total",
        "Calls of the admin service without the admin token."
    )
    .expect("the metric is registered once")
});

#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
    store: Store,
}

impl<S> Guarded<S> {
    pub(crate) fn new(inner: S, token: AdminToken, store: Store) -> Self {
        Self { inner, guard: Guard::new(token), store }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let header =
            request.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let Err(reason) = self.guard.check(header) else {
            return Box::pin(self.inner.call(request));
        };
        let peer = request.extensions().get::<Peer>().and_then(Peer::address).map(|peer| peer.ip());
        self.guard.refused(peer, reason);
        let store = self.store.clone();
        Box::pin(async move {
            let status = match store.record_operator_refusal(reason, peer).await {
                Ok(()) => {
                    Status::unauthenticated("expected the admin token: authorization: Bearer …")
                }
                Err(failure) => failure.into(),
            };
            Ok(status.into_http())
        })
    }
}

#[derive(Clone)]
struct Guard {
    token: AdminToken,
    refusals: Arc<LogThrottle>,
}

impl Guard {
    fn new(token: AdminToken) -> Self {
        // Registers the metric at 0.
        LazyLock::force(&REFUSED);
        Self { token, refusals: Arc::default() }
    }

    fn check(&self, header: Option<&[u8]>) -> Result<(), CredentialError> {
        // The scheme is not secret; the token is compared in constant time.
        match header.unwrap_or_default().split_at_checked("Bearer ".len()) {
            Some((scheme, token))
                if scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty() =>
            {
                if self.token.matches(token) { Ok(()) } else { Err(CredentialError::Wrong) }
            }
            Some(_) | None => Err(CredentialError::Missing),
        }
    }

    fn refused(&self, peer: Option<IpAddr>, reason: CredentialError) {
        REFUSED.inc();
        if let Some(attempts) = self.refusals.record() {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(
                attempts,
                peer,
                reason = reason.as_str(),
                "refused calls of the admin service without the admin token"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bearer_token_is_accepted() {
        let text = "0123456789abcdef0123456789abcdef";
        let guard = Guard::new(AdminToken::new(text).unwrap());
        let try_with = |header: &str| guard.check(Some(header.as_bytes()));
        assert_eq!(try_with(&format!("Bearer {text}")), Ok(()));
        assert_eq!(
            try_with(&format!("bearer {text}")),
            Ok(()),
            "the scheme is case-insensitive (RFC 9110)"
        );
        assert_eq!(guard.check(None), Err(CredentialError::Missing));
        for header in ["", text, &format!("Basic {text}"), "Bearer", "Bearer "] {
            assert_eq!(try_with(header), Err(CredentialError::Missing), "{header:?}");
        }
        for header in [format!("Bearer {text}x"), format!("Bearer  {text}")] {
            assert_eq!(try_with(&header), Err(CredentialError::Wrong), "{header:?}");
        }
    }
}
