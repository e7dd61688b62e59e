//! Records that Kafka refuses for good, among others that it takes.

use std::{collections::HashMap, time::Duration};

use merch_logging::{client::ShipOptions, proto::LogMessage, server::Config};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use crate::{
    support::{Seen, config, consume, order_event, shared},
    with::{MemorySource, Service, Shipping, quick, until},
};

/// Makes a topic of one partition with these settings.
async fn topic(brokers: &str, name: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = settings
        .iter()
        .fold(NewTopic::new(name, 1, TopicReplication::Fixed(1)), |topic, (key, value)| {
            topic.set(key, value)
        });
    for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

/// Ships all events through the service to the topic, and gives what is on it and which became dead
/// letters.
async fn ship(name: &str, events: Vec<LogMessage>) -> (Vec<Seen>, Vec<(String, String)>) {
    let kafka = shared().await;
    let settings = config(kafka.bootstrap_servers(), name);
    let service =
        Service::start(Config { delivery_timeout: Duration::from_secs(20), ..settings }).await;
    until("the service is ready", || service.readiness.check().is_ok()).await;
    let source = MemorySource::default();
    // All of them at once, in several requests.
    source.push(events);
    let shipping = Shipping::start(
        source.clone(),
        service.address,
        ShipOptions { batch_events: 10, ..quick() },
    );
    source.all_acknowledged().await;
    shipping.drain().await;
    service.stop().await;
    (consume(kafka.bootstrap_servers(), name).await, source.dead_letters())
}

/// How often each number is on the topic, in the order of the first times.
fn numbers(seen: &[Seen]) -> (Vec<usize>, usize) {
    let mut times: HashMap<usize, usize> = HashMap::new();
    let mut order = Vec::new();
    for record in seen.iter().filter(|record| record.value["event"] != "event_dead_lettered") {
        let number = record.number();
        if *times.entry(number).and_modify(|times| *times += 1).or_insert(1) == 1 {
            order.push(number);
        }
    }
    (order, times.into_values().max().unwrap_or(0))
}

/// Text that no codec makes smaller.
fn noise(bytes: usize) -> String {
    (0..bytes / 32 + 1).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_too_large_for_the_topic_takes_none_with_it() {
    let name = "refuses-large-records";
    topic(&shared().await.bootstrap_servers(), name, &[("max.message.bytes", "4000")]).await;
    let mut events: Vec<LogMessage> = (0..60).map(|number| order_event(number, 7)).collect();
    events[25].message = noise(20_000);
    let id = events[25].id.clone();
    let (seen, dead) = ship(name, events).await;
    let (order, most) = numbers(&seen);
    let expected: Vec<usize> = (0..60).filter(|number| *number != 25).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    // In order for each of the seven orders.
    for subject in 0..7 {
        let of_it: Vec<usize> =
            order.iter().copied().filter(|number| number % 7 == subject).collect();
        assert!(of_it.is_sorted(), "{of_it:?}");
    }
    assert!(most <= 3, "one event is on the topic {most} times");
    assert_eq!(dead.len(), 1, "{:?}", dead.iter().map(|(_, reason)| reason).collect::<Vec<_>>());
    assert!(dead[0].1.contains("MessageSizeTooLarge"), "{}", dead[0].1);
    let notices: Vec<&Seen> =
        seen.iter().filter(|record| record.value["event"] == "event_dead_lettered").collect();
    assert!(
        !notices.is_empty()
            && notices.iter().all(|notice| notice.value["attributes"]["event_id"] == id),
        "{notices:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_keeps_an_event_off_the_topic() {
    let name = "refuses-timestamps";
    topic(
        &shared().await.bootstrap_servers(),
        name,
        &[("message.timestamp.before.max.ms", "60000")],
    )
    .await;
    let mut events: Vec<LogMessage> = (0..40).map(|number| order_event(number, 7)).collect();
    let shift =
        |event: &mut LogMessage, seconds: i64| event.time.as_mut().unwrap().seconds += seconds;
    // Two hours ahead, which Kafka refuses without any setting; and two hours behind, which this
    // topic refuses.
    shift(&mut events[5], 7200);
    shift(&mut events[20], -7200);
    let times: Vec<i64> = events.iter().map(|event| event.time.unwrap().seconds).collect();
    let (seen, dead) = ship(name, events).await;
    assert_eq!(dead, []);
    let (order, most) = numbers(&seen);
    assert_eq!(order, (0..40).collect::<Vec<_>>(), "all of them, in order");
    assert!(most <= 3, "one event is on the topic {most} times");
    for number in [5, 20] {
        let record = seen.iter().find(|record| record.number() == number).unwrap();
        let event: LogMessage = serde_json::from_value(record.value.clone()).unwrap();
        assert_eq!(event.time.unwrap().seconds, times[number], "the event's own time stays");
    }
    let undated = seen.iter().filter(|record| record.timestamp.is_none()).count();
    assert!(undated > 0, "what was looked for carries no timestamp");
}
