//! A gRPC proxy between api and db that breaks one method and forwards all others.
//!
//! It reads the method from the HTTP/2 path, so it needs no list.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http2::{self as client, SendRequest},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex as AsyncMutex, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Returns this gRPC code with an internal message.
    Status(tonic::Code),
    /// Returns an invalid message.
    Garbage,
    /// Breaks the connection during the call.
    Break,
    /// Forwards the call only after [`FaultyDb::restore`].
    Stall,
}

/// Occurs in every simulated error message; it must never reach a client.
pub(crate) const MARKER: &str = "internal-marker-7f3a";

/// Every method that has no fault of its own.
const ANY: &str = "*";

/// The proxy; dropping it stops it.
pub(crate) struct FaultyDb {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    db: SocketAddr,
    upstream: AsyncMutex<Option<SendRequest<Incoming>>>,
    faults: Mutex<HashMap<String, Fault>>,
    called: Mutex<Vec<String>>,
    /// Incremented by `restore`.
    restored: watch::Sender<u64>,
}

impl FaultyDb {
    /// Listens on a free loopback port. `db_url` is `http://127.0.0.1:port`.
    pub(crate) async fn start(db_url: &str) -> Self {
        let db = db_url
            .strip_prefix("http://")
            .and_then(|rest| rest.parse().ok())
            .expect("the db service is at http://address:port");
        let shared = Arc::new(Shared {
            db,
            upstream: AsyncMutex::default(),
            faults: Mutex::default(),
            called: Mutex::default(),
            restored: watch::Sender::new(0),
        });
        let listener =
            TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback address is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut tasks = JoinSet::new();
        let of_all = shared.clone();
        tasks.spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a listener accepts");
                connections.spawn(serve(stream, of_all.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url: format!("http://{address}"), shared, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Breaks a method (`GetUser`) until [`restore`](Self::restore).
    pub(crate) fn fail(&self, method: &str, fault: Fault) {
        self.shared
            .faults
            .lock()
            .expect("the lock is not poisoned")
            .insert(method.to_owned(), fault);
    }

    pub(crate) fn stall(&self) {
        self.fail(ANY, Fault::Stall);
    }

    pub(crate) fn restore(&self) {
        self.shared.faults.lock().expect("the lock is not poisoned").clear();
        self.shared.restored.send_modify(|times| *times += 1);
    }

    /// The methods of AssistantService called since the last time, in order.
    pub(crate) fn take_called(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.called.lock().expect("the lock is not poisoned"))
    }
}

type Body = Either<Incoming, Full<Bytes>>;

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let broken = CancellationToken::new();
    let breaking = broken.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, breaking) = (shared.clone(), breaking.clone());
        async move { Ok::<_, Infallible>(shared.answer(request, &breaking).await) }
    });
    tokio::select! {
        // The api may close its connection at any time.
        _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service) => {}
        // Dropping the connection resets it.
        () = broken.cancelled() => {}
    }
}

impl Shared {
    async fn answer(
        &self,
        request: Request<Incoming>,
        breaking: &CancellationToken,
    ) -> Response<Body> {
        let mut restored = self.restored.subscribe();
        let path = request.uri().path();
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        // The api reads the clock outside of requests.
        let of_a_request = path.contains("AssistantService") && method != "GetClock";
        if of_a_request {
            self.called.lock().expect("the lock is not poisoned").push(method.clone());
        }
        let fault = {
            let faults = self.faults.lock().expect("the lock is not poisoned");
            let of_any = || faults.get(ANY).filter(|_| of_a_request);
            faults.get(&method).or_else(of_any).cloned()
        };
        match fault {
            None => self.forward(request).await.map(Either::Left),
            Some(Fault::Status(code)) => refusal(code),
            Some(Fault::Garbage) => garbage(),
            Some(Fault::Stall) => {
                restored.changed().await.expect("this holds the sender");
                self.forward(request).await.map(Either::Left)
            }
            Some(Fault::Break) => {
                breaking.cancel();
                std::future::pending().await
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Response<Incoming> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = format!("http://{}{target}", self.db)
            .parse::<Uri>()
            .expect("a path that hyper has read is one");
        let mut sender = self.sender().await;
        match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(error) => panic!("the db service gave no answer: {error}"),
        }
    }

    async fn sender(&self) -> SendRequest<Incoming> {
        let mut upstream = self.upstream.lock().await;
        if let Some(sender) = upstream.as_ref().filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let stream = TcpStream::connect(self.db).await.expect("the db service accepts connections");
        let (sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("the db service speaks HTTP/2");
        tokio::spawn(connection);
        upstream.insert(sender).clone()
    }
}

fn of_grpc(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A status in the headers only.
fn refusal(code: tonic::Code) -> Response<Body> {
    let mut response = of_grpc(Bytes::new());
    response.headers_mut().insert("grpc-status", HeaderValue::from(i32::from(code)));
    response.headers_mut().insert("grpc-message", HeaderValue::from_static(MARKER));
    response
}

/// A frame that is not protobuf.
fn garbage() -> Response<Body> {
    let mut frame = BytesMut::new();
    let message = [&[0xff; 11], MARKER.as_bytes()].concat();
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(message.len()).expect("a short message"));
    frame.put_slice(&message);
    let mut response = of_grpc(frame.freeze());
    response.headers_mut().insert("grpc-status", HeaderValue::from(0));
    response
}
