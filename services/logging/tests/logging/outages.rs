//! A Kafka that is away, refuses records or breaks the producer.

use std::ops::ControlFlow;

use merch_logging::{proto::LogMessage, server::embedded::Embedded, topic};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::tempdir;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    MemorySource, Sender, Service, Shipping, broker, config, distinct_numbers, events, journal,
    numbers, quick, read_options, records, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_the_service_is_not_ready_and_events_wait() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(events(0..10));
    source.all_acknowledged().await;
    until("the service is ready", || service.readiness.check().is_ok()).await;

    broker.with(|cluster| cluster.broker_down(-1)).unwrap().unwrap();
    source.push(events(10..20));
    until("the service is not ready", || service.readiness.check().is_err()).await;
    let reasons = service.readiness.check().unwrap_err();
    assert_eq!(reasons[0].0, "kafka");
    assert!(reasons[0].1.contains(broker.bootstrap_servers()), "{reasons:?}");
    assert_eq!(source.acknowledged(), 10);

    // A sender is told that Kafka failed, and when to come back, once the delivery time-out is
    // over.
    let mut sender = Sender::open(&service).await;
    sender.send(1, events(90..91)).await;
    let status = sender.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some());

    broker.with(|cluster| cluster.broker_up(-1)).unwrap().unwrap();
    source.all_acknowledged().await;
    until("the service is ready again", || service.readiness.check().is_ok()).await;
    shipping.drain().await;
    service.stop().await;
    let arrived = distinct_numbers(broker.bootstrap_servers()).await;
    assert!((0..20).all(|number| arrived.contains(&number)), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_not_there_at_the_start_is_waited_for() {
    let broker = broker();
    broker.with(|cluster| cluster.broker_down(-1)).unwrap().unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(events(0..10));
    until("the service says why it is not ready", || {
        service.readiness.check().is_err_and(|reasons| reasons[0].1.contains("does not answer"))
    })
    .await;
    broker.with(|cluster| cluster.broker_up(-1)).unwrap().unwrap();
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_broker_that_pass_are_not_seen_by_senders() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    broker
        .with(|cluster| {
            use RDKafkaRespErr::{
                RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            };
            cluster.request_errors(
                RDKafkaApiKey::Produce,
                &[
                    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                    RD_KAFKA_RESP_ERR__TRANSPORT,
                    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                ],
            );
        })
        .unwrap();
    let mut sender = Sender::open(&service).await;
    sender.send(1, events(0..10)).await;
    assert_eq!(sender.receive().await.unwrap(), Some(1));
    assert_eq!(distinct_numbers(broker.bootstrap_servers()).await, (0..10).collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_kafka_refuses_is_not_acknowledged() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    broker
        .with(|cluster| {
            cluster.request_errors(
                RDKafkaApiKey::Produce,
                &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
            )
        })
        .unwrap();
    let mut sender = Sender::open(&service).await;
    sender.send(1, events(0..1)).await;
    assert_eq!(sender.receive().await.unwrap_err().code(), Code::Unavailable);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_kafka_refuses_for_good_is_a_dead_letter_and_nothing_waits_for_it() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE};
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    // First the batch is refused, with all that are in it; then, one at a time, the first of them.
    broker
        .with(|cluster| {
            let errors = [RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD];
            cluster.request_errors(RDKafkaApiKey::Produce, &errors);
        })
        .unwrap();
    let folder = tempdir().unwrap();
    let journal = journal(folder.path());
    for event in events(0..20) {
        journal.append(event).await.unwrap();
    }
    let shipping = Shipping::start(journal.clone(), service.address, quick());
    until("all is dealt with", || journal.backlog() == 0).await;
    for event in events(20..30) {
        journal.append(event).await.unwrap();
    }
    until("and what comes later", || journal.backlog() == 0).await;
    shipping.drain().await;
    service.stop().await;

    let kept = std::fs::read_to_string(folder.path().join("dead-letters.jsonl")).unwrap();
    let kept: Vec<serde_json::Value> =
        kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["event"]["requestId"], "request-0");
    assert!(kept[0]["reason"].as_str().unwrap().contains("InvalidRecord"), "{}", kept[0]["reason"]);

    let on_topic: Vec<LogMessage> = records(broker.bootstrap_servers())
        .await
        .into_iter()
        .map(|record| *record.event.unwrap())
        .collect();
    let (notices, others): (Vec<LogMessage>, Vec<LogMessage>) =
        on_topic.into_iter().partition(|event| event.event == "event_dead_lettered");
    assert_eq!(numbers(&others), (1..30).collect::<Vec<_>>(), "in order, and none of them twice");
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].attributes["event_id"], kept[0]["event"]["id"].as_str().unwrap());
    assert_eq!(
        (notices[0].attributes["event"].as_str(), notices[0].service.as_str()),
        ("user_logged_in", "logging")
    );
    assert!(notices[0].attributes["reason"].contains("InvalidRecord"), "{notices:?}");
    let counted = prometheus::gather()
        .iter()
        .find(|family| family.name() == "merch_logging_dead_letter_events_total")
        .map(|family| family.get_metric()[0].get_counter().get_value());
    assert!(counted.is_some_and(|counted| counted >= 1.0), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_beyond_repair_is_replaced() {
    let broker = broker();
    broker
        .with(|cluster| {
            cluster.request_errors(
                RDKafkaApiKey::InitProducerId,
                &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
            )
        })
        .unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(events(0..10));
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    assert_eq!(distinct_numbers(broker.bootstrap_servers()).await, (0..10).collect::<Vec<_>>());
    let replaced = prometheus::gather()
        .iter()
        .find(|family| family.name() == "merch_logging_replaced_producers_total")
        .map(|family| family.get_metric()[0].get_counter().get_value());
    assert!(replaced.is_some_and(|replaced| replaced >= 1.0), "{replaced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_appears() {
    // The broker has another topic, and cannot be told to make one; ours appears when it is asked
    // for.
    let broker = Embedded::start("other", 1).unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(events(0..5));
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    let mut count = 0;
    topic::read(read_options(broker.bootstrap_servers(), false), |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
    assert_eq!(count, 5);
}
