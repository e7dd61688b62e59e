//! Deadlines (`DEADLINE_EXCEEDED`) and the end of a drain (`UNAVAILABLE`).
//!
//! tonic answers an expired `grpc-timeout` with `CANCELLED`, as for the caller's own cancellation.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
};
use tower::{Layer, Service};

use super::drain_body::{DrainBody, drain_expired};

/// Limits calls to the shorter of `grpc-timeout` and `max`; ends them when `drain_end` is
/// cancelled.
#[derive(Clone, Debug)]
pub(super) struct DeadlineLayer {
    pub(super) max: Duration,
    pub(super) drain_end: CancellationToken,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> DeadlineService<S> {
        DeadlineService { inner, max: self.max, drain_end: self.drain_end.clone() }
    }
}

/// Time by which a call's response is due, stored as an extension of its request. The time also
/// passes while the process is frozen.
#[derive(Clone, Copy, Debug)]
pub struct CallDeadline(pub Instant);

#[derive(Clone, Debug)]
pub(super) struct DeadlineService<S> {
    inner: S,
    max: Duration,
    drain_end: CancellationToken,
}

impl<S> Service<Request<Body>> for DeadlineService<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let time = response_timeout(grpc_timeout(request.headers()), self.max);
        request.extensions_mut().insert(CallDeadline(Instant::now() + time));
        let answer = self.inner.call(request);
        let drain_end = self.drain_end.clone();
        Box::pin(async move {
            tokio::select! {
                answered = tokio::time::timeout(time, answer) => match answered {
                    Ok(answered) => {
                        answered.map(|answer| answer.map(|body| DrainBody::wrap(drain_end, body)))
                    }
                    Err(_) => Ok(Status::deadline_exceeded(format!(
                    "no response within {} ms", time.as_millis()
                    )).into_http()),
                },
                () = drain_end.cancelled() => Ok(drain_expired().into_http()),
            }
        })
    }
}

/// Subtracts a twentieth, at most 20 ms, so that the response reaches the caller in time.
fn response_timeout(requested: Option<Duration>, max: Duration) -> Duration {
    requested.map_or(max, |requested| {
        (requested - (requested / 20).min(Duration::from_millis(20))).min(max)
    })
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Requests"). Ignores invalid values.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        grpc_timeout(&headers)
    }

    #[test]
    fn grpc_timeout_units_are_parsed() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parse("6u"), Some(Duration::from_micros(6)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn call_deadline_is_a_request_extension() {
        let seen = |request: Request<Body>| {
            let until = request.extensions().get::<CallDeadline>().map(|until| until.0);
            async move {
                Ok::<_, std::convert::Infallible>(
                    Response::builder().extension(until).body(Body::empty()).unwrap(),
                )
            }
        };
        let layer =
            DeadlineLayer { max: Duration::from_secs(60), drain_end: CancellationToken::new() };
        let mut service = layer.layer(tower::service_fn(seen));
        let before = Instant::now();
        let request = Request::builder().header("grpc-timeout", "2S").body(Body::empty()).unwrap();
        let answer = service.call(request).await.unwrap();
        let until = answer.extensions().get::<Option<Instant>>().unwrap().unwrap();
        let time = Duration::from_millis(1980);
        assert!((before + time..=Instant::now() + time).contains(&until));
    }

    /// Without a connection: tonic's client also obeys the header, 20 ms later, with `CANCELLED`.
    #[tokio::test]
    async fn shorter_deadline_wins_with_deadline_exceeded() {
        let never = |_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        };
        for (requested, max) in [
            (Some("50m"), Duration::from_secs(3600)),
            (Some("1H"), Duration::from_millis(50)),
            (None, Duration::from_millis(50)),
        ] {
            let mut service = DeadlineLayer { max, drain_end: CancellationToken::new() }
                .layer(tower::service_fn(never));
            let mut request = Request::new(Body::empty());
            if let Some(requested) = requested {
                request.headers_mut().insert("grpc-timeout", requested.parse().unwrap());
            }
            let answer = service.call(request).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(
                status.code(),
                tonic::Code::DeadlineExceeded,
                "{requested:?}, {max:?}: {status:?}"
            );
        }
    }

    #[test]
    fn response_timeout_is_below_the_grpc_timeout() {
        let max = Duration::from_secs(10);
        assert_eq!(response_timeout(None, max), max);
        assert_eq!(response_timeout(Some(Duration::from_secs(60)), max), max);
        assert_eq!(response_timeout(Some(Duration::from_secs(1)), max), Duration::from_millis(980));
        assert_eq!(
            response_timeout(Some(Duration::from_millis(100)), max),
            Duration::from_millis(95)
        );
    }
}
