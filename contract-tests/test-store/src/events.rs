//! Reads the topic with an independent consumer.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::TIMEOUT;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key.
    pub key: Option<String>,
    /// The JSON value.
    pub value: Value,
}

impl Record {
    /// A string member; empty if absent, as in the proto3 JSON mapping.
    ///
    /// # Panics
    /// If it is not a string.
    #[must_use]
    pub fn text(&self, member: &str) -> &str {
        match self.value.get(member) {
            Some(value) => value
                .as_str()
                .unwrap_or_else(|| panic!("expected a string {member}, got {}", self.value)),
            None => "",
        }
    }

    /// The event name: `order_placed`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("event")
    }

    /// An attribute; empty if absent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.value["attributes"][name].as_str().unwrap_or_default()
    }
}

/// All records of the topic, past and future.
pub struct Events {
    topic: &'static str,
    consumer: Arc<StreamConsumer>,
    task: JoinHandle<()>,
    records: Arc<Mutex<Vec<Record>>>,
    /// Number of records.
    count: watch::Receiver<usize>,
}

impl Events {
    /// Reads the topic from its beginning until `self` is dropped.
    pub(crate) fn subscribe(brokers: &str, topic: &'static str) -> Self {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "contract-tests") // nothing is committed
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            // The broker's default wait is half a second.
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("the settings are all known");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("the broker answers");
        let mut assignment = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            assignment
                .add_partition_offset(topic, partition.id(), Offset::Beginning)
                .expect("a partition has a beginning");
        }
        consumer.assign(&assignment).expect("partitions that exist can be read");

        let (consumer, records) = (Arc::new(consumer), Arc::<Mutex<Vec<Record>>>::default());
        let (counted, count) = watch::channel(0);
        let task = tokio::spawn({
            let (consumer, records) = (Arc::clone(&consumer), Arc::clone(&records));
            async move {
                loop {
                    // Errors are transient: the broker outlives the store.
                    let Ok(message) = consumer.recv().await else { continue };
                    let payload = message.payload().unwrap_or_default();
                    let record = Record {
                        partition: message.partition(),
                        offset: message.offset(),
                        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
                        value: serde_json::from_slice(payload).unwrap_or_else(|_| {
                            Value::String(String::from_utf8_lossy(payload).into_owned())
                        }),
                    };
                    records.lock().expect("the lock is not poisoned").push(record);
                    counted.send_modify(|count| *count += 1);
                }
            }
        });
        Self { topic, consumer, task, records, count }
    }

    /// Waits for the first matching record.
    ///
    /// # Panics
    /// After a time-out; the message contains `what`.
    pub async fn find(&self, what: &str, like: impl Fn(&Record) -> bool) -> Record {
        self.find_all(what, 1, like).await.remove(0)
    }

    /// Waits for `count` distinct matching records, in partition order.
    ///
    /// # Panics
    /// After a time-out.
    pub async fn find_all(
        &self,
        what: &str,
        count: usize,
        like: impl Fn(&Record) -> bool,
    ) -> Vec<Record> {
        let found =
            || self.deduplicated().into_iter().filter(|record| like(record)).collect::<Vec<_>>();
        let mut changed = self.count.clone();
        let enough = changed.wait_for(|_| found().len() >= count);
        if timeout(TIMEOUT, enough).await.is_err() {
            panic!(
                "{what}: expected {count} records within {TIMEOUT:?}, got {:#?}",
                self.deduplicated()
            );
        }
        found()
    }

    /// Reads to the current end of the topic and returns all distinct records.
    pub(crate) async fn all(&self) -> Vec<Record> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic);
        let ends = tokio::task::spawn_blocking(move || {
            let partitions = consumer.assignment().expect("it was assigned");
            let ends = partitions.elements().into_iter().map(|partition| {
                let (_, end) = consumer
                    .fetch_watermarks(topic, partition.partition(), TIMEOUT)
                    .expect("the broker answers");
                (partition.partition(), end)
            });
            ends.collect::<Vec<_>>()
        });
        let ends = ends.await.expect("it does not panic");
        let reached = || {
            let records = self.records.lock().expect("the lock is not poisoned");
            ends.iter().all(|(partition, end)| {
                *end == 0
                    || records
                        .iter()
                        .any(|record| record.partition == *partition && record.offset + 1 >= *end)
            })
        };
        let mut changed = self.count.clone();
        let waited = timeout(TIMEOUT, changed.wait_for(|_| reached())).await;
        assert!(
            waited.is_ok(),
            "the end of the topic ({ends:?}) was not reached within {TIMEOUT:?}"
        );
        self.deduplicated()
    }

    /// Distinct records: delivery is at least once.
    fn deduplicated(&self) -> Vec<Record> {
        let mut seen = HashSet::new();
        let records = self.records.lock().expect("the lock is not poisoned");
        records
            .iter()
            .filter(|record| seen.insert(record.value["id"].to_string()))
            .cloned()
            .collect()
    }

    /// Closes the consumer; the broker must still run.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        // The task was aborted.
        let _ = (&mut self.task).await;
        let consumer = Arc::clone(&self.consumer);
        drop(self);
        tokio::task::spawn_blocking(move || mem::drop(consumer))
            .await
            .expect("dropping does not panic");
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Events")
            .field("topic", &self.topic)
            .field("count", &*self.count.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}
