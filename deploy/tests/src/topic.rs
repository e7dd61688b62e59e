//! Reads the whole topic with Kafka's console consumer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::stack::Stack;

/// The fields of a record that tests check; see `proto/merch/logging/v1/logging.proto`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Unique for each event; a repeated record has the same.
    pub id: String,
    /// `api` or `db`.
    pub service: String,
    /// The process that wrote it.
    pub instance: String,
    pub event: String,
    pub actor: String,
    pub subject: String,
    pub request_id: String,
    pub attributes: BTreeMap<String, String>,
}

/// The whole topic, without duplicates.
#[derive(Debug, Default)]
pub struct Topic {
    /// Each event once, in reading order, which is chronological only within a partition.
    pub events: Vec<Event>,
    pub duplicates: usize,
}

impl Topic {
    /// Reads the topic to its end.
    pub async fn read(stack: &Stack) -> Result<Self> {
        let kafka = stack.container("kafka").await?;
        let brokers = stack.brokers().await?;
        // The consumer ends after this idle time; it reports an error, with exit code 0.
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
                topic.duplicates += 1;
            }
        }
        Ok(topic)
    }

    /// Counts the events of this name for each subject.
    #[must_use]
    pub fn count_by_subject(&self, word: &str) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.event == word) {
            *counts.entry(event.subject.as_str()).or_default() += 1;
        }
        counts
    }

    /// The processes of a service that wrote events.
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
    fn duplicates_are_dropped_and_counted() {
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
        assert_eq!((topic.events.len(), topic.duplicates), (2, 1));
        assert_eq!(topic.events[0].request_id, "r");
        assert_eq!(topic.count_by_subject("order_placed"), BTreeMap::from([("order:1", 1)]));
        assert_eq!(topic.instances("db"), BTreeSet::from(["x"]));
        assert!(Topic::parse("Error processing message").is_err());
    }
}
