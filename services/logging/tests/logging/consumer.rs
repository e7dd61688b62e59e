use std::{ops::ControlFlow, time::Duration};

use merch_logging::{
    consumer::{self, ConsumerRecord},
    server::embedded::EmbeddedBroker,
};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use tokio::{sync::mpsc, time::timeout};

use crate::support::{
    DEADLINE, MemorySource, Service, Shipping, TOPIC, config, events, fast_options, read_options,
    records,
};

async fn produce(brokers: &str, value: &[u8]) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    producer.send(FutureRecord::<(), [u8]>::to(TOPIC).payload(value), DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_topic_ends_at_once() {
    let broker = EmbeddedBroker::start(TOPIC, 3).unwrap();
    assert!(records(broker.bootstrap_servers()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_not_events_are_shown() {
    let broker = EmbeddedBroker::start(TOPIC, 3).unwrap();
    produce(broker.bootstrap_servers(), b"hello").await;
    produce(broker.bootstrap_servers(), b"{\"id\": \"x\", \"unheard\": 1").await;
    let records = records(broker.bootstrap_servers()).await;
    assert_eq!(records.len(), 2);
    assert!(
        records
            .iter()
            .all(|record| record.event.is_err() && record.text_line().contains("not a log event"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follow_delivers_new_records_until_break() {
    let broker = EmbeddedBroker::start(TOPIC, 3).unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(events(0..3));
    source.all_acknowledged().await;

    let (seen, mut arrived) = mpsc::unbounded_channel::<ConsumerRecord>();
    let following = tokio::spawn(consumer::read(
        read_options(broker.bootstrap_servers(), true),
        move |record| {
            let last = record.event.as_ref().is_ok_and(|event| event.request_id == "request-5");
            seen.send(record).unwrap();
            if last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    ));
    for _ in 0..3 {
        timeout(DEADLINE, arrived.recv()).await.unwrap().unwrap();
    }
    source.push(events(3..6));
    timeout(DEADLINE, following).await.unwrap().unwrap().unwrap();
    let mut later = Vec::new();
    while let Some(record) = arrived.recv().await {
        later.push(record.event.unwrap().request_id);
    }
    assert_eq!(later, ["request-3", "request-4", "request-5"]);
    shipping.drain().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_pipe_ends_reading() {
    let broker = EmbeddedBroker::start(TOPIC, 1).unwrap();
    for _ in 0..3 {
        produce(broker.bootstrap_servers(), b"{}").await;
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut failure = None;
    timeout(
        DEADLINE,
        consumer::read(
            read_options(broker.bootstrap_servers(), true),
            consumer::print(writer, true, &mut failure),
        ),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(failure.is_none(), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_kafka_is_a_clear_error() {
    let broker = EmbeddedBroker::start(TOPIC, 1).unwrap();
    broker.with(|cluster| cluster.broker_down(-1)).unwrap().unwrap();
    let mut options = read_options(broker.bootstrap_servers(), false);
    options.timeout = Duration::from_millis(300);
    let error =
        consumer::read(options, |_| ControlFlow::Continue(())).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("Kafka at {} does not answer", broker.bootstrap_servers())),
        "{error}"
    );
}
