use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use merch_logging::{
    connection::Connection,
    proto::{LogMessage, StreamLogsRequest, logging_service_client::LoggingServiceClient},
    server::Config,
    topic_admin::Topic,
};
use merch_test_kafka::{Kafka, Options};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};
use tokio::{
    sync::{Mutex, MutexGuard, mpsc},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Endpoint};

use crate::logging_support::{DEADLINE, event};

/// Only one exists at a time.
pub(crate) struct ExclusiveKafka {
    pub(crate) kafka: Kafka,
    _guard: MutexGuard<'static, ()>,
}

impl ExclusiveKafka {
    pub(crate) async fn with(options: Options) -> Self {
        static LOCK: Mutex<()> = Mutex::const_new(());
        let guard = LOCK.lock().await;
        Self { kafka: spawn_blocking(|| Kafka::with(options)).await.unwrap(), _guard: guard }
    }
}

pub(crate) async fn shared_kafka() -> &'static Kafka {
    spawn_blocking(Kafka::shared).await.unwrap()
}

/// Numbered, for one of `orders` orders, with a trace id.
pub(crate) fn order_event(number: usize, orders: usize) -> LogMessage {
    LogMessage {
        subject: format!(
            "order:{}",
            uuid::Uuid::from_u128(
                0x0198_1f3e_7a00_7000_8000_0000_0000_0000 + (number % orders) as u128
            )
        ),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        ..event(number)
    }
}

pub(crate) fn order_events(numbers: Range<usize>, orders: usize) -> Vec<LogMessage> {
    numbers.map(|number| order_event(number, orders)).collect()
}

pub(crate) const ORDERS: usize = 40;
pub(crate) const BATCH: usize = 100;

/// Sends each event once, so duplicates on the topic come from the producer.
pub(crate) struct Sender {
    requests: mpsc::Sender<StreamLogsRequest>,
    sent: usize,
    pub(crate) acknowledged: Arc<AtomicUsize>,
    responses_task: JoinHandle<Result<(), Status>>,
}

impl Sender {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut client = LoggingServiceClient::new(
            Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap(),
        );
        let (requests, outbound) = mpsc::channel(1);
        let mut responses =
            client.stream_logs(ReceiverStream::new(outbound)).await.unwrap().into_inner();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        let responses_task = tokio::spawn(async move {
            while let Some(response) = responses.message().await? {
                counter.store(
                    usize::try_from(response.acknowledged_sequence).unwrap() * BATCH,
                    Ordering::Relaxed,
                );
            }
            Ok(())
        });
        Self { requests, sent: 0, acknowledged, responses_task }
    }

    /// Waits while the service does not read.
    pub(crate) async fn send(&mut self, numbers: Range<usize>) {
        for first in numbers.step_by(BATCH) {
            self.sent += BATCH;
            let request = StreamLogsRequest {
                sequence: (self.sent / BATCH) as u64,
                messages: order_events(first..first + BATCH, ORDERS),
            };
            assert!(self.requests.send(request).await.is_ok(), "the stream is open");
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) async fn expect_failure(self) {
        let ended = timeout(DEADLINE, self.responses_task).await.expect("the stream ends").unwrap();
        assert_eq!(ended.expect_err("an error status").code(), Code::Unavailable);
    }

    /// Waits for all acknowledgements.
    pub(crate) async fn finish(self) {
        drop(self.requests);
        timeout(DEADLINE, self.responses_task)
            .await
            .expect("the stream ends")
            .unwrap()
            .expect("an OK status");
        assert_eq!(self.acknowledged.load(Ordering::Relaxed), self.sent);
    }
}

pub(crate) fn config(kafka: impl Into<Connection>, topic: &str) -> Config {
    Config {
        topic: Topic::new(topic),
        check_interval: Duration::from_millis(500),
        check_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(20),
        ..Config::new(kafka)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ConsumedRecord {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) value: serde_json::Value,
}

impl ConsumedRecord {
    pub(crate) fn number(&self) -> usize {
        self.value["requestId"].as_str().unwrap().strip_prefix("request-").unwrap().parse().unwrap()
    }
}

/// Partition by partition.
pub(crate) async fn consume(brokers: String, topic: &str) -> Vec<ConsumedRecord> {
    let topic = topic.to_owned();
    spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "plain")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), DEADLINE).unwrap();
        let partitions: Vec<i32> =
            metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
        let mut records = Vec::new();
        for partition in partitions {
            let (low, high) = consumer.fetch_watermarks(&topic, partition, DEADLINE).unwrap();
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(&topic, partition, Offset::Offset(low)).unwrap();
            consumer.assign(&from).unwrap();
            let mut next = low;
            while next < high {
                let message = consumer.poll(DEADLINE).expect("a record comes").unwrap();
                next = message.offset() + 1;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                records.push(ConsumedRecord {
                    partition,
                    key: text(message.key().unwrap()),
                    headers: message
                        .headers()
                        .unwrap()
                        .iter()
                        .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
                        .collect(),
                    timestamp: message.timestamp().to_millis(),
                    value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
                });
            }
        }
        records
    })
    .await
    .unwrap()
}

/// Asserts that `records` are these events, each key in one partition and in order. Returns the
/// number of duplicates.
pub(crate) fn check_complete_and_ordered(
    records: &[ConsumedRecord],
    numbers: Range<usize>,
) -> usize {
    let mut partitions: HashMap<&str, i32> = HashMap::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut found = HashSet::new();
    let mut duplicates = 0;
    for record in records {
        let partition = *partitions.entry(&record.key).or_insert(record.partition);
        assert_eq!(partition, record.partition, "{} is in two partitions", record.key);
        let number = record.number();
        if !found.insert(number) {
            duplicates += 1;
            continue;
        }
        if let Some(before) = last.insert(&record.key, number) {
            assert!(before < number, "{}: {number} after {before}", record.key);
        }
    }
    let missing: Vec<usize> = numbers.clone().filter(|number| !found.contains(number)).collect();
    assert!(
        missing.is_empty() && found.len() == numbers.len(),
        "missing: {missing:?}; found {} of {}",
        found.len(),
        numbers.len()
    );
    duplicates
}
