//! One HTTP/2 connection to a replica, and the classification of failed calls.
//!
//! tonic's channel reconnects and queues calls by itself, so its failures do not show whether a
//! call was sent.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt as _, combinators::MapErr};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{
        Request, Response, Uri,
        header::{HeaderValue, USER_AGENT},
        uri::{Authority, Scheme},
    },
};
use tower::Service;

use crate::{
    error_chain,
    grpc::{
        trace,
        transport::{Address, Dialer, Trust},
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const UNTRUSTED_DRAIN: Duration = Duration::from_secs(10);

/// The body of a response.
pub type ResponseBody = MapErr<Incoming, fn(hyper::Error) -> Status>;

/// A connection to a replica, for generated clients. Closes after the last clone and call.
#[derive(Clone, Debug)]
pub struct Connection {
    send: SendRequest<Body>,
    authority: Authority,
    closed: CancellationToken,
    untrusted: CancellationToken,
}

#[derive(Clone)]
struct ConnectionExecutor {
    cancel: CancellationToken,
    _watch: Option<Arc<AbortOnDropHandle<()>>>,
}

impl<F> hyper::rt::Executor<F> for ConnectionExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let tasks = self.clone();
        tokio::spawn(async move { tasks.cancel.run_until_cancelled(task).await });
    }
}

impl Connection {
    pub(super) async fn open(
        address: &Address,
        dialer: &Dialer,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let stream = timeout(CONNECT_TIMEOUT, dialer.connect(address)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "failed to connect within a second")
        })??;
        let (stream, trust) = stream;
        let (cancel, untrusted) = (CancellationToken::new(), CancellationToken::new());
        let watch = trust.map(|trust| {
            let watching = watch_trust(address.clone(), trust, untrusted.clone(), cancel.clone());
            Arc::new(AbortOnDropHandle::new(tokio::spawn(watching)))
        });
        let (send, connection) = http2::Builder::new(ConnectionExecutor { cancel, _watch: watch })
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await?;
        let closed = CancellationToken::new();
        tokio::spawn({
            let (closed, address) = (closed.clone(), address.clone());
            async move {
                if let Err(error) = connection.await {
                    let error = error_chain(error.to_string(), &error);
                    tracing::debug!(%address, error, "connection failed");
                }
                closed.cancel();
            }
        });
        let authority = match address {
            Address::Tcp(address) => address.to_string().parse()?,
            // A path is not an authority; gRPC clients send `localhost`.
            Address::Unix(_) => Authority::from_static("localhost"),
        };
        Ok(Self { send, authority, closed, untrusted })
    }

    /// Calls in flight may go on.
    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed() || self.untrusted.is_cancelled()
    }

    pub(super) async fn closed(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = self.untrusted.cancelled() => {}
        }
    }

    pub(super) fn is_untrusted(&self) -> bool {
        self.untrusted.is_cancelled()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.closed == other.closed
    }
}

async fn watch_trust(
    address: Address,
    trust: Trust,
    untrusted: CancellationToken,
    cancel: CancellationToken,
) {
    let error = trust.ended().await;
    tracing::info!(%address, %error, "draining connection: replica no longer trusted");
    untrusted.cancel();
    sleep(UNTRUSTED_DRAIN).await;
    cancel.cancel();
}

impl Service<Request<Body>> for Connection {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        match Uri::from_parts(parts) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => {
                return Box::pin(std::future::ready(Err(Status::internal(format!(
                    "the path of a call is invalid: {error}; please report this bug"
                )))));
            }
        }
        request.headers_mut().insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("merch/", env!("CARGO_PKG_VERSION"))),
        );
        trace::add_missing_ids(request.headers_mut());
        let answer = self.send.send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => {
                    Ok(answer.map(|body| body.map_err(broken::<hyper::Error> as fn(_) -> _)))
                }
                Err(error) if is_unprocessed(&error) => Err(unprocessed(error)),
                Err(error) => Err(broken(error)),
            }
        })
    }
}

/// Returns whether the replica has certainly not processed a failed call:
/// - hyper cancels calls that it has not sent;
/// - h2 reports a remote GOAWAY only to streams after the last processed one (RFC 9113, 6.8);
/// - REFUSED_STREAM means "not processed" (RFC 9113, 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    error.is_canceled()
        || in_chain::<h2::Error>(error).is_some_and(|error| {
            error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        })
}

pub(super) fn unprocessed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Status {
    failed(Unprocessed(error.into()))
}

pub(super) fn broken<E: Into<Box<dyn Error + Send + Sync>>>(error: E) -> Status {
    failed(Broken(error.into()))
}

fn failed(cause: impl Error + Send + Sync + 'static) -> Status {
    let mut status = Status::new(Code::Unavailable, cause.to_string());
    status.set_source(Arc::new(cause));
    status
}

#[derive(Debug)]
struct Unprocessed(Box<dyn Error + Send + Sync>);

#[derive(Debug)]
struct Broken(Box<dyn Error + Send + Sync>);

impl fmt::Display for Unprocessed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the replica did not process the call")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection failed during the call")
    }
}

impl Error for Unprocessed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    Unprocessed,
    /// The outcome is unknown.
    Lost,
    /// The drain ended: UNAVAILABLE without details. The outcome is unknown.
    Draining,
    /// UNAVAILABLE with details.
    Overloaded,
    Response,
}

impl FailureKind {
    pub(super) fn of(status: &Status) -> Self {
        if in_chain::<Unprocessed>(status).is_some() {
            Self::Unprocessed
        } else if in_chain::<Broken>(status).is_some() {
            Self::Lost
        } else if status.code() != Code::Unavailable {
            Self::Response
        } else if status.details().is_empty() {
            Self::Draining
        } else {
            Self::Overloaded
        }
    }
}

fn in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
