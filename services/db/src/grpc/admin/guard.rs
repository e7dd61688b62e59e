//! Who may call: looks at the credential before anything of a call is read. A call without it is a
//! log event, on disk before the answer, and a flood of them is counted, as every authentication
//! failure is; the log tells of them at a bounded rate.

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
    store::{Store, refusals::Refusal},
};

/// Calls of the operator's service without its credential.
static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "merch_db_admin_refused_calls_total",
        "Calls of the operator's service without the admin token."
    )
    .expect("the name is registered here and nowhere else")
});

/// Lets pass to `inner` what shows the admin token.
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
            let status = match store.operator_refused(reason, peer).await {
                Ok(()) => {
                    Status::unauthenticated("expected the admin token: authorization: Bearer …")
                }
                Err(failure) => failure.into(),
            };
            Ok(status.into_http())
        })
    }
}

/// Compares what is shown with the admin token.
#[derive(Clone)]
struct Guard {
    token: AdminToken,
    refusals: Arc<LogThrottle>,
}

impl Guard {
    fn new(token: AdminToken) -> Self {
        // So that it is there, with 0, before the first attempt.
        LazyLock::force(&REFUSED);
        Self { token, refusals: Arc::default() }
    }

    fn check(&self, header: Option<&[u8]>) -> Result<(), Refusal> {
        // The scheme is no secret; what follows is compared in constant time. Without the scheme
        // nothing is, and nothing can match an empty text.
        match header.unwrap_or_default().split_at_checked("Bearer ".len()) {
            Some((scheme, token))
                if scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty() =>
            {
                if self.token.is(token) { Ok(()) } else { Err(Refusal::Wrong) }
            }
            Some(_) | None => Err(Refusal::Missing),
        }
    }

    fn refused(&self, peer: Option<IpAddr>, reason: Refusal) {
        REFUSED.inc();
        if let Some(attempts) = self.refusals.record() {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(
                attempts,
                peer,
                reason = reason.word(),
                "calls of the operator's service without the admin token were refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_in_its_scheme_passes() {
        let text = "0123456789abcdef0123456789abcdef";
        let guard = Guard::new(AdminToken::new(text).unwrap());
        let try_with = |header: &str| guard.check(Some(header.as_bytes()));
        assert_eq!(try_with(&format!("Bearer {text}")), Ok(()));
        assert_eq!(
            try_with(&format!("bearer {text}")),
            Ok(()),
            "a scheme's case does not matter (RFC 9110)"
        );
        assert_eq!(guard.check(None), Err(Refusal::Missing));
        for header in ["", text, &format!("Basic {text}"), "Bearer", "Bearer "] {
            assert_eq!(try_with(header), Err(Refusal::Missing), "{header:?}");
        }
        for header in [format!("Bearer {text}x"), format!("Bearer  {text}")] {
            assert_eq!(try_with(&header), Err(Refusal::Wrong), "{header:?}");
        }
    }
}
