use std::{collections::HashMap, time::Duration};

use merch_logging::{client::ShipOptions, proto::LogMessage, server::Config};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use crate::{
    logging_support::{MemorySource, Service, Shipping, fast_options, until},
    support::{ConsumedRecord, config, consume, order_event, shared_kafka},
};

async fn topic(brokers: &str, name: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = settings
        .iter()
        .fold(NewTopic::new(name, 1, TopicReplication::Fixed(1)), |topic, (key, value)| {
            topic.set(key, value)
        });
    for result in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

async fn ship(name: &str, events: Vec<LogMessage>) -> (Vec<ConsumedRecord>, Vec<(String, String)>) {
    let kafka = shared_kafka().await;
    let settings = config(kafka.bootstrap_servers(), name);
    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(20), ..settings }).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let source = MemorySource::default();
    source.push(events);
    let shipping = Shipping::start(
        source.clone(),
        service.address,
        ShipOptions { batch_events: 10, ..fast_options() },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    (consume(kafka.bootstrap_servers(), name).await, source.dead_letters())
}

/// Returns the distinct numbers in order of first occurrence, and the highest number of copies.
fn numbers(records: &[ConsumedRecord]) -> (Vec<usize>, usize) {
    let mut times: HashMap<usize, usize> = HashMap::new();
    let mut order = Vec::new();
    for record in records.iter().filter(|record| record.value["event"] != "event_dead_lettered") {
        let number = record.number();
        if *times.entry(number).and_modify(|times| *times += 1).or_insert(1) == 1 {
            order.push(number);
        }
    }
    (order, times.into_values().max().unwrap_or(0))
}

fn incompressible_text(bytes: usize) -> String {
    (0..bytes / 32 + 1).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_record_does_not_block_others() {
    let name = "refuses-large-records";
    topic(&shared_kafka().await.bootstrap_servers(), name, &[("max.message.bytes", "4000")]).await;
    let mut events: Vec<LogMessage> = (0..60).map(|number| order_event(number, 7)).collect();
    events[25].message = incompressible_text(20_000);
    let id = events[25].id.clone();
    let (records, dead_letters) = ship(name, events).await;
    let (order, most) = numbers(&records);
    let expected: Vec<usize> = (0..60).filter(|number| *number != 25).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    for subject in 0..7 {
        let of_subject: Vec<usize> =
            order.iter().copied().filter(|number| number % 7 == subject).collect();
        assert!(of_subject.is_sorted(), "{of_subject:?}");
    }
    assert!(most <= 3, "one event is on the topic {most} times");
    assert_eq!(
        dead_letters.len(),
        1,
        "{:?}",
        dead_letters.iter().map(|(_, reason)| reason).collect::<Vec<_>>()
    );
    assert!(dead_letters[0].1.contains("MessageSizeTooLarge"), "{}", dead_letters[0].1);
    let dead_lettered: Vec<&ConsumedRecord> =
        records.iter().filter(|record| record.value["event"] == "event_dead_lettered").collect();
    assert!(
        !dead_lettered.is_empty()
            && dead_lettered.iter().all(|event| event.value["attributes"]["event_id"] == id),
        "{dead_lettered:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_with_refused_timestamps_are_delivered() {
    let name = "refuses-timestamps";
    topic(
        &shared_kafka().await.bootstrap_servers(),
        name,
        &[("message.timestamp.before.max.ms", "60000")],
    )
    .await;
    let mut events: Vec<LogMessage> = (0..40).map(|number| order_event(number, 7)).collect();
    let shift =
        |event: &mut LogMessage, seconds: i64| event.time.as_mut().unwrap().seconds += seconds;
    // Kafka refuses two hours ahead by default; this topic also refuses two hours behind.
    shift(&mut events[5], 7200);
    shift(&mut events[20], -7200);
    let times: Vec<i64> = events.iter().map(|event| event.time.unwrap().seconds).collect();
    let (records, dead_letters) = ship(name, events).await;
    assert_eq!(dead_letters, []);
    let (order, most) = numbers(&records);
    assert_eq!(order, (0..40).collect::<Vec<_>>(), "all events, in order");
    assert!(most <= 3, "one event is on the topic {most} times");
    for number in [5, 20] {
        let record = records.iter().find(|record| record.number() == number).unwrap();
        let event: LogMessage = serde_json::from_value(record.value.clone()).unwrap();
        assert_eq!(event.time.unwrap().seconds, times[number], "the value keeps the event's time");
    }
    let without_timestamp = records.iter().filter(|record| record.timestamp.is_none()).count();
    assert!(without_timestamp > 0, "isolated records have no timestamp");
}
