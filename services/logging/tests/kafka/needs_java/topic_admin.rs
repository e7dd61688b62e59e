use std::time::Duration;

use merch_logging::{
    connection::Connection,
    server::Config,
    topic_admin::{EnsureOutcome, Retention, RetentionBytes, Topic, ensure},
};

use crate::{
    logging_support::{MemorySource, Service, Shipping, fast_options, until},
    support::{config, order_events, shared_kafka},
};

const TIMEOUT: Duration = Duration::from_secs(30);

async fn connection() -> Connection {
    shared_kafka().await.bootstrap_servers().into()
}

fn topic(name: &str) -> Topic {
    Topic {
        partitions: 5,
        replication: Some(1),
        retention: Some(Retention::For(Duration::from_secs(7200))),
        retention_bytes: Some(RetentionBytes::Limit(1 << 20)),
        min_insync_replicas: Some(1),
        ..Topic::new(name)
    }
}

fn differences(ensured: EnsureOutcome) -> Vec<String> {
    match ensured {
        EnsureOutcome::Exists { differences, .. } => differences,
        EnsureOutcome::Created(topic) => panic!("{topic:?} was missing"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_creates_once_and_reports_differences() {
    let kafka = connection().await;
    let wanted = topic("ensured");
    assert_eq!(ensure(&kafka, &wanted, TIMEOUT).await, Ok(EnsureOutcome::Created(wanted.clone())));
    assert_eq!(differences(ensure(&kafka, &wanted, TIMEOUT).await.unwrap()), Vec::<String>::new());

    let other = Topic {
        partitions: 6,
        replication: Some(2),
        retention: Some(Retention::Forever),
        retention_bytes: Some(RetentionBytes::Unlimited),
        min_insync_replicas: Some(2),
        ..wanted.clone()
    };
    let found = differences(ensure(&kafka, &other, TIMEOUT).await.unwrap());
    let begins = [
        "5 partitions, expected 6; ",
        "replication factor 1, expected 2; ",
        "retention.ms 7200000, expected -1; ",
        "retention.bytes 1048576, expected -1; ",
        "min.insync.replicas 1, expected 2; ",
    ];
    assert_eq!(found.len(), begins.len(), "{found:?}");
    for (difference, begin) in found.iter().zip(begins) {
        assert!(difference.starts_with(begin), "{difference}");
    }
    assert_eq!(
        differences(ensure(&kafka, &wanted, TIMEOUT).await.unwrap()),
        Vec::<String>::new(),
        "ensure changes nothing"
    );

    let by_name = Topic { partitions: 5, ..Topic::new("ensured") };
    assert_eq!(differences(ensure(&kafka, &by_name, TIMEOUT).await.unwrap()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_ensures_create_one_topic() {
    let kafka = connection().await;
    let wanted = topic("by-ten");
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (kafka, wanted) = (kafka.clone(), wanted.clone());
        attempts.spawn(async move { ensure(&kafka, &wanted, TIMEOUT).await.unwrap() });
    }
    let outcomes = attempts.join_all().await;
    assert_eq!(
        outcomes.iter().filter(|outcome| matches!(outcome, EnsureOutcome::Created(_))).count(),
        1,
        "{outcomes:?}"
    );
    assert!(
        outcomes.into_iter().all(|outcome| matches!(outcome, EnsureOutcome::Created(_))
            || differences(outcome).is_empty())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_creates_the_requested_topic() {
    let kafka = connection().await;
    let service =
        Service::start(Config { topic: topic("by-service"), ..config(kafka.clone(), "") }).await;
    let source = MemorySource::default();
    let shipping = Shipping::start(source.clone(), service.address, fast_options());
    source.push(order_events(0..1, 1));
    source.all_acknowledged().await;
    shipping.drain().await;
    assert_eq!(
        differences(ensure(&kafka, &topic("by-service"), TIMEOUT).await.unwrap()),
        Vec::<String>::new()
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_without_create_permission_waits_for_the_topic() {
    let kafka = connection().await;
    let service =
        Service::start(Config { create_topic: false, ..config(kafka.clone(), "by-hand") }).await;
    until("the service reports the missing topic", || {
        service.readiness.check().is_err_and(|reasons| {
            reasons[0].1.contains("has no topic by-hand")
                && reasons[0].1.contains("MERCH_KAFKA_CREATE_TOPIC")
                && reasons[0].1.contains("run `merch topic`")
        })
    })
    .await;
    assert_eq!(
        ensure(&kafka, &topic("by-hand"), TIMEOUT).await,
        Ok(EnsureOutcome::Created(topic("by-hand")))
    );
    until("the service is ready", || service.readiness.check().is_ok()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_failure_names_the_setting() {
    let kafka = connection().await;
    let too_many = Topic { replication: Some(3), ..Topic::new("too-many-copies") };
    let error = ensure(&kafka, &too_many, Duration::from_secs(1)).await.unwrap_err().to_string();
    let begin = format!("Kafka at {} did not create the topic too-many-copies: ", kafka.brokers);
    assert!(
        error.starts_with(&begin) && error.contains("MERCH_KAFKA_REPLICATION to be at most"),
        "{error}"
    );
    let service = Service::start(Config { topic: too_many, ..config(kafka.clone(), "") }).await;
    until("the service reports the same error", || {
        service.readiness.check().is_err_and(|reasons| reasons[0].1.starts_with(&begin))
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_times_out_without_kafka() {
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
