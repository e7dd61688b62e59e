use std::{
    collections::HashSet,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use merch_chassis::{
    Readiness,
    grpc::{
        self, Peer, Transport,
        replicas::{
            CallError, Connection, Endpoints, Idempotency, Replicas, Resolve, ResolveFuture,
        },
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
    server::{NamedService, UnaryService},
    service::Routes,
};

pub(crate) use crate::unary::until;
use crate::unary::{TEST_TIMEOUT, Unary, call_once, contract};

pub(crate) const SERVICE: &str = "test.Echo";
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Returns the server's name after doing what the request asks for: nothing, `hang`, `sleep MS`,
/// `refuse` (an error of the service), `busy`, `going down`.
#[derive(Clone)]
struct Echo {
    name: String,
    observed: Arc<Observed>,
}

#[derive(Debug, Default)]
pub(crate) struct Observed {
    calls: AtomicUsize,
    connections: Mutex<HashSet<SocketAddr>>,
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Self { name, observed } = self.clone();
        Box::pin(async move {
            observed.calls.fetch_add(1, Ordering::SeqCst);
            let peer = request.extensions().get::<Peer>().and_then(Peer::address).unwrap();
            observed.connections.lock().unwrap().insert(peer);
            match request.get_ref().split_once(' ').unwrap_or((request.get_ref(), "")) {
                ("hang", _) => std::future::pending().await,
                ("sleep", ms) => sleep(Duration::from_millis(ms.parse().unwrap())).await,
                ("refuse", _) => return Err(Status::already_exists("as requested")),
                ("busy", _) => {
                    return Err(Status::with_details(
                        tonic::Code::Unavailable,
                        "as requested",
                        vec![8, 14].into(),
                    ));
                }
                ("going", _) => return Err(Status::unavailable("as requested")),
                _ => {}
            }
            Ok(Response::new(name))
        })
    }
}

pub(crate) async fn echo(
    connection: Connection,
    left: Duration,
    text: &str,
) -> Result<String, Status> {
    call_once(connection, left, "/test.Echo/Call", text).await
}

pub(crate) async fn call(
    replicas: &Replicas,
    idempotency: Idempotency,
    text: &str,
) -> Result<String, CallError> {
    let text: Arc<str> = text.into();
    replicas
        .call(idempotency, DEADLINE, |connection, left| {
            let text = Arc::clone(&text);
            async move { echo(connection, left, &text).await }
        })
        .await
}

/// Runs in its own runtime, so that it can be killed like a process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    shutdown: CancellationToken,
    observed: Arc<Observed>,
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
        let binding = runtime.spawn(timeout(TEST_TIMEOUT, async move {
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
        let observed = Arc::new(Observed::default());
        let serving =
            serve(listener, Arc::clone(&observed), limits, readiness.clone(), shutdown.clone());
        let task = runtime.spawn(serving);
        Self { address, readiness, shutdown, observed, task, runtime: Some(runtime) }
    }

    pub(crate) fn calls(&self) -> usize {
        self.observed.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.observed.connections.lock().unwrap().len()
    }

    /// Stops like after SIGTERM: not ready, serving for `delay`, then draining.
    pub(crate) async fn stop(mut self, delay: Duration) {
        let open = self.readiness.part("process");
        open.not_ready("shutting down");
        sleep(delay).await;
        self.shutdown.cancel();
        let task = std::mem::replace(&mut self.task, tokio::spawn(async {}));
        timeout(TEST_TIMEOUT, task).await.expect("a shutdown ends").unwrap();
    }

    /// Stops like after SIGKILL: connections break.
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
    observed: Arc<Observed>,
    limits: grpc::Limits,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let name = listener.local_addr().unwrap().to_string();
    grpc::serve(
        listener,
        Routes::new(Unary(Echo { name, observed })),
        contract(&[SERVICE], &[]),
        limits,
        readiness,
        shutdown,
    )
    .await
    .unwrap();
}

/// A server in its own process, which can be paused.
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

#[derive(Default)]
pub(crate) struct FakeResolver {
    addresses: Mutex<Option<Vec<SocketAddr>>>,
    pub(crate) lookups: AtomicUsize,
}

impl FakeResolver {
    pub(crate) fn set(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        *self.addresses.lock().unwrap() = Some(addresses.into_iter().collect());
    }

    pub(crate) fn fail(&self) {
        *self.addresses.lock().unwrap() = None;
    }
}

impl Resolve for FakeResolver {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> ResolveFuture<'a> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let answer = self
            .addresses
            .lock()
            .unwrap()
            .clone()
            .ok_or_else(|| io::Error::other("resolution fails on request"));
        Box::pin(std::future::ready(answer))
    }
}

pub(crate) async fn replicas(addresses: impl IntoIterator<Item = SocketAddr>) -> Replicas {
    replicas_of("test", addresses).await
}

pub(crate) async fn replicas_of(
    service: &'static str,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Replicas {
    let uris: Vec<String> =
        addresses.into_iter().map(|address| format!("http://{address}")).collect();
    let replicas = Replicas::discover(
        Endpoints::parse(service, &uris.join(","), &Transport::default()).unwrap(),
        SERVICE,
    );
    until("all serve", || replicas.serving() == uris.len()).await;
    replicas
}

pub(crate) struct LoadGenerator {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Outcome>>,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) longest: Duration,
}

impl LoadGenerator {
    pub(crate) fn start(replicas: &Replicas, idempotencies: &[Idempotency]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |idempotency: Idempotency| {
            let (replicas, stop) = (replicas.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    match call(&replicas, idempotency, "sleep 1").await {
                        Ok(_) => outcome.answered += 1,
                        Err(error) => outcome.failed.push(format!(
                            "{idempotency:?} after {:?}: {error:?}",
                            start.elapsed()
                        )),
                    }
                    outcome.longest = outcome.longest.max(start.elapsed());
                }
                outcome
            })
        };
        Self {
            callers: idempotencies.iter().map(|idempotency| caller(*idempotency)).collect(),
            stop,
        }
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
