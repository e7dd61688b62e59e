//! Events in, events out: on Kafka as it is run today, and on the stack that this store began with.

use std::{collections::HashSet, time::Duration};

use merch_logging::{client::event::word, proto::LogMessage, provision::Topic, server::Config};
use merch_test_kafka::{Generation, Kafka, Options};

use crate::{
    support::{
        ORDERS, Own, Seen, Sender, complete_and_in_order, config, consume, order_event, shared,
    },
    with::{Service, until},
};

const EVENTS: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_and_out_of_kafka_with_kraft() {
    in_and_out(shared().await, "in-and-out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_and_out_of_kafka_with_zookeeper() {
    let own = Own::with(Options { generation: Generation::ZooKeeper, ..Options::default() }).await;
    in_and_out(&own.kafka, "log-channel").await;
}

async fn in_and_out(kafka: &Kafka, topic: &str) {
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

    let seen = consume(kafka.bootstrap_servers(), topic).await;
    assert_eq!(complete_and_in_order(&seen, 0..EVENTS), 0, "repeats");
    let partitions: HashSet<i32> = seen.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 6, "the orders are spread over all partitions");
    for Seen { key, headers, timestamp, value, .. } in &seen {
        let number: usize =
            value["requestId"].as_str().unwrap().strip_prefix("request-").unwrap().parse().unwrap();
        // What differs from one making of it to the next is taken from what came.
        let made: LogMessage = serde_json::from_value(value.clone()).unwrap();
        let event = LogMessage {
            id: made.id,
            time: made.time,
            instance: made.instance,
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
            ("event", word::USER_LOGGED_IN.to_owned()),
            ("schema", "merch.logging.v1.LogMessage".to_owned()),
            ("schema_version", "1".to_owned()),
            ("traceparent", format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", &id[16..])),
        ];
        assert_eq!(
            headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>(),
            expected
        );
    }

    // As the broker keeps them: one idempotent producer, in batches that are compressed with gzip.
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
    // A batch of which compression makes more than it was is left as it is: one of a single small
    // record may be.
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
