//! What is known of the request that is being answered: its ids and where it came from.
//!
//! It travels in a task-local value, as the generated traits carry only what the contract says.

use std::{future::Future, net::IpAddr, sync::Arc};

/// The header that carries the request id in both directions.
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

/// The longest path that is logged and answered, in bytes as JSON writes them; a longer one is cut
/// and ends in `…`. No route has so long a path.
pub(crate) const PATH_BYTES: usize = 256;

/// The ids of a request and where it came from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestContext(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    request_id: String,
    /// The trace of a trusted sender.
    trace: Option<Trace>,
    client: Option<IpAddr>,
    path: String,
}

impl RequestContext {
    /// Reads what a request says of itself, as far as its sender is believed.
    pub(crate) fn of(request: &Request, proxies: &Proxies) -> Self {
        let sender = proxies.sender(peer(request.remote_addr()), request.headers());
        Self(Arc::new(Inner {
            request_id: sender
                .believed
                .then(|| request_id(request.headers()))
                .flatten()
                .unwrap_or_else(|| Uuid::now_v7().to_string()),
            trace: sender
                .believed
                .then(|| only(request.headers(), &TRACEPARENT).and_then(Trace::parse))
                .flatten(),
            client: sender.address,
            path: shorten(request.uri().path(), PATH_BYTES),
        }))
    }

    /// The context of a request that was not read: a fresh id, and the path `/`.
    pub(crate) fn unread() -> Self {
        let request_id = Uuid::now_v7().to_string();
        Self(Arc::new(Inner { request_id, path: "/".to_owned(), ..Inner::default() }))
    }

    /// The one of the request that this task answers; empty outside of any.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Runs a future as part of this request.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The id that was sent by somebody who is believed, or a fresh UUIDv7.
    pub(crate) fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The trace id of a well-formed `traceparent`: 32 lower-case hexadecimal digits.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.0.trace.as_ref().map(Trace::id)
    }

    /// The client's address: the other end of the socket, or whom a trusted proxy there has seen.
    pub(crate) fn client_address(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// The path that was asked for, as it was sent, without the query, and cut after
    /// [`PATH_BYTES`].
    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    /// Puts the ids of this request on a call that it causes. Without a trace of the sender's the
    /// call starts one.
    pub(crate) fn attach<T>(&self, call: &mut tonic::Request<T>) {
        match &self.0.trace {
            Some(known) => trace::attach(call, self.request_id(), known),
            None => trace::attach(call, self.request_id(), &Trace::start()),
        }
    }

    /// For a gRPC request.
    pub(crate) fn to_proto(&self) -> proto::RequestContext {
        proto::RequestContext {
            request_id: self.request_id().to_owned(),
            trace_id: self.trace_id().unwrap_or_default().to_owned(),
        }
    }
}

/// The id that was sent, if it is one.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let well_formed = |id: &str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
    };
    only(headers, &REQUEST_ID).filter(|id| well_formed(id)).map(str::to_owned)
}

/// The value of a header that is there exactly once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn peer(address: &RemoteAddr) -> Option<IpAddr> {
    // A listener on [::] sees IPv4 peers as mapped addresses.
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
    fn takes_a_well_formed_request_id_only() {
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
