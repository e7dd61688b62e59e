//! The parsers of headers and tokens, and the endpoint of all requests, for fuzz targets. Exists
//! with the feature `fuzzing` only.

use std::{net::IpAddr, sync::Arc, time::Duration};

use merch_chassis::StartError;
use merch_logging::client::{EventSource as _, journal::Journal};
use poem::{
    Endpoint as _, EndpointExt as _, Request, Response, endpoint::BoxEndpoint, http::HeaderMap,
};
use uuid::Uuid;

use crate::{
    Config, SigningKey, TrustedProxies, app,
    context::RequestContext,
    db::Db,
    etag,
    events::Events,
    http,
    identity::{Caller, Tokens},
    middleware::{self, Metrics, Middleware},
    pages::Pages,
    proxies::Proxies,
};

/// Issues and verifies access tokens.
pub struct AccessTokens(Tokens);

impl AccessTokens {
    /// `current` signs; `others` only verify.
    #[must_use]
    pub fn new(current: &SigningKey, others: &[SigningKey]) -> Self {
        Self(Tokens::new(current, others, Duration::from_secs(60)))
    }

    /// Returns a token of a user with a token version.
    ///
    /// # Panics
    /// Never: signing with HS256 does not fail.
    #[must_use]
    pub fn issue(&self, user_id: Uuid, token_version: i64) -> String {
        self.0.issue(Caller { user_id, token_version }).expect("HS256 signs")
    }

    /// Returns the user and the token version, or the reason of the refusal.
    ///
    /// # Errors
    /// If the token is not valid.
    pub fn verify(&self, token: &str) -> Result<(Uuid, i64), &'static str> {
        let caller = self.0.verify(token).map_err(|error| error.as_str())?;
        Ok((caller.user_id, caller.token_version))
    }
}

/// Returns the entity tag of a version.
#[must_use]
pub fn entity_tag(version: i64) -> String {
    etag::from_version(version)
}

/// Returns whether `If-None-Match` contains the tag, or `None` if the header is malformed.
#[must_use]
pub fn if_none_match(header: &str, tag: &str) -> Option<bool> {
    etag::matches_if_none_match(Some(header), tag).ok()
}

/// Returns the versions in `If-Match`, or `None` if the header is malformed.
#[must_use]
pub fn if_match(header: &str) -> Option<Vec<i64>> {
    etag::expected_versions(Some(header)).ok()
}

/// Returns whether the request has exactly one valid `Host`.
#[must_use]
pub fn has_valid_host(request: &Request) -> bool {
    middleware::has_valid_host(request)
}

/// Returns the address of the client, and whether the ids of the request are trusted.
#[must_use]
pub fn sender(
    trusted: &TrustedProxies,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> (Option<IpAddr>, bool) {
    let sender = Proxies::new(trusted.clone()).sender(peer, headers);
    (sender.address, sender.trusted)
}

/// Returns the request id and the trace id of a request without trusted proxies.
#[must_use]
pub fn ids(request: &Request) -> (String, Option<String>) {
    let proxies = Proxies::new(TrustedProxies::default());
    let context = RequestContext::from_request(request, &proxies);
    (context.request_id().to_owned(), context.trace_id().map(str::to_owned))
}

/// Everything between the HTTP connection and the db service.
pub struct Service {
    endpoint: BoxEndpoint<'static, Response>,
    journal: Journal,
}

impl Service {
    /// Calls the db service of the settings; writes events to `journal` and ships none.
    ///
    /// # Errors
    /// If the endpoint is not a URI.
    pub fn new(config: Config, journal: Journal) -> Result<Self, StartError> {
        let db = Db::new(&config.db_endpoint, &config.transport, config.call_deadline)?;
        let events = Events::new(journal.clone(), config.refusals);
        let app = Arc::new(app(&config, db, events.clone()));
        let middleware = Middleware::new(
            Pages::before(http::operations(app, config.body_limit)),
            events,
            Metrics::global(),
            Arc::new(Proxies::new(config.trusted_proxies)),
            config.header_limit,
            config.request_timeout,
            config.cors_origins,
        );
        Ok(Self { endpoint: middleware.boxed(), journal })
    }

    /// Responds to a request.
    pub async fn respond(&self, request: Request) -> Response {
        self.endpoint.get_response(request).await
    }

    /// Returns the events that were written since the last call.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub async fn take_events(&self) -> Vec<merch_logging::proto::LogMessage> {
        let read = self.journal.read(None, usize::MAX).await.expect("the journal is readable");
        let (positions, events): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        self.journal.acknowledge(&positions).await.expect("the journal is writable");
        events
    }
}
