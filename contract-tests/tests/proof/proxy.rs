//! An HTTP proxy between the suite and a store, which passes everything on as it is, or as a mutant
//! has it.

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
    exchange::{Answer, Manner, Request},
    memory::{Login, Memory},
};

/// What a proxy does with a request.
pub(crate) type Act = Arc<dyn Fn(Upstream, Request) -> Acting + Send + Sync>;
/// Until there is an answer.
pub(crate) type Acting = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The store behind a proxy, and what has passed so far.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// Connections that wait for a request.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    memory: Mutex<Memory>,
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

    /// What has passed so far. Not to be held over an `.await`.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().expect("nobody panics with it")
    }

    /// Sends a request to the store as it is, and remembers what comes.
    pub(crate) async fn send(&self, request: &Request) -> Answer {
        // The store may have closed a connection that was idle, but not one that was just opened.
        let kept = self.0.idle.lock().expect("nobody panics with it").pop();
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
            self.0.idle.lock().expect("nobody panics with it").push(connection);
        }
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            manner: Manner::Proper,
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

    /// A token of a user whom the proxy has registered for itself.
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

    /// Logs in; `None` if the store refuses.
    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Option<Login> {
        let body = json!({ "username": username, "password": password });
        let request = Request::new(hyper::Method::POST, "/login").with_json(&body);
        let answer = self.send(&request).await;
        Login::of(&request, &answer)
    }
}

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    url: String,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback address.
    pub(crate) async fn start(upstream: Upstream, act: Act) -> Self {
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
                connections.spawn(serve(stream, upstream.clone(), act.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url: format!("http://{address}"), _tasks: tasks }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(stream: TcpStream, upstream: Upstream, act: Act) {
    // What is no HTTP goes past hyper, which would not send it.
    let (raw, mut raws) = mpsc::channel::<Vec<u8>>(1);
    let service = service_fn(move |request| {
        let (upstream, act, raw) = (upstream.clone(), act.clone(), raw.clone());
        async move {
            let Some(request) = received(request).await else {
                // The client has gone away in the middle of its body.
                return std::future::pending().await;
            };
            let answer = act(upstream, request).await;
            if answer.manner == Manner::BodyAtAnyRate {
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
        // Clients may break a connection as they like.
        _ = &mut connection => {}
        Some(bytes) = raws.recv() => {
            let mut stream = connection.into_parts().io.into_inner();
            // Likewise.
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
    let body = match answer.manner {
        Manner::Proper | Manner::BodyAtAnyRate => Full::new(whole).boxed(),
        Manner::Chunked => {
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

/// hyper says itself how long a body is.
fn without_connection(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
