//! The ids and the origin of the current request, in a task-local value: the generated traits have
//! no parameter for them.

use std::{future::Future, net::IpAddr, sync::Arc};

use merch_chassis::grpc::trace::{self, MAX_REQUEST_ID, TRACEPARENT, Trace};
use merch_contract::grpc::assistant::v1 as proto;
use poem::{
    Request,
    http::{HeaderMap, HeaderName},
    web::RemoteAddr,
};
use poem_contract_runtime::shorten;
use uuid::Uuid;

use crate::proxies::Proxies;
pub(crate) use merch_chassis::grpc::trace::REQUEST_ID;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Maximum bytes of the path in logs and problems, as JSON; a longer path ends in `…`.
pub(crate) const MAX_PATH_BYTES: usize = 256;

#[derive(Clone, Debug, Default)]
pub(crate) struct RequestContext(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    request_id: String,
    /// Set by a trusted sender.
    trace: Option<Trace>,
    client: Option<IpAddr>,
    path: String,
}

impl RequestContext {
    /// Takes ids only from a trusted sender.
    pub(crate) fn from_request(request: &Request, proxies: &Proxies) -> Self {
        let sender = proxies.sender(peer(request.remote_addr()), request.headers());
        Self(Arc::new(Inner {
            request_id: sender
                .trusted
                .then(|| request_id(request.headers()))
                .flatten()
                .unwrap_or_else(|| Uuid::now_v7().to_string()),
            trace: sender
                .trusted
                .then(|| single_value(request.headers(), &TRACEPARENT).and_then(Trace::parse))
                .flatten(),
            client: sender.address,
            path: shorten(request.uri().path(), MAX_PATH_BYTES),
        }))
    }

    /// The context of a request whose head was not parsed.
    pub(crate) fn unread() -> Self {
        let request_id = Uuid::now_v7().to_string();
        Self(Arc::new(Inner { request_id, path: "/".to_owned(), ..Inner::default() }))
    }

    /// Empty outside of a request.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The id from a trusted sender, or a new UUIDv7.
    pub(crate) fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The trace id of a well-formed `traceparent`: 32 lower-case hexadecimal digits.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.0.trace.as_ref().map(Trace::id)
    }

    /// The peer's address, or the one that a trusted proxy reports.
    pub(crate) fn client_address(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// The path without the query, as the client sent it, truncated to [`MAX_PATH_BYTES`].
    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    /// Attaches the request id and the trace to a call; starts a trace if the request has none.
    pub(crate) fn attach<T>(&self, call: &mut tonic::Request<T>) {
        match &self.0.trace {
            Some(trace) => trace::attach(call, self.request_id(), trace),
            None => trace::attach(call, self.request_id(), &Trace::start()),
        }
    }

    pub(crate) fn to_proto(&self) -> proto::RequestContext {
        proto::RequestContext {
            request_id: self.request_id().to_owned(),
            trace_id: self.trace_id().unwrap_or_default().to_owned(),
        }
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let well_formed = |id: &str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
    };
    single_value(headers, &REQUEST_ID).filter(|id| well_formed(id)).map(str::to_owned)
}

/// Returns the header if it occurs once and is visible ASCII.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn peer(address: &RemoteAddr) -> Option<IpAddr> {
    // A listener on [::] reports IPv4 peers as mapped addresses.
    address.as_socket_addr().map(|address| address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn only_well_formed_request_ids_are_accepted() {
        let longest = "x".repeat(128);
        for taken in ["a", "A-1_b.c:d", longest.as_str()] {
            assert_eq!(request_id(&headers("x-request-id", &[taken])).as_deref(), Some(taken));
        }
        let too_long = "x".repeat(129);
        for refused in [
            vec![],
            vec![""],
            vec!["a b"],
            vec!["a\u{e4}"],
            vec!["a,b"],
            vec!["a", "a"],
            vec![too_long.as_str()],
        ] {
            assert_eq!(request_id(&headers("x-request-id", &refused)), None, "{refused:?}");
        }
    }
}
