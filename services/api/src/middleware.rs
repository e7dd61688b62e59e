//! Applies to all responses: ids, limits, the timeout, panics, headers, the access log, metrics.

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
    http::RejectedCredential,
    pages::PageName,
    problem::{Code, Problem},
    proxies::Proxies,
    read_limit::{ReadLimit, ReadLimitError},
};
pub use cors::{CorsOrigins, InvalidOrigin};
pub(crate) use metrics::Metrics;

/// HTTP allows any token as a method.
const MAX_METHOD_BYTES: usize = 32;

/// The outermost endpoint. Each response of 400 and above is a problem.
pub(crate) struct Middleware<E> {
    inner: E,
    events: Events,
    metrics: Metrics,
    proxies: Arc<Proxies>,
    header_limit: usize,
    timeout: Duration,
    cors_origins: CorsOrigins,
}

impl<E: Endpoint> Middleware<E> {
    /// `header_limit` counts the request line and the headers, in bytes. `timeout` ends at the
    /// start of the response.
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

    /// If the body exceeded a limit, responds with that error instead of the endpoint's response.
    async fn respond(&self, request: Request) -> Response {
        let read_limit = request.data::<Arc<ReadLimit>>().cloned();
        let response = self.respond_in_time(request).await;
        let Some(read_limit) = read_limit else { return response };
        match read_limit.body_error() {
            Some(ReadLimitError::TooLarge) => {
                Problem::body_too_large(read_limit.body_limit()).response()
            }
            Some(ReadLimitError::OutOfMemory) => Problem::from(Code::Unavailable).response(),
            None => response,
        }
    }

    async fn respond_in_time(&self, request: Request) -> Response {
        if header_bytes(&request) > self.header_limit {
            return Problem::headers_too_large(self.header_limit).response();
        }
        if let Err(fault) = host::check(&request) {
            return Problem::invalid_request(fault).response();
        }
        if let Some(response) = self.cors_origins.preflight(&request) {
            return response;
        }
        let work = AssertUnwindSafe(self.call_inner(request)).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(response)) => response,
            // The unwound future is dropped, and the panic hook has logged the location.
            Ok(Err(panic)) => {
                Problem::internal(format!("the handler panicked: {}", panic_text(panic.as_ref())))
                    .response()
            }
            // The outcome of a change is unknown; the client can repeat an order with an
            // idempotency key.
            Err(_) => Problem::unavailable(
                format!("no response within {} ms", self.timeout.as_millis()),
                None,
            )
            .response(),
        }
    }

    /// Writes the event of a rejected credential before it returns.
    async fn call_inner(&self, request: Request) -> Response {
        let response = match self.inner.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) if error.is_from_response() => error.into_response(),
            Err(error) => {
                return Problem::internal(format!("poem failed: {error}")).response();
            }
        };
        match response.data::<RejectedCredential>() {
            Some(RejectedCredential(error)) => {
                match self.events.token_refused(*error, None).await {
                    Ok(()) => response,
                    Err(error) => Problem::from(error).response(),
                }
            }
            None => response,
        }
    }
}

impl<E: Endpoint> Endpoint for Middleware<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let context = RequestContext::from_request(&request, &self.proxies);
        let mut log = AccessLog::begin(&self.metrics, &context, request.method());
        let allowed_origin = self.cors_origins.allowed(request.headers());
        let mut response = context.clone().scope(self.respond(request)).await;
        set_headers(&mut response, &context);
        self.cors_origins.finish(allowed_origin, response.headers_mut());
        log.end(&response);
        Ok(response)
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) fn has_valid_host(request: &Request) -> bool {
    host::check(request).is_ok()
}

/// Responds to a request without a parsed head.
pub(crate) async fn respond_unread(problem: Problem) -> Response {
    let context = RequestContext::unread();
    let mut response = context.clone().scope(async { problem.response() }).await;
    set_headers(&mut response, &context);
    response
}

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

/// The policy of responses that are not pages.
const API_CSP: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sets the headers of every response. Only the catalogue may be cached, with revalidation; pages
/// set their own caching.
fn set_headers(response: &mut Response, context: &RequestContext) {
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
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(API_CSP));
    let id = HeaderValue::from_str(context.request_id()).expect("a request id is visible ASCII");
    headers.insert(REQUEST_ID, id);
}

/// One log line and one observation per request, also if the client disconnects.
struct AccessLog<'a> {
    metrics: &'a Metrics,
    context: RequestContext,
    method: String,
    started: Instant,
    finished: bool,
}

impl<'a> AccessLog<'a> {
    fn begin(metrics: &'a Metrics, context: &RequestContext, method: &Method) -> Self {
        metrics.begin();
        let method = shorten(method, MAX_METHOD_BYTES);
        Self { metrics, context: context.clone(), method, started: Instant::now(), finished: false }
    }

    fn end(&mut self, response: &Response) {
        self.finished = true;
        let operation = operation(response);
        let (status, elapsed) = (response.status(), self.started.elapsed());
        self.metrics.end(operation, status.as_str(), elapsed);
        tracing::info!(
            target: "merch_api::access",
            request_id = self.context.request_id(),
            trace_id = self.context.trace_id(),
            client_address = self.context.client_address().map(tracing::field::display),
            method = self.method,
            path = self.context.path(),
            operation,
            status = status.as_u16(),
            milliseconds = elapsed.as_secs_f64() * 1e3,
        );
    }
}

impl Drop for AccessLog<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.metrics.cancelled();
            tracing::info!(
                target: "merch_api::access",
                request_id = self.context.request_id(),
                method = self.method,
                path = self.context.path(),
                milliseconds = self.started.elapsed().as_secs_f64() * 1e3,
                "client disconnected before the response"
            );
        }
    }
}

/// The operation, the page, or `none`: few values.
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

    /// Returns the response to a request with the id `r-1`.
    async fn respond<F: Future<Output = Result<Response>> + Send>(
        inner: impl Fn(Request) -> F + Send + Sync,
    ) -> (Response, Value) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("journal"), JournalOptions::default()).unwrap();
        let proxies = Arc::new(Proxies::new(TrustedProxies::default()));
        let middleware = Middleware::new(
            make(inner),
            Events::new(journal, EventRateLimits::default()),
            Metrics::global(),
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
        let mut response = middleware.call(request).await.unwrap();
        assert_eq!(response.header("x-request-id"), Some("r-1"));
        // As in services/api/tests/api/headers.rs, for responses that need a fault.
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
    async fn panic_becomes_a_500_problem() {
        let (response, body) = respond(|_| async { panic!("internal details") }).await;
        assert_eq!(
            (response.status(), &body["code"], &body["request_id"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into(), &"r-1".into())
        );
        assert_eq!(body["instance"], "/some/path");
        assert!(!body.to_string().contains("internal details"));
        let (response, _) = respond(|_| -> std::future::Ready<Result<Response>> {
            panic!("before the first await")
        })
        .await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn poem_error_becomes_a_500_problem() {
        let (response, body) = respond(|_| async {
            Err(Error::from_string("internal details", StatusCode::IM_A_TEAPOT))
        })
        .await;
        assert_eq!(
            (response.status(), &body["code"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into())
        );
        assert!(!body.to_string().contains("internal details"));
    }

    #[tokio::test]
    async fn timeout_becomes_a_503_problem() {
        let (response, body) = respond(|_| std::future::pending()).await;
        assert_eq!(
            (response.status(), &body["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"unavailable".into())
        );
        assert_eq!(response.header("retry-after"), Some("1"));
    }

    #[tokio::test]
    async fn endpoint_runs_in_the_request_context() {
        let (response, _) = respond(|_| async {
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
