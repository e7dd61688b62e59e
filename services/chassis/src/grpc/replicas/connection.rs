//! One HTTP/2 connection to one replica, and what a call that fails on it has come to.
//!
//! tonic's channel connects again by itself and lets calls wait for that, so that nobody can tell
//! whether a call has left. Here a connection is made by who probes the replica, a call gets one
//! that has answered, and each failure says whether the call can have reached the other side.

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
    grpc::{
        trace,
        transport::{Address, Dialer, Trust},
    },
    with_causes,
};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(1);
/// The time that calls under way have to end once the replica is no longer trusted.
const UNTRUSTED_DRAIN: Duration = Duration::from_secs(10);

/// The body of an answer.
pub type Answer = MapErr<Incoming, fn(hyper::Error) -> Status>;

/// A connection to a replica: what a generated client is made of
/// (`AssistantServiceClient::new(connection)`). Cheap to clone; it ends when the last clone is
/// dropped and the last call on it has ended.
#[derive(Clone, Debug)]
pub struct Connection {
    send: SendRequest<Body>,
    authority: Authority,
    closed: CancellationToken,
    untrusted: CancellationToken,
}

/// Where the tasks of a connection run, until its replica is no longer trusted.
#[derive(Clone)]
struct Tasks {
    cut: CancellationToken,
    /// Ends with the last of them.
    _watch: Option<Arc<AbortOnDropHandle<()>>>,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let tasks = self.clone();
        tokio::spawn(async move { tasks.cut.run_until_cancelled(task).await });
    }
}

impl Connection {
    pub(super) async fn open(
        address: &Address,
        dialer: &Dialer,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let stream = timeout(CONNECT, dialer.connect(address)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "no connection within a second")
        })??;
        let (stream, trust) = stream;
        let (cut, untrusted) = (CancellationToken::new(), CancellationToken::new());
        let watch = trust.map(|trust| {
            let watching = watch(address.clone(), trust, untrusted.clone(), cut.clone());
            Arc::new(AbortOnDropHandle::new(tokio::spawn(watching)))
        });
        let (send, connection) = http2::Builder::new(Tasks { cut, _watch: watch })
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await?;
        let closed = CancellationToken::new();
        tokio::spawn({
            let (closed, address) = (closed.clone(), address.clone());
            async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%address, error = with_causes(error.to_string(), &error), "a connection broke");
                }
                closed.cancel();
            }
        });
        let authority = match address {
            Address::Tcp(address) => address.to_string().parse()?,
            // A path is no authority; gRPC's own clients send this one.
            Address::Unix(_) => Authority::from_static("localhost"),
        };
        Ok(Self { send, authority, closed, untrusted })
    }

    /// Whether it takes no more calls. Those under way may go on.
    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed() || self.untrusted.is_cancelled()
    }

    /// Returns when it takes no more calls.
    pub(super) async fn closed(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = self.untrusted.cancelled() => {}
        }
    }

    /// Whether it takes no more calls because the replica is no longer trusted.
    pub(super) fn is_untrusted(&self) -> bool {
        self.untrusted.is_cancelled()
    }

    /// Whether `other` is a clone of this one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.closed == other.closed
    }
}

/// Waits until the replica is no longer trusted, and cancels `untrusted` and, once calls under way
/// have had their time, `cut`.
async fn watch(
    address: Address,
    trust: Trust,
    untrusted: CancellationToken,
    cut: CancellationToken,
) {
    let error = trust.ended().await;
    tracing::info!(%address, %error, "leaving a connection: the replica is no longer trusted");
    untrusted.cancel();
    sleep(UNTRUSTED_DRAIN).await;
    cut.cancel();
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    /// A connection that is closed says so when it is called.
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
                    "the path of a call is none: {error}"
                )))));
            }
        }
        request.headers_mut().insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("merch/", env!("CARGO_PKG_VERSION"))),
        );
        trace::complete(request.headers_mut());
        let answer = self.send.send_request(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => {
                    Ok(answer.map(|body| body.map_err(broken as fn(hyper::Error) -> Status)))
                }
                Err(error) if never_left(&error) => Err(failed(NeverLeft(error))),
                Err(error) => Err(broken(error)),
            }
        })
    }
}

/// Whether the replica has certainly not begun with a call that failed so, before its answer began:
/// - hyper cancels what it has not yet given to the connection;
/// - h2 gives the error of a GOAWAY from the other side only to streams past the last one that the
///   other side has taken, and to those that were never opened (RFC 9113, section 6.8), and that of
///   a RST_STREAM with REFUSED_STREAM says just this (section 8.7).
fn never_left(error: &hyper::Error) -> bool {
    error.is_canceled()
        || in_chain::<h2::Error>(error).is_some_and(|error| {
            error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        })
}

fn broken(error: hyper::Error) -> Status {
    failed(Broken(error))
}

fn failed(cause: impl Error + Send + Sync + 'static) -> Status {
    let mut status = Status::new(Code::Unavailable, cause.to_string());
    status.set_source(Arc::new(cause));
    status
}

/// The call has not reached the replica, or the replica has not begun with it.
#[derive(Debug)]
struct NeverLeft(hyper::Error);

/// The call was on its way or under way.
#[derive(Debug)]
struct Broken(hyper::Error);

impl fmt::Display for NeverLeft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the replica did not take the call")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection broke during the call")
    }
}

impl Error for NeverLeft {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// What a call that failed has come to. Decided by types and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody has begun with it.
    NeverLeft,
    /// Whether it was done is not known.
    Lost,
    /// The replica is going down: UNAVAILABLE without a word on why, as a server says of calls that
    /// it cuts off. Whether it was done is not known.
    GoingDown,
    /// The service itself says that it cannot do it now: UNAVAILABLE with details.
    Busy,
    /// Anything else is the answer.
    Answered,
}

impl Fate {
    pub(super) fn of(status: &Status) -> Self {
        if in_chain::<NeverLeft>(status).is_some() {
            Self::NeverLeft
        } else if in_chain::<Broken>(status).is_some() {
            Self::Lost
        } else if status.code() != Code::Unavailable {
            Self::Answered
        } else if status.details().is_empty() {
            Self::GoingDown
        } else {
            Self::Busy
        }
    }
}

/// The error itself or the first of its causes that is an `E`.
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
