//! The callers of the gRPC services: what they print is so, in the database and on the topic; and
//! they notice services that do not keep to their word.

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

/// How many events are streamed; not a multiple of what any driver puts into a request.
const EVENTS: usize = 251;

async fn driver(language: &'static str, store: &TestStore) -> Driver {
    Driver::of(language)
        .await
        .with("MERCH_DB_GRPC", store.db_url())
        .with("MERCH_LOGGING_GRPC", store.logging_url())
        .with("MERCH_EVENTS", EVENTS.to_string())
}

/// What the language's driver does, it does, and the events that it says were acknowledged are on
/// the topic.
async fn calls(language: &'static str, event: &'static str) {
    let store = store().await;
    let run = driver(language, &store).await.run().await;
    assert_eq!(run.code, Some(0), "the {language} caller failed\n{run}");
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
    assert!(
        (2..EVENTS).contains(&acknowledged),
        "several requests, and not one for each event\n{run}"
    );
    assert!(
        run.lines("ok").any(|line| line == "StreamLogs INVALID_ARGUMENT"),
        "a stream that breaks a rule\n{run}"
    );

    let records = store
        .events()
        .await
        .find_all("the streamed events", EVENTS, |record| record.word() == event)
        .await;
    let came: HashSet<&str> = records.iter().map(|record| record.text("id")).collect();
    assert_eq!(came, said);
    assert!(records.iter().all(|record| record.text("service") == "probe"), "{records:?}");
    store.expect_many(event, EVENTS);
    for word in run.lines("caused") {
        store.expect_many(word, 1);
    }
    store.finish().await;
}

/// Every method of `AssistantService` was called with success, and refused with a reason.
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
    // What the contract says an order came to, is so.
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
    store.finish_whatever_came().await;
}

/// What passes between a sender and the service; `None` ends the stream.
type Passing = Result<StreamLogsResponse, Status>;
/// What a service does to its answers: that one, and how many there were before it.
type Lie = fn(Passing, usize) -> Option<Passing>;

/// Answers of `LoggingService` that break its contract.
const LIES: [(&str, Lie); 6] = [
    ("more is acknowledged than was sent", |passing, _| {
        Some(passing.map(|_| acknowledging(1_000_000)))
    }),
    ("the last is not acknowledged", |passing, _| {
        Some(passing.map(|response| acknowledging(response.acknowledged_sequence.min(2))))
    }),
    ("what was acknowledged goes down", |passing, before| {
        Some(passing.map(|response| if before == 0 { response } else { acknowledging(0) }))
    }),
    ("a refusal is kept secret", |passing, _| passing.is_ok().then_some(passing)),
    ("a refusal names no field", |passing, _| {
        Some(passing.map_err(|status| Status::new(status.code(), status.message())))
    }),
    ("a refusal has another code", |passing, _| {
        Some(passing.map_err(|status| {
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

/// The driver fails, and says at what, when `LoggingService` lies.
async fn notices_lies(language: &'static str) {
    let store = store().await;
    let driver = driver(language, &store).await;
    for (number, (what, lie)) in LIES.into_iter().enumerate() {
        let liar = Liar::start(store.logging_url(), lie).await;
        let driver = driver
            .clone()
            .with("MERCH_LOGGING_GRPC", liar.url.clone())
            .with("MERCH_UNIQUE", format!("lie{number}"));
        driver.run().await.expect_failure(what, 1, &["StreamLogs", ": expected "]);
    }
    let nobody = driver
        .clone()
        .with("MERCH_LOGGING_GRPC", "http://127.0.0.1:1")
        .with("MERCH_UNIQUE", "nobody");
    nobody.run().await.expect_failure("nobody listens", 1, &["StreamLogs", ": expected "]);
    store.finish_whatever_came().await;
}

/// The driver fails, and says at what, when `AssistantService` does not do what it expects.
async fn notices_another_assistant(language: &'static str) {
    let store = store().await;
    let driver = driver(language, &store).await;
    let other = driver.clone().with("MERCH_DB_GRPC", store.logging_url());
    other.run().await.expect_failure(
        "a service without the methods",
        1,
        &["CreateUser: expected OK, came UNIMPLEMENTED"],
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
        &["CreateUser: expected OK, came ALREADY_EXISTS"],
    );
    store.finish_whatever_came().await;
}

/// A logging service that hands everything on to the store's, and changes the answers.
struct Liar {
    url: String,
    task: JoinHandle<()>,
}

struct Lying {
    honest: Channel,
    lie: Lie,
}

impl Liar {
    async fn start(honest: String, lie: Lie) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let honest = Channel::from_shared(honest).unwrap().connect_lazy();
        let service = LoggingServiceServer::new(Lying { honest, lie });
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

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl LoggingService for Lying {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Passing> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let mut honest = LoggingServiceClient::new(self.honest.clone());
        // A sender that goes away ends its stream.
        let requests = request.into_inner().filter_map(|request| std::future::ready(request.ok()));
        let answers = honest.stream_logs(requests).await?.into_inner();
        let lie = self.lie;
        let answers = answers.enumerate().map(move |(before, passing)| lie(passing, before));
        Ok(Response::new(Box::pin(
            answers
                .take_while(|passing| std::future::ready(passing.is_some()))
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
    async fn notices_lies() {
        super::notices_lies(LANGUAGE).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn notices_another_assistant() {
        super::notices_another_assistant(LANGUAGE).await;
    }
}

mod needs_go {
    const LANGUAGE: &str = "grpc-go";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls() {
        super::calls(LANGUAGE, "probe_grpc_go").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn notices_lies() {
        super::notices_lies(LANGUAGE).await;
    }
}
