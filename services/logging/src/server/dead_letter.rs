//! What becomes of an event that Kafka refuses for good: its sender keeps it (`StreamLogsResponse.refused`), and a small event on the topic names it.

use std::{
    sync::{Arc, LazyLock},
    time::{SystemTime, UNIX_EPOCH},
};

use pbjson_types::Timestamp;
use uuid::Uuid;

use super::{
    batch::{Failure, Refused, Verdict},
    kafka::Kafka,
    meters,
    record::Record,
};
use crate::{
    proto::{Level, LogMessage, RefusedEvent},
    rules::MAX_ATTRIBUTE_BYTES,
};

/// The word of the event that names a dead letter.
const EVENT_DEAD_LETTERED: &str = "event_dead_lettered";

/// This process, in its events.
static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::now_v7().to_string());

/// Tells the log and the topic of events that were refused for good, and gives what their sender gets. An event about one that is refused in its turn
/// (it is small, of today, and without any text of a client) is told to the log alone, so that this comes to an end.
///
/// # Errors
/// When Kafka does not take those events now.
pub(super) async fn report(kafka: &Arc<Kafka>, refused: Vec<Refused>) -> Result<Vec<RefusedEvent>, Failure> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    kafka.note_refusal();
    let notices: Vec<Record> = refused.iter().filter_map(|event| Record::new(notice(event)).ok()).collect();
    match write(kafka, notices).await {
        Ok(again) => {
            for notice in again {
                tracing::error!(id = notice.id, reason = notice.reason, "Kafka refuses the event that names a dead letter");
            }
        }
        Err(failure) => return Err(failure),
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
    Ok(refused.into_iter().map(|event| RefusedEvent { id: event.id, reason: event.reason }).collect())
}

async fn write(kafka: &Arc<Kafka>, records: Vec<Record>) -> Verdict {
    let lost = || Failure { reason: "the Kafka producer was replaced".to_owned(), isolate: None };
    let verdict = kafka.lane().produce(records).await.ok_or_else(lost)?;
    verdict.await.unwrap_or_else(|_| Err(lost()))
}

fn notice(refused: &Refused) -> LogMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut reason = refused.reason.clone();
    reason.truncate(reason.floor_char_boundary(MAX_ATTRIBUTE_BYTES));
    LogMessage {
        id: Uuid::now_v7().to_string(),
        time: Some(Timestamp {
            seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(now.subsec_nanos()).unwrap_or(0),
        }),
        service: "logging".to_owned(),
        instance: INSTANCE.clone(),
        level: Level::Error.into(),
        event: EVENT_DEAD_LETTERED.to_owned(),
        actor: "anonymous".to_owned(),
        subject: refused.subject.clone(),
        message: "Kafka refused a log event for good. Its sender keeps it as a dead letter.".to_owned(),
        attributes: [
            ("event_id".to_owned(), refused.id.clone()),
            ("event".to_owned(), refused.event.clone()),
            ("reason".to_owned(), reason),
        ]
        .into(),
        ..LogMessage::default()
    }
}

#[cfg(test)]
mod tests {
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
