//! Servers that can be killed, paused and shut down; a resolver that does what a test says; callers
//! that never rest.

use std::{
    collections::HashSet,
    convert::Infallible,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use merch_chassis::{
    Readiness,
    grpc::{
        self, Peer, Transport,
        replicas::{CallError, Connection, Endpoints, Kind, Replicas, Resolve, Resolved},
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{NamedService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;

pub(crate) const SERVICE: &str = "test.Echo";
/// No condition takes this long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The deadline of a call, as in the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Waits until something holds, and says how long it took.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "not within {PATIENCE:?}: {what}");
    begun.elapsed()
}

/// Answers with its name. The request says what it does before: nothing, `hang`, `sleep MS`,
/// `refuse` (an answer), `busy`, `going down`.
#[derive(Clone)]
struct Echo {
    name: String,
    seen: Arc<Seen>,
}

/// What a server has seen of its callers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    calls: AtomicUsize,
    /// The other ends of the connections that calls came over.
    connections: Mutex<HashSet<SocketAddr>>,
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Self { name, seen } = self.clone();
        Box::pin(async move {
            seen.calls.fetch_add(1, Ordering::SeqCst);
            let peer = request.extensions().get::<Peer>().and_then(Peer::address).unwrap();
            seen.connections.lock().unwrap().insert(peer);
            match request.get_ref().split_once(' ').unwrap_or((request.get_ref(), "")) {
                ("hang", _) => std::future::pending().await,
                ("sleep", ms) => sleep(Duration::from_millis(ms.parse().unwrap())).await,
                ("refuse", _) => return Err(Status::already_exists("as asked for")),
                ("busy", _) => {
                    return Err(Status::with_details(
                        tonic::Code::Unavailable,
                        "as asked for",
                        vec![8, 14].into(),
                    ));
                }
                ("going", _) => return Err(Status::unavailable("as asked for")),
                _ => {}
            }
            Ok(Response::new(name))
        })
    }
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            Ok(tonic::server::Grpc::new(ProstCodec::<String, String>::default())
                .unary(echo, request)
                .await)
        })
    }
}

/// One attempt of a call.
pub(crate) async fn echo(
    connection: Connection,
    left: Duration,
    text: &str,
) -> Result<String, Status> {
    let mut request = Request::new(text.to_owned());
    request.set_timeout(left);
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Call");
    let mut client = tonic::client::Grpc::new(connection);
    client
        .unary(request, path, ProstCodec::<String, String>::default())
        .await
        .map(Response::into_inner)
}

/// A call; who answered it.
pub(crate) async fn call(replicas: &Replicas, kind: Kind, text: &str) -> Result<String, CallError> {
    let text: Arc<str> = text.into();
    replicas
        .call(kind, DEADLINE, |connection, left| {
            let text = Arc::clone(&text);
            async move { echo(connection, left, &text).await }
        })
        .await
}

/// A server as its process would run it: with a runtime of its own, so that it can be killed.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    shutdown: CancellationToken,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
    runtime: Option<Runtime>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, limits()).await
    }

    pub(crate) async fn start_with(address: SocketAddr, limits: grpc::Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // One that was killed a moment ago may still hold the port.
        let binding = runtime.spawn(timeout(PATIENCE, async move {
            loop {
                match TcpListener::bind(address).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        sleep(Duration::from_millis(5)).await
                    }
                    bound => return bound,
                }
            }
        }));
        let listener = binding.await.unwrap().expect("the port is free again").unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let seen = Arc::new(Seen::default());
        let serving =
            serve(listener, Arc::clone(&seen), limits, readiness.clone(), shutdown.clone());
        let task = runtime.spawn(serving);
        Self { address, readiness, shutdown, seen, task, runtime: Some(runtime) }
    }

    /// How many calls it has begun with.
    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// How many connections calls have come over.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.lock().unwrap().len()
    }

    /// As SIGTERM does: not ready, for `delay` still there, then drained.
    pub(crate) async fn stop(mut self, delay: Duration) {
        let open = self.readiness.part("process");
        open.not_ready("shutting down");
        sleep(delay).await;
        self.shutdown.cancel();
        let task = std::mem::replace(&mut self.task, tokio::spawn(async {}));
        timeout(PATIENCE, task).await.expect("a shutdown ends").unwrap();
    }

    /// As SIGKILL does: its connections end where they are.
    pub(crate) fn kill(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn limits() -> grpc::Limits {
    grpc::Limits { deadline: Duration::from_secs(60), ..grpc::Limits::default() }
}

pub(crate) async fn serve(
    listener: TcpListener,
    seen: Arc<Seen>,
    limits: grpc::Limits,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let name = listener.local_addr().unwrap().to_string();
    let contract = grpc::Contract {
        services: &[SERVICE],
        file_descriptor_set: tonic_health::pb::FILE_DESCRIPTOR_SET,
        access: &[],
    };
    grpc::serve(listener, Routes::new(Echo { name, seen }), contract, limits, readiness, shutdown)
        .await
        .unwrap();
}

/// A server in a process of its own, which can be paused: this test program, started again.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| {
            line.strip_prefix("listening on ").map(|address| address.parse().unwrap())
        });
        Self { child, address: address.expect("the child says where it listens") }
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses behind every name, as a test says.
#[derive(Default)]
pub(crate) struct Names {
    addresses: Mutex<Option<Vec<SocketAddr>>>,
    pub(crate) asked: AtomicUsize,
}

impl Names {
    pub(crate) fn are(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        *self.addresses.lock().unwrap() = Some(addresses.into_iter().collect());
    }

    pub(crate) fn fail(&self) {
        *self.addresses.lock().unwrap() = None;
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolved<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self
            .addresses
            .lock()
            .unwrap()
            .clone()
            .ok_or_else(|| io::Error::other("as the test wants it"));
        Box::pin(std::future::ready(answer))
    }
}

/// The replicas at these addresses, all of them serving.
pub(crate) async fn replicas(addresses: impl IntoIterator<Item = SocketAddr>) -> Replicas {
    replicas_of("test", addresses).await
}

/// The same; `of` names them in metrics.
pub(crate) async fn replicas_of(
    of: &'static str,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Replicas {
    let uris: Vec<String> =
        addresses.into_iter().map(|address| format!("http://{address}")).collect();
    let replicas = Replicas::find(
        Endpoints::parse(of, &uris.join(","), &Transport::default()).unwrap(),
        SERVICE,
    );
    until("all serve", || replicas.serving() == uris.len()).await;
    replicas
}

/// Callers that call one after another until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Outcome>>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) longest: Duration,
}

impl Load {
    pub(crate) fn start(replicas: &Replicas, kinds: &[Kind]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |kind: Kind| {
            let (replicas, stop) = (replicas.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    match call(&replicas, kind, "sleep 1").await {
                        Ok(_) => outcome.answered += 1,
                        Err(error) => outcome
                            .failed
                            .push(format!("{kind:?} after {:?}: {error:?}", begun.elapsed())),
                    }
                    outcome.longest = outcome.longest.max(begun.elapsed());
                }
                outcome
            })
        };
        Self { callers: kinds.iter().map(|kind| caller(*kind)).collect(), stop }
    }

    pub(crate) async fn end(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Outcome::default();
        for caller in self.callers {
            let one = caller.await.unwrap();
            all.answered += one.answered;
            all.failed.extend(one.failed);
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}
