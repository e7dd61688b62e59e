//! The topic, read by a consumer that knows nothing of the services but the contract of the
//! records.

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

use crate::PATIENCE;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value, which has to be JSON.
    pub value: Value,
}

impl Record {
    /// A member that is a string; empty if it is absent, as the proto3 mapping leaves out what is
    /// empty.
    ///
    /// # Panics
    /// When the member is something else.
    #[must_use]
    pub fn text(&self, member: &str) -> &str {
        match self.value.get(member) {
            Some(value) => {
                value.as_str().unwrap_or_else(|| panic!("{member} is no string: {}", self.value))
            }
            None => "",
        }
    }

    /// What happened: `order_placed`.
    #[must_use]
    pub fn word(&self) -> &str {
        self.text("event")
    }

    /// One of the attributes; empty if it is absent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.value["attributes"][name].as_str().unwrap_or_default()
    }
}

/// All records of the topic so far, and those to come.
pub struct Events {
    topic: &'static str,
    consumer: Arc<StreamConsumer>,
    task: JoinHandle<()>,
    records: Arc<Mutex<Vec<Record>>>,
    /// How many there are.
    count: watch::Receiver<usize>,
}

impl Events {
    /// Reads the topic from its beginning, for as long as this lives.
    pub(crate) fn follow(brokers: &str, topic: &'static str) -> Self {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "contract-tests") // nothing is committed
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            // The broker waits half a second for more to come, unless it is told not to.
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("the settings are all known");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
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
                    // Errors are passing ones: the broker lives as long as the store.
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
                    records.lock().expect("nobody panics with it").push(record);
                    counted.send_modify(|count| *count += 1);
                }
            }
        });
        Self { topic, consumer, task, records, count }
    }

    /// Waits for the first record that is like this.
    ///
    /// # Panics
    /// When none has come in time; `what` says which one was meant.
    pub async fn find(&self, what: &str, like: impl Fn(&Record) -> bool) -> Record {
        self.find_all(what, 1, like).await.remove(0)
    }

    /// Waits until there are so many different records that are like this, and gives them, those of
    /// one partition in their order.
    ///
    /// # Panics
    /// When there are not that many in time.
    pub async fn find_all(
        &self,
        what: &str,
        count: usize,
        like: impl Fn(&Record) -> bool,
    ) -> Vec<Record> {
        let found =
            || self.different().into_iter().filter(|record| like(record)).collect::<Vec<_>>();
        let mut changed = self.count.clone();
        let enough = changed.wait_for(|_| found().len() >= count);
        if timeout(PATIENCE, enough).await.is_err() {
            panic!(
                "{what}: expected {count} on the topic within {PATIENCE:?}, which has {:#?}",
                self.different()
            );
        }
        found()
    }

    /// Waits for the end of the topic as it is now, and gives all different records.
    pub(crate) async fn all(&self) -> Vec<Record> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic);
        let ends = tokio::task::spawn_blocking(move || {
            let partitions = consumer.assignment().expect("it was assigned");
            let ends = partitions.elements().into_iter().map(|partition| {
                let (_, end) = consumer
                    .fetch_watermarks(topic, partition.partition(), PATIENCE)
                    .expect("the broker answers");
                (partition.partition(), end)
            });
            ends.collect::<Vec<_>>()
        });
        let ends = ends.await.expect("it does not panic");
        let reached = || {
            let records = self.records.lock().expect("nobody panics with it");
            ends.iter().all(|(partition, end)| {
                *end == 0
                    || records
                        .iter()
                        .any(|record| record.partition == *partition && record.offset + 1 >= *end)
            })
        };
        let mut changed = self.count.clone();
        let waited = timeout(PATIENCE, changed.wait_for(|_| reached())).await;
        assert!(
            waited.is_ok(),
            "the end of the topic ({ends:?}) was not reached within {PATIENCE:?}"
        );
        self.different()
    }

    /// The records so far, without repeats: delivery is at least once.
    fn different(&self) -> Vec<Record> {
        let mut seen = HashSet::new();
        let records = self.records.lock().expect("nobody panics with it");
        records
            .iter()
            .filter(|record| seen.insert(record.value["id"].to_string()))
            .cloned()
            .collect()
    }

    /// Ends the consumer, which says good-bye to the broker; so the broker has to be there still.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        // It is aborted, so this is the news of it.
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
