//! The topic: made by the service, made by `merch topic`, made by nobody.

use std::time::Duration;

use merch_logging::{
    connection::Connection,
    provision::{Ensured, Retention, RetentionBytes, Topic, ensure},
    server::Config,
};

use crate::{
    support::{config, order_events, shared},
    with::{MemorySource, Service, Shipping, quick, until},
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn connection() -> Connection {
    shared().await.bootstrap_servers().into()
}

fn topic(name: &str) -> Topic {
    Topic {
        partitions: 5,
        replication: Some(1),
        retention: Some(Retention::For(Duration::from_secs(7200))),
        retention_bytes: Some(RetentionBytes::Most(1 << 20)),
        min_insync_replicas: Some(1),
        ..Topic::new(name)
    }
}

fn differences(ensured: Ensured) -> Vec<String> {
    match ensured {
        Ensured::Present { differences, .. } => differences,
        Ensured::Created(topic) => panic!("{topic:?} was not there"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_made_once_as_asked_for_and_what_differs_is_said() {
    let kafka = connection().await;
    let wanted = topic("ensured");
    assert_eq!(ensure(&kafka, &wanted, PATIENCE).await, Ok(Ensured::Created(wanted.clone())));
    assert_eq!(differences(ensure(&kafka, &wanted, PATIENCE).await.unwrap()), Vec::<String>::new());

    let other = Topic {
        partitions: 6,
        replication: Some(2),
        retention: Some(Retention::Forever),
        retention_bytes: Some(RetentionBytes::Unlimited),
        min_insync_replicas: Some(2),
        ..wanted.clone()
    };
    let found = differences(ensure(&kafka, &other, PATIENCE).await.unwrap());
    let begins = [
        "5 partitions, where 6 were asked for; ",
        "replication factor 1, where 2 was asked for; ",
        "retention.ms 7200000, where -1 was asked for; ",
        "retention.bytes 1048576, where -1 was asked for; ",
        "min.insync.replicas 1, where 2 was asked for; ",
    ];
    assert_eq!(found.len(), begins.len(), "{found:?}");
    for (difference, begin) in found.iter().zip(begins) {
        assert!(difference.starts_with(begin), "{difference}");
    }
    assert_eq!(
        differences(ensure(&kafka, &wanted, PATIENCE).await.unwrap()),
        Vec::<String>::new(),
        "and nothing was changed"
    );

    // What nobody asked for is not compared.
    let by_name = Topic { partitions: 5, ..Topic::new("ensured") };
    assert_eq!(
        differences(ensure(&kafka, &by_name, PATIENCE).await.unwrap()),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_at_once_make_one() {
    let kafka = connection().await;
    let wanted = topic("by-ten");
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (kafka, wanted) = (kafka.clone(), wanted.clone());
        attempts.spawn(async move { ensure(&kafka, &wanted, PATIENCE).await.unwrap() });
    }
    let outcomes = attempts.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| matches!(outcome, Ensured::Created(_))).count(),
        1,
        "{outcomes:?}"
    );
    assert!(
        outcomes.into_iter().all(
            |outcome| matches!(outcome, Ensured::Created(_)) || differences(outcome).is_empty()
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_makes_it_as_asked_for() {
    let kafka = connection().await;
    let service =
        Service::start(Config { topic: topic("by-service"), ..config(kafka.clone(), "") }).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, quick());
    source.push(order_events(0..1, 1));
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(
        differences(ensure(&kafka, &topic("by-service"), PATIENCE).await.unwrap()),
        Vec::<String>::new()
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_may_not_make_it_waits_for_somebody_who_does() {
    let kafka = connection().await;
    let service =
        Service::start(Config { create_topic: false, ..config(kafka.clone(), "by-hand") }).await;
    until("the service says what is missing", || {
        service.readiness.check().is_err_and(|reasons| {
            reasons[0].1.contains("has no topic by-hand")
                && reasons[0].1.contains("MERCH_KAFKA_CREATE_TOPIC")
                && reasons[0].1.contains("`merch topic` does")
        })
    })
    .await;
    assert_eq!(
        ensure(&kafka, &topic("by-hand"), PATIENCE).await,
        Ok(Ensured::Created(topic("by-hand")))
    );
    until("the service is ready", || service.readiness.check().is_ok()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_does_not_make_is_told_in_a_sentence() {
    let kafka = connection().await;
    let too_many = Topic { replication: Some(3), ..Topic::new("too-many-copies") };
    let error = ensure(&kafka, &too_many, Duration::from_secs(1)).await.unwrap_err().to_string();
    let begin = format!("Kafka at {} does not make the topic too-many-copies: ", kafka.brokers);
    assert!(
        error.starts_with(&begin)
            && error.contains("MERCH_KAFKA_REPLICATION of at most their number"),
        "{error}"
    );
    let service = Service::start(Config { topic: too_many, ..config(kafka.clone(), "") }).await;
    until("the service says so, too", || {
        service.readiness.check().is_err_and(|reasons| reasons[0].1.starts_with(&begin))
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_not_up_is_waited_for_no_longer_than_asked() {
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kafka = Connection::from(format!("127.0.0.1:{port}"));
    let error =
        ensure(&kafka, &topic("nowhere"), Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("Kafka at 127.0.0.1:{port} does not answer: "))
            && error.ends_with("(after 1 s)"),
        "{error}"
    );
}
