//! Watches Kafka for `/readyz`, and makes the topic where there is none.

use std::{sync::Arc, time::Duration};

use merch_chassis::Part;
use rdkafka::{admin::AdminClient, error::RDKafkaErrorCode, producer::Producer as _};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::kafka::Kafka;
use crate::{
    connection::Ears,
    provision::{self, Sight},
};

/// Trouble comes in swarms; Kafka is asked no more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);

/// Says through `part` whether Kafka is there and has the topic, until `shutdown`.
pub(super) async fn watch(kafka: Arc<Kafka>, part: Part, shutdown: CancellationToken) {
    let (brokers, topic) = (&kafka.config.kafka.brokers, &kafka.config.topic.name);
    let (mut was_ready, mut compared) = (None, false);
    loop {
        let mut found = look(&kafka).await;
        let mut refusal = None;
        if matches!(found, Ok(Sight::Missing)) {
            refusal = create(&kafka).await.err();
            found = look(&kafka).await;
        }
        let problem = match found {
            Ok(Sight::There(_)) => None,
            Ok(Sight::Leaderless(partitions)) => Some(provision::leaderless(partitions, topic)),
            Ok(Sight::Missing) => {
                Some(refusal.unwrap_or_else(|| format!("Kafka at {brokers} has no topic {topic}")))
            }
            Err(reason) => Some(reason),
        };
        let ready = problem.is_none();
        match problem {
            None => {
                kafka.ears.forget();
                part.ready();
                if was_ready != Some(true) {
                    tracing::info!(brokers, topic, "Kafka is there");
                }
                // Where this service may make the topic, its settings say how; elsewhere `merch
                // topic` compares.
                if !compared && kafka.config.create_topic {
                    compare(&kafka).await;
                }
                compared = true;
            }
            Some(reason) => {
                if was_ready != Some(false) {
                    tracing::warn!(
                        reason,
                        brokers,
                        "Kafka is not there; log events wait where they come from"
                    );
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
                () = kafka.ears.trouble.notified() => {}
            }
        };
        tokio::select! {
            () = pause => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Asks Kafka for the topic.
async fn look(kafka: &Arc<Kafka>) -> Result<Sight, String> {
    let asked = Arc::clone(kafka);
    let answer = spawn_blocking(move || {
        let config = &asked.config;
        let guarded = asked.current();
        if let Some(reason) = guarded.fatal() {
            return Err(format!("the Kafka producer had a fatal error: {reason}"));
        }
        provision::look(guarded.producer.client(), &config.topic.name, config.check_timeout)
            .map_err(|error| config.kafka.silence(&error, &asked.ears))
    });
    answer.await.unwrap_or_else(|error| Err(format!("Kafka could not be asked: {error}")))
}

/// Makes the topic, if that is allowed. `Err` says why it does not.
async fn create(kafka: &Kafka) -> Result<(), String> {
    let config = &kafka.config;
    let (brokers, topic) = (&config.kafka.brokers, &config.topic);
    if !config.create_topic {
        return Err(format!(
            "Kafka at {brokers} has no topic {}, and this service is told not to make it (MERCH_KAFKA_CREATE_TOPIC); `merch topic` does",
            topic.name
        ));
    }
    let admin = provision::admin(&config.kafka).map_err(|error| error.to_string())?;
    match provision::create(&admin, topic, config.check_timeout).await {
        Ok(()) => tracing::info!(
            topic = topic.name,
            partitions = topic.partitions,
            "Kafka's topic is created"
        ),
        // Another instance was quicker.
        Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
        // `Fail` is what a broker comes to that does not know the request at all: librdkafka's own.
        Err(
            RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::Fail,
        ) => ask_for(kafka).await,
        Err(code) => return Err(provision::refused(brokers, topic, code)),
    }
    Ok(())
}

/// Tells the log of settings in which the topic that is there is not as it would be made. They are
/// left as they are.
async fn compare(kafka: &Kafka) {
    let (config, topic) = (&kafka.config, &kafka.config.topic.name);
    let Ok(admin) = provision::admin(&config.kafka) else { return };
    match provision::setting_differences(&admin, &config.topic).await {
        Ok(differences) => {
            for difference in differences {
                tracing::warn!(
                    topic,
                    difference,
                    "Kafka's topic has other settings than asked for"
                );
            }
        }
        // The broker in the process has none, and reading them may be forbidden.
        Err(error) => {
            tracing::debug!(%error, topic, "failed to read the settings of Kafka's topic")
        }
    }
}

/// Brokers that cannot be told to make a topic, as librdkafka's own, make one that is asked for.
/// What came of it is seen by looking again.
async fn ask_for(kafka: &Kafka) {
    let config = &kafka.config;
    let Ok(mut client) = config.kafka.client() else { return };
    let asking: AdminClient<Ears> = match client
        .set("allow.auto.create.topics", "true")
        .create_with_context(Ears::default())
    {
        Ok(asking) => asking,
        Err(error) => {
            tracing::warn!(reason = %config.kafka.unusable(&error), "no client can be made to ask for Kafka's topic");
            return;
        }
    };
    let (topic, timeout) = (config.topic.name.clone(), config.check_timeout);
    drop(spawn_blocking(move || drop(asking.inner().fetch_metadata(Some(&topic), timeout))).await);
}
