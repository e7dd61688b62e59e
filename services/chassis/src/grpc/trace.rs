//! Request ids (`x-request-id`) and trace ids (`traceparent`, W3C Trace Context level 1).

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    body::Body,
    codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response},
    metadata::{Ascii, MetadataValue},
};
use tower::{Layer, Service};
use tracing::Instrument as _;
use uuid::Uuid;

/// Header of the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Header of the trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Maximum length of a request id in bytes; longer ones are neither logged nor accepted.
pub const MAX_REQUEST_ID: usize = 128;

/// The trace of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: String,
    flags: u8,
}

impl Trace {
    /// Starts an unsampled trace.
    #[must_use]
    pub fn start() -> Self {
        Self { id: Uuid::new_v4().simple().to_string(), flags: 0 }
    }

    /// Parses a `traceparent`: version, trace id, parent id, flags. Later versions may append
    /// members; version `ff` and zero ids are invalid.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.splitn(5, '-');
        let (version, id, parent, flags, rest) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next());
        let shape = is_hex(version, 2) && is_hex(id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
        let known = version != "ff" && (rest.is_none() || version != "00");
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (shape && known && !zero(id) && !zero(parent)).then(|| Self { id: id.to_owned(), flags })
    }

    /// Returns the trace id: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the `traceparent` of another call, with a new parent id.
    #[must_use]
    pub fn traceparent(&self) -> String {
        // The variant bits of a version 4 UUID keep this half non-zero.
        let parent = Uuid::new_v4().as_u64_pair().1;
        // Version 00 defines only the flag "sampled".
        format!("00-{}-{parent:016x}-{:02x}", self.id, self.flags & 1)
    }
}

fn is_hex(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Adds the causing request's ids to a call, except for a request id that is invalid in a header.
pub fn attach<T>(request: &mut tonic::Request<T>, request_id: &str, trace: &Trace) {
    let metadata = request.metadata_mut();
    for (name, value) in [("x-request-id", request_id), ("traceparent", &trace.traceparent())] {
        if let (false, Ok(value)) = (value.is_empty(), value.parse::<MetadataValue<Ascii>>()) {
            metadata.insert(name, value);
        }
    }
}

pub(super) fn add_missing_ids(headers: &mut HeaderMap) {
    let value = |text: String| HeaderValue::try_from(text).ok();
    if !headers.contains_key(&REQUEST_ID) {
        headers.extend(value(Uuid::now_v7().to_string()).map(|id| (REQUEST_ID, id)));
    }
    if !headers.contains_key(&TRACEPARENT) {
        headers.extend(value(Trace::start().traceparent()).map(|trace| (TRACEPARENT, trace)));
    }
}

/// Runs each call in a span with its method and ids; missing ids can be recorded later.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService(inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct TraceService<S>(S);

impl<S> Service<Request<Body>> for TraceService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let header =
            |name: &HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let request_id = header(&REQUEST_ID).filter(|id| id.len() <= MAX_REQUEST_ID);
        let trace = header(&TRACEPARENT).and_then(Trace::parse);
        let trace_id = trace.as_ref().map(Trace::id);
        // At error level, so that no filter removes the ids.
        let span =
            tracing::error_span!("call", method = request.uri().path(), request_id, trace_id);
        let answer = span.in_scope(|| self.0.call(request));
        Box::pin(answer.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn only_well_formed_traceparents_are_parsed() {
        let id = |text: String| Trace::parse(&text).map(|trace| trace.id);
        assert_eq!(id(format!("00-{TRACE}-b7ad6b7169203331-01")).as_deref(), Some(TRACE));
        assert_eq!(id(format!("01-{TRACE}-b7ad6b7169203331-01-more")).as_deref(), Some(TRACE));
        for wrong in [
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-b7ad6b7169203331-+1"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            String::new(),
        ] {
            assert_eq!(id(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn each_call_of_a_trace_has_a_new_parent_id() {
        for (given, flags) in [("01", "01"), ("00", "00"), ("ff", "01")] {
            let trace = Trace::parse(&format!("00-{TRACE}-b7ad6b7169203331-{given}")).unwrap();
            let (first, second) = (trace.traceparent(), trace.traceparent());
            assert_ne!(first, second);
            for call in [first, second] {
                assert!(
                    call.starts_with(&format!("00-{TRACE}-"))
                        && call.ends_with(&format!("-{flags}")),
                    "{call}"
                );
                assert_eq!(Trace::parse(&call).unwrap().id(), TRACE);
            }
        }
        assert!(Trace::parse(&Trace::start().traceparent()).is_some());
    }

    #[test]
    fn missing_ids_are_added_and_existing_ones_kept() {
        let mut request = tonic::Request::new(());
        attach(&mut request, "r-1", &Trace::start());
        let mut headers = request.into_parts().0.into_headers();
        let before = headers.clone();
        add_missing_ids(&mut headers);
        assert_eq!(
            (headers.get(REQUEST_ID).unwrap(), &headers),
            (&HeaderValue::from_static("r-1"), &before)
        );

        // A line break would start another header.
        let mut request = tonic::Request::new(());
        attach(&mut request, "r\n1", &Trace::start());
        let mut headers = request.into_parts().0.into_headers();
        add_missing_ids(&mut headers);
        assert_eq!(
            headers[REQUEST_ID].to_str().unwrap().parse::<Uuid>().unwrap().get_version_num(),
            7
        );
        assert!(Trace::parse(headers[TRACEPARENT].to_str().unwrap()).is_some());
    }
}
