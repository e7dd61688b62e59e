use std::{
    net::SocketAddr,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use merch_chassis::{Readiness, StartError, grpc::replicas::Replicas};
use merch_logging::{
    client::{
        self, EventSource, ShipOptions, SourceError,
        event::{Origin, event_name},
        journal::{Journal, JournalOptions},
        ship,
    },
    consumer::{self, ConsumerRecord, ReadOptions},
    proto::{
        Level, LogMessage, StreamLogsRequest, StreamLogsResponse,
        logging_service_client::LoggingServiceClient,
    },
    server::{self, Config, embedded::EmbeddedBroker},
    topic_admin::Topic,
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Endpoint};

pub(crate) const TOPIC: &str = "log-channel";

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Returns an event whose request id contains the number.
pub(crate) fn event(number: usize) -> LogMessage {
    Origin::new("api")
        .event(Level::Info, event_name::USER_LOGGED_IN, format!("event {number}"))
        .on_user(uuid::Uuid::from_u128(0x0198_1f3e_7a00_7000_8000_0000_0000_0000))
        .request_id(format!("request-{number}"))
        .build()
}

pub(crate) fn events(numbers: std::ops::Range<usize>) -> Vec<LogMessage> {
    numbers.map(event).collect()
}

pub(crate) fn numbers(events: &[LogMessage]) -> Vec<usize> {
    events
        .iter()
        .map(|event| event.request_id.strip_prefix("request-").unwrap().parse().unwrap())
        .collect()
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "timed out after {DEADLINE:?}: {what}");
}

pub(crate) fn fast_options() -> ShipOptions {
    ShipOptions {
        poll_interval: Duration::from_millis(200),
        reconnect_min: Duration::from_millis(5),
        reconnect_max: Duration::from_millis(100),
        ..ShipOptions::new("test")
    }
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

pub(crate) fn replicas(addresses: &[SocketAddr]) -> Replicas {
    let uris: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    client::find_replicas(&uris.join(","), &merch_chassis::grpc::Transport::default()).unwrap()
}

pub(crate) struct Shipping {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Shipping {
    pub(crate) fn start<S: EventSource>(
        source: S,
        address: SocketAddr,
        options: ShipOptions,
    ) -> Self {
        Self::start_to(source, replicas(&[address]), options)
    }

    pub(crate) fn start_to<S: EventSource>(
        source: S,
        replicas: Replicas,
        options: ShipOptions,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ship(source, replicas, options, shutdown.clone()));
        Self { shutdown, task }
    }

    pub(crate) async fn drain(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.expect("a drain ends").unwrap();
    }

    /// Ends the service like a killed process.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn journal(dir: &Path) -> Journal {
    Journal::open(dir, JournalOptions::default()).unwrap()
}

/// Asserts the guarantees of `ship`.
#[derive(Clone, Default)]
pub(crate) struct MemorySource(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    events: Vec<LogMessage>,
    acknowledged: usize,
    dead_letters: Vec<(String, String)>,
    failures: usize,
}

impl MemorySource {
    pub(crate) fn push(&self, events: impl IntoIterator<Item = LogMessage>) {
        self.0.state.lock().unwrap().events.extend(events);
        self.0.changed.notify_one();
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.0.state.lock().unwrap().acknowledged
    }

    /// Returns the message and the reason of each dead letter.
    pub(crate) fn dead_letters(&self) -> Vec<(String, String)> {
        self.0.state.lock().unwrap().dead_letters.clone()
    }

    pub(crate) fn fail(&self, calls: usize) {
        self.0.state.lock().unwrap().failures = calls;
    }

    pub(crate) async fn all_acknowledged(&self) {
        until("all events are acknowledged", || {
            let state = self.0.state.lock().unwrap();
            state.acknowledged == state.events.len()
        })
        .await;
    }
}

impl State {
    fn check_failure(&mut self) -> Result<(), SourceError> {
        match self.failures.checked_sub(1) {
            Some(left) => {
                self.failures = left;
                Err(SourceError::new("the source fails as the test wants it"))
            }
            None => Ok(()),
        }
    }
}

impl EventSource for MemorySource {
    type Position = usize;

    async fn read(
        &self,
        after: Option<&usize>,
        limit: usize,
    ) -> Result<Vec<(usize, LogMessage)>, SourceError> {
        let mut state = self.0.state.lock().unwrap();
        state.check_failure()?;
        let from = after.map_or(state.acknowledged, |after| after + 1).max(state.acknowledged);
        Ok(state.events.iter().cloned().enumerate().skip(from).take(limit).collect())
    }

    async fn acknowledge(&self, positions: &[usize]) -> Result<(), SourceError> {
        let mut state = self.0.state.lock().unwrap();
        state.check_failure()?;
        let expected: Vec<usize> =
            (state.acknowledged..state.acknowledged + positions.len()).collect();
        assert_eq!(positions, expected, "in order and without gaps");
        state.acknowledged += positions.len();
        Ok(())
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }

    async fn dead_letter(
        &self,
        position: &usize,
        event: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        let mut state = self.0.state.lock().unwrap();
        state.check_failure()?;
        assert_eq!(*position, state.acknowledged, "acknowledged in order");
        state.dead_letters.push((event.message.clone(), reason.to_owned()));
        Ok(())
    }
}

/// Has its own runtime, so that it can be killed.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
    process: Process,
}

/// Drop ends all tasks and connections.
struct Process(Option<Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Service {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), config).await
    }

    /// Starts a service on the port of an earlier one.
    pub(crate) async fn start_at(address: SocketAddr, config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let (address, readiness, shutdown) = (
            listener.local_addr().unwrap(),
            Readiness::expecting("logging"),
            CancellationToken::new(),
        );
        let task =
            runtime.spawn(server::serve(listener, config, readiness.clone(), shutdown.clone()));
        Self { address, readiness, shutdown, task, process: Process(Some(runtime)) }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.expect("a shutdown ends").unwrap().unwrap();
    }

    pub(crate) async fn kill(self) {
        drop(self.process);
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn config(brokers: &str) -> Config {
    Config {
        topic: Topic { partitions: 2, ..Topic::new(TOPIC) },
        delivery_timeout: Duration::from_secs(2),
        check_interval: Duration::from_millis(100),
        check_timeout: Duration::from_millis(500),
        drain_timeout: Duration::from_secs(5),
        ..Config::new(brokers)
    }
}

pub(crate) fn read_options(brokers: &str, follow: bool) -> ReadOptions {
    ReadOptions {
        kafka: brokers.into(),
        topic: TOPIC.to_owned(),
        follow,
        timeout: Duration::from_secs(10),
    }
}

pub(crate) async fn records(brokers: &str) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    let reading = consumer::read(read_options(brokers, false), |record| {
        records.push(record);
        ControlFlow::Continue(())
    });
    timeout(DEADLINE, reading).await.expect("reading ends at the end").unwrap();
    records
}

/// Without duplicates, in order of first arrival.
pub(crate) async fn distinct_numbers(brokers: &str) -> Vec<usize> {
    let mut ids = std::collections::HashSet::new();
    let mut events: Vec<LogMessage> =
        records(brokers).await.into_iter().map(|record| *record.event.unwrap()).collect();
    events.retain(|event| ids.insert(event.id.clone()));
    numbers(&events)
}

pub(crate) fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start(TOPIC, 2).unwrap()
}

/// A raw stream without the shipping client.
pub(crate) struct Sender {
    pub(crate) requests: mpsc::Sender<StreamLogsRequest>,
    pub(crate) responses: Streaming<StreamLogsResponse>,
}

impl Sender {
    pub(crate) async fn open(service: &Service) -> Self {
        let mut client =
            LoggingServiceClient::new(endpoint(service.address).connect().await.unwrap());
        let (requests, outbound) = mpsc::channel(16);
        let responses =
            client.stream_logs(ReceiverStream::new(outbound)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    pub(crate) async fn send(&self, sequence: u64, messages: Vec<LogMessage>) {
        self.requests.send(StreamLogsRequest { sequence, messages }).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Result<Option<u64>, Status> {
        let response =
            timeout(DEADLINE, self.responses.message()).await.expect("an answer comes")?;
        Ok(response.map(|response| response.acknowledged_sequence))
    }
}
