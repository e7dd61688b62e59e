//! What becomes of an event that Kafka refuses for good: its sender keeps it
//! (`StreamLogsResponse.refused`), and a small event on the topic names it.

use std::sync::{Arc, LazyLock};

use super::{
    batch::{Failure, Refused, Verdict},
    kafka::Kafka,
    meters,
    record::Record,
};
use crate::{
    client::event::{Origin, attribute, word},
    proto::{Level, LogMessage, RefusedEvent},
};

/// This process, in its events.
static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("logging"));

/// Writes events that were refused for good to the log, names them on the topic, and returns what
/// their sender gets. If Kafka refuses an event that names another one (which is small, of today,
/// and without any text of a client), that refusal is written to the log alone, so that this ends.
///
/// # Errors
/// When Kafka does not take those events now.
pub(super) async fn report(
    kafka: &Arc<Kafka>,
    refused: Vec<Refused>,
) -> Result<Vec<RefusedEvent>, Failure> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    kafka.note_refusal();
    let notices: Vec<Record> =
        refused.iter().filter_map(|event| Record::new(notice(event)).ok()).collect();
    for notice in write(kafka, notices).await? {
        tracing::error!(
            id = notice.id,
            reason = notice.reason,
            "Kafka refuses the event that names a dead letter"
        );
    }
    for event in &refused {
        meters::DEAD_LETTERS.inc();
        tracing::error!(
            id = event.id,
            event = event.event,
            subject = event.subject,
            reason = event.reason,
            "Kafka refused a log event for good; its sender keeps it as a dead letter"
        );
    }
    Ok(refused
        .into_iter()
        .map(|event| RefusedEvent { id: event.id, reason: event.reason })
        .collect())
}

async fn write(kafka: &Arc<Kafka>, records: Vec<Record>) -> Verdict {
    let lost = || Failure { reason: "the Kafka producer was replaced".to_owned(), isolate: None };
    let verdict = kafka.lane().produce(records).await.ok_or_else(lost)?;
    verdict.await.unwrap_or_else(|_| Err(lost()))
}

fn notice(refused: &Refused) -> LogMessage {
    let message = "Kafka refused a log event for good. Its sender keeps it as a dead letter.";
    let event = ORIGIN
        .event(Level::Error, word::EVENT_DEAD_LETTERED, message)
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
    fn the_event_about_a_dead_letter_keeps_the_rules() {
        let refused = Refused {
            id: Uuid::now_v7().to_string(),
            event: "order_placed".to_owned(),
            subject: format!("order:{}", Uuid::now_v7()),
            reason: "\u{e9}".repeat(5000),
        };
        assert_eq!(rules::check(&notice(&refused)), []);
    }
}
