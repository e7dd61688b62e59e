//! Dead letters: a permanently refused event is returned to its sender
//! (`StreamLogsResponse.refused`), and an `event_dead_lettered` event names it.

use std::sync::{Arc, LazyLock};

use super::{
    batch::{BatchFailure, BatchResult, RefusedRecord},
    kafka_client::KafkaClients,
    metrics,
    producer::KafkaProducer,
    record::ProducerRecord,
};
use crate::{
    client::event::{Origin, attribute, event_name},
    proto::{Level, LogMessage, RefusedEvent},
};

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("logging"));

/// Logs refused records, writes an `event_dead_lettered` event for each, and returns the entries
/// for their sender. If Kafka refuses such an event too, it is only logged.
pub(super) async fn report<C: KafkaClients>(
    kafka: &Arc<KafkaProducer<C>>,
    refused: Vec<RefusedRecord>,
) -> Result<Vec<RefusedEvent>, BatchFailure> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    kafka.record_refusal();
    let events: Vec<ProducerRecord> = refused
        .iter()
        .filter_map(|event| ProducerRecord::new(dead_letter_event(event)).ok())
        .collect();
    for event in write(kafka, events).await? {
        tracing::error!(
            id = event.id,
            reason = event.reason,
            "Kafka refused an event_dead_lettered event"
        );
    }
    for event in &refused {
        metrics::DEAD_LETTERS.inc();
        tracing::error!(
            id = event.id,
            event = event.event,
            subject = event.subject,
            reason = event.reason,
            "Kafka refused a log event permanently; its sender stores it as a dead letter"
        );
    }
    Ok(refused
        .into_iter()
        .map(|event| RefusedEvent { id: event.id, reason: event.reason })
        .collect())
}

async fn write<C: KafkaClients>(
    kafka: &Arc<KafkaProducer<C>>,
    records: Vec<ProducerRecord>,
) -> BatchResult {
    let replaced =
        || BatchFailure { reason: "the Kafka producer was replaced".to_owned(), isolate: None };
    let mut session = kafka.session();
    let permit = session.reserve(&records).await;
    let result = session.produce(records, permit).await.ok_or_else(replaced)?;
    result.await.unwrap_or_else(|_| Err(replaced()))
}

fn dead_letter_event(refused: &RefusedRecord) -> LogMessage {
    let message = "Kafka refused a log event permanently. Its sender stores it as a dead letter.";
    let event = ORIGIN
        .event(Level::Error, event_name::EVENT_DEAD_LETTERED, message)
        .attribute(attribute::EVENT_ID, &refused.id)
        .attribute(attribute::EVENT, &refused.event)
        .attribute(attribute::REASON, &refused.reason)
        .build();
    LogMessage { subject: refused.subject.clone(), ..event }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::rules;

    #[test]
    fn dead_letter_event_passes_validation() {
        let refused = RefusedRecord {
            id: Uuid::now_v7().to_string(),
            event: "order_placed".to_owned(),
            subject: format!("order:{}", Uuid::now_v7()),
            reason: "\u{e9}".repeat(5000),
        };
        assert_eq!(rules::check(&dead_letter_event(&refused)), []);
    }
}
