//! Deadlines that are answered with `DEADLINE_EXCEEDED`, and the end of a drain, of the server or
//! of one connection, with `UNAVAILABLE`.
//!
//! tonic obeys `grpc-timeout` by itself but answers `CANCELLED`, which a caller cannot tell from
//! its own cancelling except by reading the text.

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

use super::cut::{Cut, cut_off};

/// Bounds each call by its own `grpc-timeout` and by `most`, whichever is shorter; and ends every
/// call, streams included, with `UNAVAILABLE` once `cut` is cancelled: at the end of the drain of
/// the server or of the connection.
#[derive(Clone, Debug)]
pub(super) struct DeadlineLayer {
    pub(super) most: Duration,
    pub(super) cut: CancellationToken,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, most: self.most, cut: self.cut.clone() }
    }
}

/// When a call's answer has to be there: among the extensions of its request. What is done after it
/// is done for nobody, and a process that was frozen meanwhile learns by it that it is late: the
/// clock runs on.
#[derive(Clone, Copy, Debug)]
pub struct AnswerBy(pub Instant);

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    most: Duration,
    cut: CancellationToken,
}

impl<S> Service<Request<Body>> for Deadline<S>
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
        let time = answer_within(requested(request.headers()), self.most);
        request.extensions_mut().insert(AnswerBy(Instant::now() + time));
        let answer = self.inner.call(request);
        let cut = self.cut.clone();
        Box::pin(async move {
            tokio::select! {
                answered = tokio::time::timeout(time, answer) => match answered {
                    Ok(answered) => answered.map(|answer| answer.map(|body| Cut::at_end_of(cut, body))),
                    Err(_) => Ok(Status::deadline_exceeded(format!("no answer within {} ms", time.as_millis())).into_http()),
                },
                () = cut.cancelled() => Ok(cut_off().into_http()),
            }
        })
    }
}

/// A little before the caller gives up (a twentieth, at most 20 ms), so that the answer still
/// reaches it.
fn answer_within(requested: Option<Duration>, most: Duration) -> Duration {
    requested.map_or(most, |requested| {
        (requested - (requested / 20).min(Duration::from_millis(20))).min(most)
    })
}

/// The caller's `grpc-timeout`: at most eight digits and a unit (the gRPC protocol over HTTP/2,
/// "Requests"). One that cannot be read is none.
fn requested(headers: &HeaderMap) -> Option<Duration> {
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
        requested(&headers)
    }

    #[test]
    fn every_unit_of_the_protocol_is_read() {
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
    async fn a_call_knows_when_its_answer_has_to_be_there() {
        let seen = |request: Request<Body>| {
            let until = request.extensions().get::<AnswerBy>().map(|until| until.0);
            async move {
                Ok::<_, std::convert::Infallible>(
                    Response::builder().extension(until).body(Body::empty()).unwrap(),
                )
            }
        };
        let layer = DeadlineLayer { most: Duration::from_secs(60), cut: CancellationToken::new() };
        let mut service = layer.layer(tower::service_fn(seen));
        let before = Instant::now();
        let request = Request::builder().header("grpc-timeout", "2S").body(Body::empty()).unwrap();
        let answer = service.call(request).await.unwrap();
        let until = answer.extensions().get::<Option<Instant>>().unwrap().unwrap();
        let time = Duration::from_millis(1980);
        assert!((before + time..=Instant::now() + time).contains(&until));
    }

    /// Not over a connection: tonic's client obeys the same header by itself, 20 ms later, and
    /// answers `CANCELLED`.
    #[tokio::test]
    async fn the_callers_deadline_and_the_servers_are_answered_as_deadline_exceeded() {
        let never = |_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        };
        for (requested, most) in [
            (Some("50m"), Duration::from_secs(3600)),
            (Some("1H"), Duration::from_millis(50)),
            (None, Duration::from_millis(50)),
        ] {
            let mut service = DeadlineLayer { most, cut: CancellationToken::new() }
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
                "{requested:?}, {most:?}: {status:?}"
            );
        }
    }

    #[test]
    fn the_shorter_time_holds_and_leaves_room_for_the_answer() {
        let most = Duration::from_secs(10);
        assert_eq!(answer_within(None, most), most);
        assert_eq!(answer_within(Some(Duration::from_secs(60)), most), most);
        assert_eq!(answer_within(Some(Duration::from_secs(1)), most), Duration::from_millis(980));
        assert_eq!(
            answer_within(Some(Duration::from_millis(100)), most),
            Duration::from_millis(95)
        );
    }
}
