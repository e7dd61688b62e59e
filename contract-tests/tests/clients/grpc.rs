//! gRPC drivers: their output matches the database and the topic, and they detect faulty services.

use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
    pin::Pin,
};

use futures_util::{Stream, StreamExt as _, stream};
use merch_contract::grpc::logging::v1::{
    StreamLogsRequest, StreamLogsResponse,
    logging_service_client::LoggingServiceClient,
    logging_service_server::{LoggingService, LoggingServiceServer},
};
use merch_test_store::TestStore;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Channel, Server},
};

use crate::driver::{Driver, store};

/// Not a multiple of any driver's batch size.
const EVENTS: usize = 251;

async fn driver(language: &'static str, store: &TestStore) -> Driver {
    Driver::of(language)
        .await
        .with("MERCH_DB_GRPC", store.db_url())
        .with("MERCH_LOGGING_GRPC", store.logging_url())
        .with("MERCH_EVENTS", EVENTS.to_string())
}

/// Runs the driver; every event that it reports as acknowledged must be on the topic.
async fn calls(language: &'static str, event: &'static str) {
    let store = store().await;
    let run = driver(language, &store).await.run().await;
    assert_eq!(run.code, Some(0), "the {language} driver failed\n{run}");
    let said: HashSet<&str> = run.lines("event").collect();
    assert_eq!(
        (run.lines("event").count(), said.len()),
        (EVENTS, EVENTS),
        "each event once\n{run}"
    );
    let acknowledged: usize = run
        .lines("acknowledged")
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{run}"));
    assert!((2..EVENTS).contains(&acknowledged), "several requests, fewer than events\n{run}");
    assert!(
        run.lines("ok").any(|line| line == "StreamLogs INVALID_ARGUMENT"),
        "a stream that breaks a rule\n{run}"
    );

    let records = store
        .events()
        .await
        .find_all("the streamed events", EVENTS, |record| record.name() == event)
        .await;
    let got: HashSet<&str> = records.iter().map(|record| record.text("id")).collect();
    assert_eq!(got, said);
    assert!(records.iter().all(|record| record.text("service") == "probe"), "{records:?}");
    store.expect_event_count(event, EVENTS);
    for word in run.lines("caused") {
        store.expect_event_count(word, 1);
    }
    store.finish().await;
}

/// Every method of `AssistantService` has one success and one refusal with a reason.
async fn calls_every_method(language: &'static str) {
    let store = store().await;
    let run = driver(language, &store).await.run().await;
    let contract = std::fs::read_to_string(
        crate::driver::root().join("proto/merch/assistant/v1/assistant.proto"),
    )
    .unwrap();
    let methods: BTreeSet<&str> = contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc ")?.split_once('('))
        .map(|(method, _)| method)
        .collect();
    assert_eq!(methods.len(), 18);
    let words = |line: &'static str| {
        run.lines(line).map(|said| said.split(' ').collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let ok = words("ok");
    let succeeded: BTreeSet<&str> =
        ok.iter().filter(|said| said.len() == 1).map(|said| said[0]).collect();
    let refused: BTreeSet<&str> =
        ok.iter().filter(|said| said.len() == 3).map(|said| said[0]).collect();
    // A request without fields cannot be refused.
    let refusable = methods.iter().copied().filter(|method| *method != "GetClock").collect();
    assert_eq!((&succeeded, &refused), (&methods, &refusable), "{run}");
    for (rows, wanted) in [
        ("users", 2),
        ("orders", 2),
        ("orders WHERE status = 'cancelled'", 1),
        ("idempotency_keys", 1),
    ] {
        assert_eq!(
            store.sql_integer(&format!("SELECT COUNT(*) FROM {rows}")).await,
            wanted,
            "{rows}"
        );
    }
    store.finish_unchecked().await;
}

/// An item of the response stream; `None` ends it.
type StreamItem = Result<StreamLogsResponse, Status>;
/// Changes a response; the second argument counts earlier ones.
type Fault = fn(StreamItem, usize) -> Option<StreamItem>;

/// Responses of `LoggingService` that break its contract.
const FAULTS: [(&str, Fault); 6] = [
    ("acknowledges more than was sent", |item, _| Some(item.map(|_| acknowledging(1_000_000)))),
    ("does not acknowledge the last", |item, _| {
        Some(item.map(|response| acknowledging(response.acknowledged_sequence.min(2))))
    }),
    ("decreases the acknowledgement", |item, before| {
        Some(item.map(|response| if before == 0 { response } else { acknowledging(0) }))
    }),
    ("omits a refusal", |item, _| item.is_ok().then_some(item)),
    ("names no field in a refusal", |item, _| {
        Some(item.map_err(|status| Status::new(status.code(), status.message())))
    }),
    ("refuses with another code", |item, _| {
        Some(item.map_err(|status| {
            Status::with_details(
                Code::Unavailable,
                status.message(),
                status.details().to_vec().into(),
            )
        }))
    }),
];

fn acknowledging(acknowledged_sequence: u64) -> StreamLogsResponse {
    StreamLogsResponse { acknowledged_sequence, refused: Vec::new() }
}

async fn detects_faults(language: &'static str) {
    let store = store().await;
    let driver = driver(language, &store).await;
    for (number, (what, fault)) in FAULTS.into_iter().enumerate() {
        let server = FaultyServer::start(store.logging_url(), fault).await;
        let driver = driver
            .clone()
            .with("MERCH_LOGGING_GRPC", server.url.clone())
            .with("MERCH_UNIQUE", format!("fault{number}"));
        driver.run().await.expect_failure(what, 1, &["StreamLogs", ": expected "]);
    }
    let unreachable = driver
        .clone()
        .with("MERCH_LOGGING_GRPC", "http://127.0.0.1:1")
        .with("MERCH_UNIQUE", "unused");
    unreachable.run().await.expect_failure("an unused port", 1, &["StreamLogs", ": expected "]);
    store.finish_unchecked().await;
}

async fn detects_assistant_faults(language: &'static str) {
    let store = store().await;
    let driver = driver(language, &store).await;
    let other = driver.clone().with("MERCH_DB_GRPC", store.logging_url());
    other.run().await.expect_failure(
        "a service without the methods",
        1,
        &["CreateUser: expected OK, got UNIMPLEMENTED"],
    );
    let full = driver.clone().with("MERCH_SOLD_OUT_PRODUCT", "2");
    full.run().await.expect_failure(
        "a product that is not sold out",
        1,
        &["PlaceOrders: expected "],
    );
    driver.run().await.expect_failure(
        "a user who is there already",
        1,
        &["CreateUser: expected OK, got ALREADY_EXISTS"],
    );
    store.finish_unchecked().await;
}

/// A proxy of the logging service that changes responses.
struct FaultyServer {
    url: String,
    task: JoinHandle<()>,
}

struct FaultyService {
    upstream: Channel,
    fault: Fault,
}

impl FaultyServer {
    async fn start(upstream: String, fault: Fault) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let upstream = Channel::from_shared(upstream).unwrap().connect_lazy();
        let service = LoggingServiceServer::new(FaultyService { upstream, fault });
        let task = tokio::spawn(async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming(Box::pin(incoming))
                .await
                .unwrap();
        });
        Self { url, task }
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl LoggingService for FaultyService {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = StreamItem> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let mut upstream = LoggingServiceClient::new(self.upstream.clone());
        // A client that goes away ends its stream.
        let requests = request.into_inner().filter_map(|request| std::future::ready(request.ok()));
        let answers = upstream.stream_logs(requests).await?.into_inner();
        let fault = self.fault;
        let answers = answers.enumerate().map(move |(before, item)| fault(item, before));
        Ok(Response::new(Box::pin(
            answers
                .take_while(|item| std::future::ready(item.is_some()))
                .filter_map(std::future::ready),
        )))
    }
}

mod needs_python {
    const LANGUAGE: &str = "grpc-python";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls() {
        super::calls(LANGUAGE, "probe_grpc_python").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_every_method() {
        super::calls_every_method(LANGUAGE).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn detects_faults() {
        super::detects_faults(LANGUAGE).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn detects_assistant_faults() {
        super::detects_assistant_faults(LANGUAGE).await;
    }
}

mod needs_go {
    const LANGUAGE: &str = "grpc-go";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls() {
        super::calls(LANGUAGE, "probe_grpc_go").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn detects_faults() {
        super::detects_faults(LANGUAGE).await;
    }
}
