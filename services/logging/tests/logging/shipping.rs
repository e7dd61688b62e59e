//! The shipping client against services that do as a test wants.

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

use crate::support::{MemorySource, Shipping, event, events, numbers, quick, until};

/// What a service does with each request: acknowledge it, keep silent, or end the stream.
type Behaviour = dyn Fn(&Seen, &StreamLogsRequest) -> Result<Option<u64>, Status> + Send + Sync;

/// What a service has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) streams: usize,
    /// Of each request: the stream, the sequence, and how many events.
    pub(crate) requests: Vec<(usize, u64, usize)>,
    /// Events of requests that were acknowledged.
    pub(crate) taken: Vec<LogMessage>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    seen: Arc<Mutex<Seen>>,
    behaviour: Arc<Behaviour>,
}

impl Fake {
    pub(crate) async fn start(
        behaviour: impl Fn(&Seen, &StreamLogsRequest) -> Result<Option<u64>, Status>
        + Send
        + Sync
        + 'static,
    ) -> (SocketAddr, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let fake = Fake { seen: Arc::clone(&seen), behaviour: Arc::new(behaviour) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(LoggingServiceServer::new(fake))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (address, seen)
    }
}

#[tonic::async_trait]
impl LoggingService for Fake {
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (responses, outbound) = mpsc::channel(16);
        let fake = self.clone();
        let stream = {
            let mut seen = fake.seen.lock().unwrap();
            seen.streams += 1;
            seen.streams
        };
        tokio::spawn(async move {
            let mut inbound = request.into_inner();
            while let Ok(Some(request)) = inbound.message().await {
                let answer = {
                    let mut seen = fake.seen.lock().unwrap();
                    seen.requests.push((stream, request.sequence, request.messages.len()));
                    let answer = (fake.behaviour)(&seen, &request);
                    if matches!(answer, Ok(Some(_))) {
                        seen.taken.extend(request.messages);
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
async fn requests_are_numbered_and_bounded_on_one_stream() {
    let (address, seen) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    source.push(events(0..250));
    let shipping =
        Shipping::start(source.clone(), address, ShipOptions { batch_events: 100, ..quick() });
    source.all_acknowledged().await;
    source.push(events(250..260));
    source.all_acknowledged().await;
    shipping.drain().await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.requests, [(1, 1, 100), (1, 2, 100), (1, 3, 50), (1, 4, 10)]);
    assert_eq!(numbers(&seen.taken), (0..260).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_are_bounded_in_bytes() {
    let (address, seen) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let mut large = events(0..10);
    for event in &mut large {
        event.message = "x".repeat(400 * 1024);
    }
    source.push(large);
    let shipping = Shipping::start(source.clone(), address, quick());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(
        seen.lock().unwrap().requests.iter().map(|(.., events)| *events).collect::<Vec<_>>(),
        [2; 5]
    );
}

#[tokio::test]
async fn no_more_than_the_window_is_in_flight_and_one_response_acknowledges_it_all() {
    // Silent until eight requests are there, then all at once.
    let (address, seen) =
        Fake::start(|_, request| Ok((request.sequence % 8 == 0).then_some(request.sequence))).await;
    let source = MemorySource::default();
    source.push(events(0..160));
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { batch_events: 10, requests_in_flight: 8, ..quick() },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(seen.lock().unwrap().requests.len(), 16);
}

#[tokio::test]
async fn a_service_that_never_acknowledges_is_noticed_and_all_is_sent_anew() {
    let (address, seen) =
        Fake::start(|seen, request| Ok((seen.streams > 2).then_some(request.sequence))).await;
    let source = MemorySource::default();
    source.push(events(0..30));
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions {
            batch_events: 10,
            acknowledge_timeout: Duration::from_millis(200),
            ..quick()
        },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    let seen = seen.lock().unwrap();
    for stream in [1, 2, 3] {
        let own: Vec<u64> = seen
            .requests
            .iter()
            .filter(|request| request.0 == stream)
            .map(|request| request.1)
            .collect();
        assert_eq!(own, [1, 2, 3], "new numbers on a new stream");
    }
    assert_eq!(numbers(&seen.taken), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_not_acknowledged_when_a_stream_ends_is_sent_again() {
    // Each stream takes two requests and fails at the third.
    let (address, seen) = Fake::start(|_, request| {
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
        Shipping::start(source.clone(), address, ShipOptions { batch_events: 5, ..quick() });
    source.all_acknowledged().await;
    shipping.drain().await;
    let seen = seen.lock().unwrap();
    assert_eq!(numbers(&seen.taken), (0..50).collect::<Vec<_>>());
    assert!(seen.streams >= 5);
}

#[tokio::test]
async fn an_event_that_the_service_refuses_becomes_a_dead_letter_and_the_others_arrive() {
    let (address, seen) = Fake::start(|_, request| {
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
    let shipping =
        Shipping::start(source.clone(), address, ShipOptions { batch_events: 50, ..quick() });
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
    assert_eq!(numbers(&seen.lock().unwrap().taken), expected);
}

#[tokio::test]
async fn an_event_that_breaks_the_contract_is_not_even_sent() {
    let (address, seen) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let mut all = events(0..30);
    all[7].id = "7".to_owned();
    all[8].level = 0;
    source.push(all);
    let shipping = Shipping::start(source.clone(), address, quick());
    source.all_acknowledged().await;
    shipping.drain().await;
    let dead_letters = source.dead_letters();
    assert_eq!(dead_letters.len(), 2);
    assert!(
        dead_letters[0].1.starts_with("id: expected a UUIDv7")
            && dead_letters[1].1.starts_with("level: expected"),
        "{dead_letters:?}"
    );
    let seen = seen.lock().unwrap();
    assert_eq!((seen.streams, seen.taken.len()), (1, 28));
}

#[tokio::test]
async fn a_refusal_of_the_numbering_sets_nothing_aside() {
    let (address, seen) = Fake::start(|seen, request| {
        if seen.streams < 4 { Err(refusal("sequence")) } else { Ok(Some(request.sequence)) }
    })
    .await;
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(source.clone(), address, quick());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!((source.dead_letters().len(), seen.lock().unwrap().taken.len()), (0, 1));
}

#[tokio::test]
async fn acknowledgements_of_what_was_never_sent_count_for_nothing() {
    let (address, seen) = Fake::start(|seen, request| {
        Ok(Some(if seen.streams == 1 { 1000 } else { request.sequence }))
    })
    .await;
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(source.clone(), address, quick());
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(seen.lock().unwrap().streams, 2);
}

#[tokio::test]
async fn a_source_that_fails_is_asked_again() {
    let (address, seen) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    source.fail(5);
    source.push(events(0..20));
    let shipping = Shipping::start(source.clone(), address, quick());
    source.all_acknowledged().await;
    source.fail(3);
    source.push(events(20..40));
    source.all_acknowledged().await;
    shipping.drain().await;
    let mut taken = numbers(&seen.lock().unwrap().taken);
    taken.dedup();
    assert!((0..40).all(|number| taken.contains(&number)));
}

#[tokio::test]
async fn the_start_order_does_not_matter_and_a_drain_ends_in_time() {
    // A port where nobody listens: bound and let go.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let source = MemorySource::default();
    source.push([event(0)]);
    let shipping = Shipping::start(
        source.clone(),
        address,
        ShipOptions { drain_timeout: Duration::from_millis(100), ..quick() },
    );
    shipping.drain().await;
    assert_eq!(source.acknowledged(), 0, "it stays where it is");

    let shipping = Shipping::start(source.clone(), address, quick());
    let listener = TcpListener::bind(address).await.unwrap();
    let fake =
        Fake { seen: Arc::default(), behaviour: Arc::new(|_, request| Ok(Some(request.sequence))) };
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(LoggingServiceServer::new(fake))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    source.all_acknowledged().await;
    shipping.drain().await;
}

#[tokio::test]
async fn a_drain_ships_what_is_left() {
    let (address, seen) = Fake::start(|_, request| Ok(Some(request.sequence))).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), address, quick());
    until("the stream is open", || seen.lock().unwrap().streams == 1).await;
    source.push(events(0..2000));
    shipping.drain().await;
    assert_eq!((source.acknowledged(), seen.lock().unwrap().taken.len()), (2000, 2000));
}
