//! Watches Kafka for `/readyz`, and makes the topic where there is none.

use std::{sync::Arc, time::Duration};

use merch_chassis::Part;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{IsError as _, RDKafkaErrorCode},
    producer::Producer as _,
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::kafka::{self, Kafka};

/// Trouble comes in swarms; Kafka is asked no more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);

/// Whether the topic is there.
enum Topic {
    Usable,
    Missing,
}

/// Says through `part` whether Kafka is there and has the topic, until `shutdown`.
pub(super) async fn watch(kafka: Arc<Kafka>, part: Part, shutdown: CancellationToken) {
    let mut was_ready = None;
    loop {
        let mut found = look(&kafka).await;
        if matches!(found, Ok(Topic::Missing)) {
            create(&kafka).await;
            found = look(&kafka).await;
        }
        let problem = match found {
            Ok(Topic::Usable) => None,
            Ok(Topic::Missing) => Some(format!("Kafka has no topic {}", kafka.config.topic)),
            Err(reason) => Some(reason),
        };
        let ready = problem.is_none();
        match problem {
            None => {
                part.ready();
                if was_ready != Some(true) {
                    tracing::info!(brokers = kafka.config.brokers, topic = kafka.config.topic, "Kafka is there");
                }
            }
            Some(reason) => {
                if was_ready != Some(false) {
                    tracing::warn!(reason, brokers = kafka.config.brokers, "Kafka is not there; log events wait where they come from");
                }
                part.not_ready(reason);
            }
        }
        was_ready = Some(ready);
        let pause = async {
            tokio::time::sleep(SHORTEST_INTERVAL).await;
            let until_next = if ready { kafka.config.check_interval } else { SHORTEST_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(until_next) => {}
                () = kafka.trouble.notified() => {}
            }
        };
        tokio::select! {
            () = pause => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Asks Kafka for the topic.
async fn look(kafka: &Arc<Kafka>) -> Result<Topic, String> {
    let asked = Arc::clone(kafka);
    let answer = spawn_blocking(move || {
        let config = &asked.config;
        let guarded = asked.current();
        if let Some(reason) = guarded.fatal() {
            return Err(format!("the Kafka producer had a fatal error: {reason}"));
        }
        let metadata = guarded
            .producer
            .client()
            .fetch_metadata(Some(&config.topic), config.check_timeout)
            .map_err(|error| format!("Kafka at {} does not answer: {error}", config.brokers))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == config.topic) else { return Ok(Topic::Missing) };
        match topic.error().filter(|error| error.is_error()).map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(Topic::Missing),
            Some(error) => return Err(format!("Kafka's topic {} cannot be used: {error}", config.topic)),
            None => {}
        }
        if topic.partitions().is_empty() {
            return Ok(Topic::Missing);
        }
        let leaderless = topic.partitions().iter().filter(|partition| partition.leader() < 0).count();
        if leaderless > 0 {
            return Err(format!("{leaderless} partition(s) of Kafka's topic {} have no leader", config.topic));
        }
        Ok(Topic::Usable)
    });
    answer.await.unwrap_or_else(|error| Err(format!("Kafka could not be asked: {error}")))
}

/// Makes the topic; where that is not allowed, asks for it, upon which many a Kafka makes it.
async fn create(kafka: &Kafka) {
    let config = &kafka.config;
    let admin: AdminClient<DefaultClientContext> = match kafka::client(&config.brokers).create() {
        Ok(admin) => admin,
        Err(error) => {
            tracing::warn!(%error, "no client can be made to create Kafka's topic");
            return;
        }
    };
    let topic = NewTopic::new(&config.topic, config.partitions, TopicReplication::Fixed(config.replication));
    let options = AdminOptions::new().operation_timeout(Some(config.check_timeout)).request_timeout(Some(config.check_timeout));
    let outcome = match admin.create_topics([&topic], &options).await {
        Ok(results) => results.into_iter().next().unwrap_or_else(|| Ok(config.topic.clone())),
        Err(error) => Err((config.topic.clone(), error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))),
    };
    match outcome {
        Ok(_) => tracing::info!(topic = config.topic, partitions = config.partitions, "Kafka's topic is created"),
        // Another instance was quicker.
        Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
        Err((_, code)) => {
            tracing::debug!(topic = config.topic, reason = %code, "Kafka does not create the topic; it may when it is asked for it");
            let (topic, timeout) = (config.topic.clone(), config.check_timeout);
            // What came of it is seen by looking again.
            drop(spawn_blocking(move || drop(admin.inner().fetch_metadata(Some(&topic), timeout))).await);
        }
    }
}
