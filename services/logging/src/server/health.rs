use std::{sync::Arc, time::Duration};

use merch_chassis::Part;
use rdkafka::{admin::AdminClient, error::RDKafkaErrorCode, producer::Producer};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{kafka_client::KafkaClient as _, producer::KafkaProducer};
use crate::{
    connection::KafkaContext,
    topic_admin::{self, TopicState},
};

/// Minimum interval between checks, because librdkafka reports errors in bursts.
const MIN_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn watch_health(
    kafka: Arc<KafkaProducer>,
    part: Part,
    shutdown: CancellationToken,
) {
    let (brokers, topic) = (&kafka.config.kafka.brokers, &kafka.config.topic.name);
    let (mut was_ready, mut compared) = (None, false);
    loop {
        let mut state = topic_state(&kafka).await;
        let mut create_error = None;
        if matches!(state, Ok(TopicState::Missing)) {
            create_error = create(&kafka).await.err();
            state = topic_state(&kafka).await;
        }
        let problem = match state {
            Ok(TopicState::Available(_)) => None,
            Ok(TopicState::Leaderless(partitions)) => {
                Some(topic_admin::leaderless_error(partitions, topic))
            }
            Ok(TopicState::Missing) => Some(
                create_error.unwrap_or_else(|| format!("Kafka at {brokers} has no topic {topic}")),
            ),
            Err(reason) => Some(reason),
        };
        let ready = problem.is_none();
        match problem {
            None => {
                kafka.context.clear_error();
                part.ready();
                if was_ready != Some(true) {
                    tracing::info!(brokers, topic, "connected to Kafka");
                }
                // Without permission to create it, `merch topic` compares.
                if !compared && kafka.config.create_topic {
                    log_setting_differences(&kafka).await;
                }
                compared = true;
            }
            Some(reason) => {
                if was_ready != Some(false) {
                    tracing::warn!(
                        reason,
                        brokers,
                        "Kafka is not available; log events wait at their senders"
                    );
                }
                part.not_ready(reason);
            }
        }
        was_ready = Some(ready);
        let pause = async {
            tokio::time::sleep(MIN_INTERVAL).await;
            let until_next = if ready { kafka.config.check_interval } else { MIN_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(until_next) => {}
                () = kafka.context.error_reported.notified() => {}
            }
        };
        tokio::select! {
            () = pause => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn topic_state(kafka: &Arc<KafkaProducer>) -> Result<TopicState, String> {
    let producer = Arc::clone(kafka);
    let answer = spawn_blocking(move || {
        let config = &producer.config;
        let current = producer.current();
        if let Some(reason) = current.client.fatal_error() {
            return Err(format!("the Kafka producer had a fatal error: {reason}"));
        }
        topic_admin::topic_state(
            Producer::client(&current.client),
            &config.topic.name,
            config.check_timeout,
        )
        .map_err(|error| config.kafka.diagnose_timeout(&error, &producer.context))
    });
    answer.await.unwrap_or_else(|error| Err(format!("the metadata request failed: {error}")))
}

async fn create(kafka: &KafkaProducer) -> Result<(), String> {
    let config = &kafka.config;
    let (brokers, topic) = (&config.kafka.brokers, &config.topic);
    if !config.create_topic {
        return Err(format!(
            "Kafka at {brokers} has no topic {}, and MERCH_KAFKA_CREATE_TOPIC forbids this service \
             to create it; run `merch topic`",
            topic.name
        ));
    }
    let admin = topic_admin::admin(&config.kafka).map_err(|error| error.to_string())?;
    match topic_admin::create(&admin, topic, config.check_timeout).await {
        Ok(()) => tracing::info!(
            topic = topic.name,
            partitions = topic.partitions,
            "created the Kafka topic"
        ),
        // Another replica has created it.
        Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
        // The embedded broker does not support the request; librdkafka then reports `Fail`.
        Err(
            RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::Fail,
        ) => request_auto_creation(kafka).await,
        Err(code) => return Err(topic_admin::create_error(brokers, topic, code)),
    }
    Ok(())
}

async fn log_setting_differences(kafka: &KafkaProducer) {
    let (config, topic) = (&kafka.config, &kafka.config.topic.name);
    let Ok(admin) = topic_admin::admin(&config.kafka) else { return };
    match topic_admin::setting_differences(&admin, &config.topic).await {
        Ok(differences) => {
            for difference in differences {
                tracing::warn!(
                    topic,
                    difference,
                    "the Kafka topic differs from the requested settings"
                );
            }
        }
        // The embedded broker lacks this request, and an ACL may forbid it.
        Err(error) => {
            tracing::debug!(%error, topic, "failed to read the settings of the Kafka topic")
        }
    }
}

/// For brokers without CreateTopics, such as the embedded one.
async fn request_auto_creation(kafka: &KafkaProducer) {
    let config = &kafka.config;
    let Ok(mut client) = config.kafka.client() else { return };
    let metadata_client: AdminClient<KafkaContext> = match client
        .set("allow.auto.create.topics", "true")
        .create_with_context(KafkaContext::default())
    {
        Ok(metadata_client) => metadata_client,
        Err(error) => {
            tracing::warn!(
                reason = %config.kafka.creation_error(&error),
                "failed to create a client for topic auto-creation"
            );
            return;
        }
    };
    let (topic, timeout) = (config.topic.name.clone(), config.check_timeout);
    drop(
        spawn_blocking(move || drop(metadata_client.inner().fetch_metadata(Some(&topic), timeout)))
            .await,
    );
}
