//! An HTTP proxy between suite and store that forwards or applies a mutant.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap,
    body::{Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use merch_test_store::fresh_name;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinSet,
};

use crate::{
    exchange::{Answer, Framing, Request},
    observed::{Login, Observed},
};

pub(crate) type Behavior = Arc<dyn Fn(Upstream, Request) -> AnswerFuture + Send + Sync>;
pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The store behind a proxy, and the observed traffic.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// Idle connections.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    memory: Mutex<Observed>,
    own: AsyncMutex<Option<Login>>,
}

impl Upstream {
    /// `url` is `http://127.0.0.1:port`.
    pub(crate) fn new(url: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.parse().ok())
            .expect("a store's URL is http://address:port");
        Self(Arc::new(Inner {
            address,
            idle: Mutex::default(),
            memory: Mutex::default(),
            own: AsyncMutex::default(),
        }))
    }

    /// Must not be held across an `.await`.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Observed> {
        self.0.memory.lock().expect("the lock is not poisoned")
    }

    /// Forwards a request and records the response.
    pub(crate) async fn send(&self, request: &Request) -> Answer {
        // The store may have closed an idle connection.
        let kept = self.0.idle.lock().expect("the lock is not poisoned").pop();
        let mut connection = match kept {
            Some(mut kept) => match kept.ready().await {
                Ok(()) => kept,
                Err(_) => self.connect().await,
            },
            None => self.connect().await,
        };
        let mut forwarded = hyper::Request::new(Full::new(request.body.clone()));
        *forwarded.method_mut() = request.method.clone();
        *forwarded.uri_mut() =
            request.target.parse().expect("a target that hyper has read it can read again");
        *forwarded.headers_mut() = without_connection(request.headers.clone());
        forwarded.headers_mut().insert(
            HOST,
            HeaderValue::try_from(self.0.address.to_string()).expect("an address is ASCII"),
        );
        let (head, body) = match connection.send_request(forwarded).await {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                panic!("{} {}: the store gave no answer: {error}", request.method, request.target)
            }
        };
        let body = body.collect().await.expect("the store ends its answers").to_bytes();
        let closing = head.headers.get(CONNECTION).is_some_and(|value| value == "close");
        if !closing {
            self.0.idle.lock().expect("the lock is not poisoned").push(connection);
        }
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            framing: Framing::Standard,
        };
        self.memory().note(request, &answer);
        answer
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream =
            TcpStream::connect(self.0.address).await.expect("the store accepts connections");
        stream.set_nodelay(true).expect("an open socket takes options");
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.expect("a handshake of HTTP/1 sends nothing");
        tokio::spawn(connection);
        sender
    }

    /// A token of the proxy's own user.
    pub(crate) async fn own_token(&self) -> String {
        let mut own = self.0.own.lock().await;
        if own.is_none() {
            let name = fresh_name();
            let password = "the proxy of the mutants";
            let user = json!({ "sid": name, "username": name, "email": format!("{name}@proxy.example.com"), "password": password });
            let answer =
                self.send(&Request::new(hyper::Method::POST, "/users").with_json(&user)).await;
            assert_eq!(answer.status, 201, "the proxy can register a user: {answer:?}");
            *own = self.log_in(&name, password).await;
        }
        own.as_ref().expect("a user just registered can log in").token.clone()
    }

    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Option<Login> {
        let body = json!({ "username": username, "password": password });
        let request = Request::new(hyper::Method::POST, "/login").with_json(&body);
        let answer = self.send(&request).await;
        Login::of(&request, &answer)
    }
}

/// A running proxy; dropping it stops it.
pub(crate) struct Proxy {
    url: String,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: Upstream, behavior: Behavior) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback address is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a listener accepts");
                stream.set_nodelay(true).expect("an open socket takes options");
                connections.spawn(serve(stream, upstream.clone(), behavior.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url: format!("http://{address}"), _tasks: tasks }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(stream: TcpStream, upstream: Upstream, behavior: Behavior) {
    // Invalid HTTP bypasses hyper, which would refuse to send it.
    let (raw, mut raws) = mpsc::channel::<Vec<u8>>(1);
    let service = service_fn(move |request| {
        let (upstream, behavior, raw) = (upstream.clone(), behavior.clone(), raw.clone());
        async move {
            let Some(request) = received(request).await else {
                // The client closed during its body.
                return std::future::pending().await;
            };
            let answer = behavior(upstream, request).await;
            if answer.framing == Framing::ForcedBody {
                raw.send(answer.to_bytes()).await.expect("the connection waits for it");
                return std::future::pending().await;
            }
            Ok::<_, Infallible>(sent(answer))
        }
    });
    let mut connection = http1::Builder::new()
        .max_headers(512)
        .serve_connection(TokioIo::new(stream), Box::new(service));
    tokio::select! {
        // Clients may close a connection at any time.
        _ = &mut connection => {}
        Some(bytes) = raws.recv() => {
            let mut stream = connection.into_parts().io.into_inner();
            if stream.write_all(&bytes).await.is_ok() {
                stream.shutdown().await.ok();
            }
        }
    }
}

async fn received(request: hyper::Request<Incoming>) -> Option<Request> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let body = body.collect().await.ok()?.to_bytes();
    Some(Request { method: head.method, target, headers: without_connection(head.headers), body })
}

fn sent(answer: Answer) -> hyper::Response<BoxBody<Bytes, Infallible>> {
    let whole = answer.body;
    let body = match answer.framing {
        Framing::Standard | Framing::ForcedBody => Full::new(whole).boxed(),
        Framing::Chunked => {
            let middle = whole.len() / 2;
            let chunks = [whole.slice(..middle), whole.slice(middle..)]
                .into_iter()
                .filter(|chunk| !chunk.is_empty());
            let frames: Vec<_> = chunks.map(|chunk| Ok(Frame::data(chunk))).collect();
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        }
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(answer.status).expect("a status of three digits");
    let mut headers = answer.headers;
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    *response.headers_mut() = headers;
    response
}

/// hyper computes the length.
fn without_connection(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
