//! What holds for every answer, whatever gives it: ids, limits, time, panics, headers, log and
//! metrics.

mod cors;
mod host;
mod metrics;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, header},
};
use poem_contract_runtime::shorten;
use poem_openapi::OperationId;

use crate::{
    context::{REQUEST_ID, RequestContext},
    events::Events,
    http::RefusedCredential,
    listen::{Arrival, Fault},
    pages::PageName,
    problem::{Code, Problem},
    proxies::Proxies,
};
pub use cors::{CorsOrigins, InvalidOrigin};
pub(crate) use metrics::Metrics;

/// The longest method that is logged, in bytes: HTTP takes any token as one.
const METHOD_BYTES: usize = 32;

/// The outermost endpoint. Its answer is always a response, and every one of 400 and above is a
/// problem.
pub(crate) struct Edge<E> {
    inner: E,
    events: Events,
    metrics: Metrics,
    proxies: Arc<Proxies>,
    header_limit: usize,
    timeout: Duration,
    cors_origins: CorsOrigins,
}

impl<E: Endpoint> Edge<E> {
    /// `proxies` are believed; `header_limit` bounds the request line and the headers together, in
    /// bytes; `timeout` bounds the time from the end of the headers to the beginning of the answer;
    /// `cors_origins` may use the API from a browser.
    pub(crate) fn new(
        inner: E,
        events: Events,
        metrics: Metrics,
        proxies: Arc<Proxies>,
        header_limit: usize,
        timeout: Duration,
        cors_origins: CorsOrigins,
    ) -> Self {
        Self { inner, events, metrics, proxies, header_limit, timeout, cors_origins }
    }

    /// Returns the answer. If reading the body failed at a bound, the answer names the bound,
    /// whatever the endpoint answers to the part that was read.
    async fn answer(&self, request: Request) -> Response {
        let arrival = request.data::<Arc<Arrival>>().cloned();
        let response = self.bounded(request).await;
        let Some(arrival) = arrival else { return response };
        match arrival.body_fault() {
            Some(Fault::TooLarge) => Problem::body_too_large(arrival.body_limit()).response(),
            Some(Fault::NoMemory) => Problem::from(Code::Unavailable).response(),
            None => response,
        }
    }

    /// Returns the answer within the bounds on the headers and on the time.
    async fn bounded(&self, request: Request) -> Response {
        if header_bytes(&request) > self.header_limit {
            return Problem::headers_too_large(self.header_limit).response();
        }
        if let Err(fault) = host::check(&request) {
            return Problem::invalid_request(fault).response();
        }
        if let Some(response) = self.cors_origins.preflight(&request) {
            return response;
        }
        let work = AssertUnwindSafe(self.logged(request)).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(response)) => response,
            // What panicked is dropped as a whole, and nothing of it is used again; the hook has
            // logged where it was.
            Ok(Err(panic)) => {
                Problem::internal(format!("the code panicked: {}", panic_text(panic.as_ref())))
                    .response()
            }
            // The work is dropped. Whether a change was made is unknown to the client: an order
            // with a key can be sent again.
            Err(_) => Problem::unavailable(
                format!("no answer within {} ms", self.timeout.as_millis()),
                None,
            )
            .response(),
        }
    }

    /// The answer, after the log event of a credential that was refused before any operation could
    /// see it.
    async fn logged(&self, request: Request) -> Response {
        let response = match self.inner.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) if error.is_from_response() => error.into_response(),
            Err(error) => {
                return Problem::internal(format!("the framework failed: {error}")).response();
            }
        };
        match response.data::<RefusedCredential>() {
            Some(RefusedCredential(refusal)) => {
                match self.events.token_refused(*refusal, None).await {
                    Ok(()) => response,
                    Err(problem) => problem.response(),
                }
            }
            None => response,
        }
    }
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let context = RequestContext::of(&request, &self.proxies);
        let mut log = AccessLog::begin(&self.metrics, &context, request.method());
        let allowed_origin = self.cors_origins.allowed(request.headers());
        let mut response = context.clone().scope(self.answer(request)).await;
        finish(&mut response, &context);
        self.cors_origins.finish(allowed_origin, response.headers_mut());
        log.end(&response);
        Ok(response)
    }
}

/// The answer to a request that was not read: `problem`, with the headers of every answer.
pub(crate) async fn unread(problem: Problem) -> Response {
    let context = RequestContext::unread();
    let mut response = context.clone().scope(async { problem.response() }).await;
    finish(&mut response, &context);
    response
}

/// The size of the request line and of all headers, as HTTP/1.1 writes them.
fn header_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + " HTTP/1.1\r\n".len() + 1;
    request
        .headers()
        .iter()
        .fold(line, |sum, (name, value)| sum + name.as_str().len() + value.len() + ": \r\n".len())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// The Content-Security-Policy of every answer that is no page.
const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer. Answers are about somebody or about this moment, so nobody keeps
/// them; the catalogue may be kept and has to be asked about each time, and the pages say for
/// themselves.
fn finish(response: &mut Response, context: &RequestContext) {
    let operation = response.data::<OperationId>().map(|id| id.0);
    let caching = match operation {
        Some("list_products" | "get_product") if !response.status().is_server_error() => "no-cache",
        Some(_) | None => "no-store",
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(caching));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    // What is no page runs nothing and loads nothing, if a browser is made to show it.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    let id = HeaderValue::from_str(context.request_id()).expect("a request id is visible ASCII");
    headers.insert(REQUEST_ID, id);
}

/// One line and one observation for each request, also for one that is dropped because the client
/// went away.
struct AccessLog<'a> {
    metrics: &'a Metrics,
    context: RequestContext,
    method: String,
    begun: Instant,
    ended: bool,
}

impl<'a> AccessLog<'a> {
    fn begin(metrics: &'a Metrics, context: &RequestContext, method: &Method) -> Self {
        metrics.begin();
        let method = shorten(method, METHOD_BYTES);
        Self { metrics, context: context.clone(), method, begun: Instant::now(), ended: false }
    }

    fn end(&mut self, response: &Response) {
        self.ended = true;
        let operation = operation(response);
        let (status, elapsed) = (response.status().as_u16(), self.begun.elapsed());
        self.metrics.end(operation, status, elapsed);
        tracing::info!(
            target: "merch_api::access",
            request_id = self.context.request_id(),
            trace_id = self.context.trace_id(),
            client_address = self.context.client_address().map(tracing::field::display),
            method = self.method,
            path = self.context.path(),
            operation,
            status,
            milliseconds = elapsed.as_secs_f64() * 1e3,
        );
    }
}

impl Drop for AccessLog<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.abandoned();
            tracing::info!(
                target: "merch_api::access",
                request_id = self.context.request_id(),
                method = self.method,
                path = self.context.path(),
                milliseconds = self.begun.elapsed().as_secs_f64() * 1e3,
                "the client went away before the answer"
            );
        }
    }
}

/// What answered, in words of which there are few: an operation, a page, or `none`.
fn operation(response: &Response) -> &'static str {
    response
        .data::<OperationId>()
        .map(|id| id.0)
        .or_else(|| response.data::<PageName>().map(|name| name.0))
        .unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use merch_logging::client::{
        journal::{Journal, JournalOptions},
        rate_limit::EventRateLimits,
    };
    use poem::{Error, endpoint::make, http::StatusCode};
    use serde_json::Value;

    use super::*;
    use crate::proxies::TrustedProxies;

    /// What the edge makes of an endpoint's answer to a request with the id `r-1`.
    async fn answer<F: Future<Output = Result<Response>> + Send>(
        inner: impl Fn(Request) -> F + Send + Sync,
    ) -> (Response, Value) {
        let folder = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(folder.path().join("journal"), JournalOptions::default()).unwrap();
        let proxies = Arc::new(Proxies::new(TrustedProxies::default()));
        let edge = Edge::new(
            make(inner),
            Events::new(journal, EventRateLimits::default()),
            Metrics::of_process(),
            proxies,
            1000,
            Duration::from_millis(100),
            "*".parse().unwrap(),
        );
        let request = Request::builder()
            .uri_str("/some/path?secret=1")
            .header("x-request-id", "r-1")
            .header("host", "shop.example")
            .header("origin", "http://a")
            .finish();
        let mut response = edge.call(request).await.unwrap();
        assert_eq!(response.header("x-request-id"), Some("r-1"));
        // Those of services/api/tests/api/headers.rs: here for answers that only a fault gives.
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
        let body = response.take_body().into_vec().await.unwrap();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        (response, json)
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let (response, body) = answer(|_| async { panic!("the inside of a bug") }).await;
        assert_eq!(
            (response.status(), &body["code"], &body["request_id"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into(), &"r-1".into())
        );
        assert_eq!(body["instance"], "/some/path");
        assert!(!body.to_string().contains("inside"));
        // A panic before the first await, too.
        let (response, _) =
            answer(|_| -> std::future::Ready<Result<Response>> { panic!("at once") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn an_error_of_the_framework_is_a_problem() {
        let (response, body) = answer(|_| async {
            Err(Error::from_string("the inside of a bug", StatusCode::IM_A_TEAPOT))
        })
        .await;
        assert_eq!(
            (response.status(), &body["code"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into())
        );
        assert!(!body.to_string().contains("inside"));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_a_problem() {
        let (response, body) = answer(|_| std::future::pending()).await;
        assert_eq!(
            (response.status(), &body["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"unavailable".into())
        );
        assert_eq!(response.header("retry-after"), Some("1"));
    }

    #[tokio::test]
    async fn the_endpoint_knows_the_request() {
        let (response, _) = answer(|_| async {
            let context = RequestContext::current();
            assert_eq!(
                (context.request_id(), context.path(), context.trace_id()),
                ("r-1", "/some/path", None)
            );
            Ok(StatusCode::NO_CONTENT.into())
        })
        .await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
}
