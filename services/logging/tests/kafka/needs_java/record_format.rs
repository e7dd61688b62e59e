use std::{collections::HashSet, time::Duration};

use merch_logging::{
    client::event::event_name, proto::LogMessage, server::Config, topic_admin::Topic,
};
use merch_test_kafka::{Kafka, MetadataMode, Options};

use crate::{
    logging_support::{Service, until},
    support::{
        ConsumedRecord, ExclusiveKafka, ORDERS, Sender, check_complete_and_ordered, config,
        consume, order_event, shared_kafka,
    },
};

const EVENTS: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_complete_on_kafka_with_kraft() {
    check_records(shared_kafka().await, "in-and-out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_complete_on_kafka_with_zookeeper() {
    let exclusive = ExclusiveKafka::with(Options {
        metadata_mode: MetadataMode::ZooKeeper,
        ..Options::default()
    })
    .await;
    check_records(&exclusive.kafka, "log-channel").await;
}

async fn check_records(kafka: &Kafka, topic: &str) {
    let settings = config(kafka.bootstrap_servers(), topic);
    let delivery_timeout = Duration::from_secs(60);
    let service = Service::start(Config {
        topic: Topic { partitions: 6, ..settings.topic },
        delivery_timeout,
        ..settings
    })
    .await;
    let mut sender = Sender::open(service.address).await;
    sender.send(0..EVENTS).await;
    sender.finish().await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    service.stop().await;

    let records = consume(kafka.bootstrap_servers(), topic).await;
    assert_eq!(check_complete_and_ordered(&records, 0..EVENTS), 0, "no duplicates");
    let partitions: HashSet<i32> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 6, "all partitions have records");
    for ConsumedRecord { key, headers, timestamp, value, .. } in &records {
        let number: usize =
            value["requestId"].as_str().unwrap().strip_prefix("request-").unwrap().parse().unwrap();
        let stored: LogMessage = serde_json::from_value(value.clone()).unwrap();
        let event = LogMessage {
            id: stored.id,
            time: stored.time,
            instance: stored.instance,
            ..order_event(number, ORDERS)
        };
        assert_eq!(*key, event.subject);
        assert_eq!(
            *value,
            serde_json::from_slice::<serde_json::Value>(
                &merch_logging::json::to_vec(&event).unwrap()
            )
            .unwrap()
        );
        assert_eq!(
            *timestamp,
            event.time.as_ref().map(|time| time.seconds * 1000 + i64::from(time.nanos / 1_000_000))
        );
        let id = event.id.replace('-', "");
        let expected = [
            ("event", event_name::USER_LOGGED_IN.to_owned()),
            ("schema", "merch.logging.v1.LogMessage".to_owned()),
            ("schema_version", "1".to_owned()),
            ("traceparent", format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", &id[16..])),
        ];
        assert_eq!(
            headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>(),
            expected
        );
    }

    let batches: Vec<_> = (0..6).flat_map(|partition| kafka.batches(0, topic, partition)).collect();
    assert_eq!(
        batches.iter().map(|batch| batch.records).sum::<i32>(),
        i32::try_from(EVENTS).unwrap()
    );
    assert_eq!(
        batches.iter().map(|batch| batch.producer).collect::<HashSet<_>>().len(),
        1,
        "{batches:?}"
    );
    assert!(batches.iter().all(|batch| batch.producer >= 0), "{batches:?}");
    // A small record may stay uncompressed if gzip would enlarge it.
    let compressed: i32 =
        batches.iter().filter(|batch| batch.compression == 1).map(|batch| batch.records).sum();
    assert!(
        batches.iter().all(|batch| batch.compression == 1 || batch.records == 1),
        "{batches:?}"
    );
    assert!(
        compressed > i32::try_from(EVENTS).unwrap() * 9 / 10,
        "{compressed} records are compressed"
    );
}
