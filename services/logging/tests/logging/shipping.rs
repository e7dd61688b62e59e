use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use merch_logging::{
    client::ShipOptions,
    proto::{
        LogMessage, StreamLogsRequest, StreamLogsResponse,
        logging_service_server::{LoggingService, LoggingServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{MemorySource, Shipping, event, events, fast_options, numbers, until};

/// Acknowledge, nothing, or end the stream.
type Behaviour =
    dyn Fn(&FakeState, &StreamLogsRequest) -> Result<Option<u64>, Status> + Send + Sync;

#[derive(Default)]
pub(crate) struct FakeState {
    pub(crate) streams: usize,
    /// Stream, sequence and number of events.
    pub(crate) requests: Vec<(usize, u64, usize)>,
    pub(crate) acknowledged: Vec<LogMessage>,
}

#[derive(Clone)]
pub(crate) struct FakeService {
    state: Arc<Mutex<FakeState>>,
    behaviour: Arc<Behaviour>,
}

impl FakeService {
    pub(crate) async fn start(
        behaviour: impl Fn(&FakeState, &StreamLogsRequest) -> Result<Option<u64>, Status>
        + Send
        + Sync
        + 'static,
    ) -> (SocketAddr, Arc<Mutex<FakeState>>) {
        let state = Arc::new(Mutex::new(FakeState::default()));
        let fake = FakeService { state: Arc::clone(&state), behaviour: Arc::new(behaviour) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(LoggingServiceServer::new(fake))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (address, state)
    }
}

#[tonic::async_trait]
impl LoggingService for FakeService {
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (responses, outbound) = mpsc::channel(16);
        let fake = self.clone();
        let stream = {
            let mut state = fake.state.lock().unwrap();
            state.streams += 1;
            state.streams
        };
        tokio::spawn(async move {
            let mut inbound = request.into_inner();
            while let Ok(Some(request)) = inbound.message().await {
                let answer = {
                    let mut state = fake.state.lock().unwrap();
                    state.requests.push((stream, request.sequence, request.messages.len()));
                    let answer = (fake.behaviour)(&state, &request);
                    if matches!(answer, Ok(Some(_))) {
                        state.acknowledged.extend(request.messages);
                    }
                    answer
                };
                let response = match answer {
                    Ok(Some(acknowledged_sequence)) => {
                        Ok(StreamLogsResponse { acknowledged_sequence, refused: Vec::new() })
                    }
                    Ok(None) => continue,
                    Err(status) => Err(status),
                };
                let ends = response.is_err();
                if responses.send(response).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

fn refusal(field: &str) -> Status {
    Status::with_error_details(
        Code::InvalidArgument,
        "no",
        ErrorDetails::with_bad_request_violation(field, "expected better"),
    )
}

#[tokio::test]
async fn requests_are_numbered_and_bounded_in_events() {
    let (address, state) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    source.push(events(0..250));
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { batch_events: 100, ..fast_options() },
    );
    source.all_acknowledged().await;
    source.push(events(250..260));
    source.all_acknowledged().await;
    shipping.drain().await;
    let state = state.lock().unwrap();
    assert_eq!(state.requests, [(1, 1, 100), (1, 2, 100), (1, 3, 50), (1, 4, 10)]);
    assert_eq!(numbers(&state.acknowledged), (0..260).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_are_bounded_in_bytes() {
    let (address, state) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let mut large = events(0..10);
    for event in &mut large {
        event.message = "x".repeat(400 * 1024);
    }
    source.push(large);
    let shipping = Shipping::start(source.clone(), address, fast_options());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(
        state.lock().unwrap().requests.iter().map(|(.., events)| *events).collect::<Vec<_>>(),
        [2; 5]
    );
}

#[tokio::test]
async fn window_bounds_requests_in_flight() {
    let (address, state) =
        FakeService::start(
            |_, request| Ok((request.sequence % 8 == 0).then_some(request.sequence)),
        )
        .await;
    let source = MemorySource::default();
    source.push(events(0..160));
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { batch_events: 10, requests_in_flight: 8, ..fast_options() },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(state.lock().unwrap().requests.len(), 16);
}

#[tokio::test]
async fn acknowledge_timeout_reopens_the_stream() {
    let (address, state) =
        FakeService::start(|state, request| Ok((state.streams > 2).then_some(request.sequence)))
            .await;
    let source = MemorySource::default();
    source.push(events(0..30));
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions {
            batch_events: 10,
            acknowledge_timeout: Duration::from_millis(200),
            ..fast_options()
        },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    let state = state.lock().unwrap();
    for stream in [1, 2, 3] {
        let own: Vec<u64> = state
            .requests
            .iter()
            .filter(|request| request.0 == stream)
            .map(|request| request.1)
            .collect();
        assert_eq!(own, [1, 2, 3], "sequences restart on a new stream");
    }
    assert_eq!(numbers(&state.acknowledged), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn unacknowledged_events_are_sent_again() {
    let (address, state) = FakeService::start(|_, request| {
        if request.sequence < 3 {
            Ok(Some(request.sequence))
        } else {
            Err(Status::unavailable("Kafka is away"))
        }
    })
    .await;
    let source = MemorySource::default();
    source.push(events(0..50));
    let shipping =
        Shipping::start(source.clone(), address, ShipOptions { batch_events: 5, ..fast_options() });
    source.all_acknowledged().await;
    shipping.drain().await;
    let state = state.lock().unwrap();
    assert_eq!(numbers(&state.acknowledged), (0..50).collect::<Vec<_>>());
    assert!(state.streams >= 5);
}

#[tokio::test]
async fn refused_events_become_dead_letters() {
    let (address, state) = FakeService::start(|_, request| {
        match request.messages.iter().position(|message| message.message.starts_with("poison")) {
            Some(index) => Err(refusal(&format!("messages[{index}].message"))),
            None => Ok(Some(request.sequence)),
        }
    })
    .await;
    let source = MemorySource::default();
    let mut all = events(0..200);
    for poisoned in [0, 77, 78, 199] {
        all[poisoned].message = format!("poison {poisoned}");
    }
    source.push(all);
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { batch_events: 50, ..fast_options() },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    let dead_letters = source.dead_letters();
    assert_eq!(
        dead_letters.iter().map(|(message, _)| message.as_str()).collect::<Vec<_>>(),
        ["poison 0", "poison 77", "poison 78", "poison 199"]
    );
    assert!(
        dead_letters
            .iter()
            .all(|(_, reason)| reason.contains("messages[0].message: expected better")),
        "{dead_letters:?}"
    );
    let expected: Vec<usize> =
        (0..200).filter(|number| ![0, 77, 78, 199].contains(number)).collect();
    assert_eq!(numbers(&state.lock().unwrap().acknowledged), expected);
}

#[tokio::test]
async fn invalid_events_are_not_sent() {
    let (address, state) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let mut all = events(0..30);
    all[7].id = "7".to_owned();
    all[8].level = 0;
    source.push(all);
    let shipping = Shipping::start(source.clone(), address, fast_options());
    source.all_acknowledged().await;
    shipping.drain().await;
    let dead_letters = source.dead_letters();
    assert_eq!(dead_letters.len(), 2);
    assert!(
        dead_letters[0].1.starts_with("id: expected a UUID")
            && dead_letters[1].1.starts_with("level: expected"),
        "{dead_letters:?}"
    );
    let state = state.lock().unwrap();
    assert_eq!((state.streams, state.acknowledged.len()), (1, 28));
}

#[tokio::test]
async fn refused_sequence_creates_no_dead_letter() {
    let (address, state) = FakeService::start(|state, request| {
        if state.streams < 4 { Err(refusal("sequence")) } else { Ok(Some(request.sequence)) }
    })
    .await;
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(source.clone(), address, fast_options());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!((source.dead_letters().len(), state.lock().unwrap().acknowledged.len()), (0, 1));
}

#[tokio::test]
async fn acknowledgement_of_an_unsent_request_is_ignored() {
    let (address, state) = FakeService::start(|state, request| {
        Ok(Some(if state.streams == 1 { 1000 } else { request.sequence }))
    })
    .await;
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(source.clone(), address, fast_options());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(state.lock().unwrap().streams, 2);
}

#[tokio::test]
async fn failed_source_calls_are_retried() {
    let (address, state) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    source.fail(5);
    source.push(events(0..20));
    let shipping = Shipping::start(source.clone(), address, fast_options());
    source.all_acknowledged().await;
    source.fail(3);
    source.push(events(20..40));
    source.all_acknowledged().await;
    shipping.drain().await;
    let mut acknowledged = numbers(&state.lock().unwrap().acknowledged);
    acknowledged.dedup();
    assert!((0..40).all(|number| acknowledged.contains(&number)));
}

#[tokio::test]
async fn shipping_starts_before_the_service_and_drain_times_out() {
    // A free port.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { drain_timeout: Duration::from_millis(100), ..fast_options() },
    );
    shipping.drain().await;
    assert_eq!(source.acknowledged(), 0, "the event stays in the source");

    let shipping = Shipping::start(source.clone(), address, fast_options());
    let listener = TcpListener::bind(address).await.unwrap();
    let fake = FakeService {
        state: Arc::default(),
        behaviour: Arc::new(|_, request| Ok(Some(request.sequence))),
    };
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(LoggingServiceServer::new(fake))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    source.all_acknowledged().await;
    shipping.drain().await;
}

#[tokio::test]
async fn drain_ships_the_backlog() {
    let (address, state) = FakeService::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), address, fast_options());
    until("the stream is open", || state.lock().unwrap().streams == 1).await;
    source.push(events(0..2000));
    shipping.drain().await;
    assert_eq!((source.acknowledged(), state.lock().unwrap().acknowledged.len()), (2000, 2000));
}
