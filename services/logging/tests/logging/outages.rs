use std::ops::ControlFlow;

use merch_logging::{consumer, proto::LogMessage, server::embedded::EmbeddedBroker};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::tempdir;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    MemorySource, Sender, Service, Shipping, broker, config, distinct_numbers, events,
    fast_options, journal, numbers, read_options, records, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_without_kafka_is_not_ready_and_events_wait() {
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
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

    // After the delivery timeout.
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
async fn service_starts_before_kafka() {
    let broker = broker();
    broker.with(|cluster| cluster.broker_down(-1)).unwrap().unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(events(0..10));
    until("the service reports the reason", || {
        service.readiness.check().is_err_and(|reasons| reasons[0].1.contains("does not answer"))
    })
    .await;
    broker.with(|cluster| cluster.broker_up(-1)).unwrap().unwrap();
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_broker_errors_are_hidden_from_senders() {
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
async fn record_without_authorization_is_not_acknowledged() {
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
async fn permanently_refused_record_becomes_a_dead_letter() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE};
    let broker = broker();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    // First the whole batch, then the first record of single-record mode.
    broker
        .with(|cluster| {
            let errors = [RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD];
            cluster.request_errors(RDKafkaApiKey::Produce, &errors);
        })
        .unwrap();
    let dir = tempdir().unwrap();
    let journal = journal(dir.path());
    for event in events(0..20) {
        journal.append(event).await.unwrap();
    }
    let shipping = Shipping::start(journal.clone(), service.address, fast_options());
    until("all events are acknowledged", || journal.backlog() == 0).await;
    for event in events(20..30) {
        journal.append(event).await.unwrap();
    }
    until("later events are acknowledged", || journal.backlog() == 0).await;
    shipping.drain().await;
    service.stop().await;

    let kept = std::fs::read_to_string(dir.path().join("dead-letters.jsonl")).unwrap();
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
    let (dead_lettered, others): (Vec<LogMessage>, Vec<LogMessage>) =
        on_topic.into_iter().partition(|event| event.event == "event_dead_lettered");
    assert_eq!(numbers(&others), (1..30).collect::<Vec<_>>(), "in order, without duplicates");
    assert_eq!(dead_lettered.len(), 1, "{dead_lettered:?}");
    assert_eq!(dead_lettered[0].attributes["event_id"], kept[0]["event"]["id"].as_str().unwrap());
    assert_eq!(
        (dead_lettered[0].attributes["event"].as_str(), dead_lettered[0].service.as_str()),
        ("user_logged_in", "logging")
    );
    assert!(dead_lettered[0].attributes["reason"].contains("InvalidRecord"), "{dead_lettered:?}");
    let counted = prometheus::gather()
        .iter()
        .find(|family| family.name() == "merch_logging_dead_letter_events_total")
        .map(|family| family.get_metric()[0].get_counter().get_value());
    assert!(counted.is_some_and(|counted| counted >= 1.0), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_is_replaced_after_a_fatal_error() {
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
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(events(0..10));
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    assert_eq!(distinct_numbers(broker.bootstrap_servers()).await, (0..10).collect::<Vec<_>>());
    let replaced = prometheus::gather()
        .iter()
        .find(|family| family.name() == "merch_logging_producer_replacements_total")
        .map(|family| family.get_metric()[0].get_counter().get_value());
    assert!(replaced.is_some_and(|replaced| replaced >= 1.0), "{replaced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topic_is_auto_created() {
    // The embedded broker lacks CreateTopics; a metadata request creates the topic.
    let broker = EmbeddedBroker::start("other", 1).unwrap();
    let service = Service::start(config(broker.bootstrap_servers())).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(events(0..5));
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    let mut count = 0;
    consumer::read(read_options(broker.bootstrap_servers(), false), |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
    assert_eq!(count, 5);
}
