//! What a plain Kafka consumer reads from the topic: from its beginning to its end, with the
//! console consumer of the kafka container.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::stack::Stack;

/// A record's value, as `proto/merch/logging/v1/logging.proto` says it; what a test looks at of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Unique for each event; an event that was sent again has the same.
    pub id: String,
    /// `api` or `db`.
    pub service: String,
    /// The process that wrote it.
    pub instance: String,
    /// What happened.
    pub event: String,
    /// Who did it.
    pub actor: String,
    /// What it was done to.
    pub subject: String,
    /// The request that caused it.
    pub request_id: String,
    /// Further facts.
    pub attributes: BTreeMap<String, String>,
}

/// The whole topic, repeats dropped by id as consumers should.
#[derive(Debug, Default)]
pub struct Topic {
    /// Each event once, in the order of reading: by time only within a partition.
    pub events: Vec<Event>,
    /// How many records repeated an event.
    pub repeats: usize,
}

impl Topic {
    /// Reads it to its end.
    ///
    /// # Errors
    /// When the broker does not answer, or a record is no JSON.
    pub async fn read(stack: &Stack) -> Result<Self> {
        let kafka = stack.one("kafka").await?;
        let brokers = stack.brokers().await?;
        // It ends when nothing came for so long, which it reports as an error with code 0.
        let idle = "3000";
        let program = [
            "/opt/kafka/bin/kafka-console-consumer.sh",
            "--bootstrap-server",
            &brokers,
            "--topic",
            "log-channel",
        ];
        let options = ["--from-beginning", "--timeout-ms", idle];
        let printed =
            kafka.exec(&[&program[..], &options[..]].concat(), "", Duration::from_secs(90)).await?;
        Self::parse(&printed)
    }

    fn parse(printed: &str) -> Result<Self> {
        let (mut topic, mut known) = (Self::default(), BTreeSet::new());
        for line in printed.lines().filter(|line| !line.trim().is_empty()) {
            let event: Event = serde_json::from_str(line)
                .with_context(|| format!("a record of the topic is no event: {line:?}"))?;
            if known.insert(event.id.clone()) {
                topic.events.push(event);
            } else {
                topic.repeats += 1;
            }
        }
        Ok(topic)
    }

    /// How many events of this kind there are for each subject.
    #[must_use]
    pub fn by_subject(&self, word: &str) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.event == word) {
            *counts.entry(event.subject.as_str()).or_default() += 1;
        }
        counts
    }

    /// The processes of a service that wrote any of it.
    #[must_use]
    pub fn instances(&self, service: &str) -> BTreeSet<&str> {
        self.events
            .iter()
            .filter(|event| event.service == service)
            .map(|event| event.instance.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_dropped_and_counted() {
        let line = |id: u8, event: &str| {
            format!(
                r#"{{"id":"{id}","service":"db","instance":"x","event":"{event}","subject":"order:1","requestId":"r"}}"#
            )
        };
        let topic = Topic::parse(
            &[
                line(1, "order_placed"),
                String::new(),
                line(1, "order_placed"),
                line(2, "order_cancelled"),
            ]
            .join("\n"),
        )
        .unwrap();
        assert_eq!((topic.events.len(), topic.repeats), (2, 1));
        assert_eq!(topic.events[0].request_id, "r");
        assert_eq!(topic.by_subject("order_placed"), BTreeMap::from([("order:1", 1)]));
        assert_eq!(topic.instances("db"), BTreeSet::from(["x"]));
        assert!(Topic::parse("Error processing message").is_err());
    }
}
