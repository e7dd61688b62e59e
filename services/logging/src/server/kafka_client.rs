//! librdkafka's producer, behind traits, so that the simulation runs the rest.

use std::{sync::Arc, thread, time::Duration};

use merch_chassis::StartError;
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer},
};

use super::{
    Config,
    batch::{Batch, ProduceMode},
    record::{MAX_RECORD_BYTES, ProducerRecord},
};
use crate::connection::KafkaContext;

/// Effectively unlimited; `queue_bytes` limits the queue.
const MAX_QUEUED_RECORDS: usize = 10_000_000;

/// Creates the clients of one process.
pub(crate) trait KafkaClients: Send + Sync + 'static {
    type Client: KafkaClient;

    /// # Errors
    /// If the settings are invalid.
    fn create(
        &self,
        config: &Config,
        context: KafkaContext,
        mode: ProduceMode,
    ) -> Result<Self::Client, StartError>;

    /// Runs a task that may block.
    fn run_in_background(&self, task: impl Fn() + Send + Sync + 'static);
}

/// Writes records to Kafka, those of a partition in order, and reports each to its batch.
pub(crate) trait KafkaClient: Send + Sync + 'static {
    /// # Errors
    /// If the record was not enqueued. Returns its value, too.
    fn send(
        &self,
        topic: &str,
        record: ProducerRecord,
        batch: &Arc<Batch>,
    ) -> Result<(), (KafkaError, Vec<u8>)>;

    /// Drops all records that are queued or in flight, and reports them as failed.
    fn purge(&self);

    /// Returns the error after which the client writes nothing.
    fn fatal_error(&self) -> Option<String>;
}

/// librdkafka.
pub(crate) struct Rdkafka;

impl KafkaClients for Rdkafka {
    type Client = ThreadedProducer<DeliveryContext>;

    fn create(
        &self,
        config: &Config,
        context: KafkaContext,
        mode: ProduceMode,
    ) -> Result<Self::Client, StartError> {
        let attempt_ms = (config.delivery_timeout.as_millis() / 3).clamp(100, 30_000);
        let mut client = config.kafka.client()?;
        match mode {
            // After a refusal the producer stops, so that later records do not overtake the batch.
            ProduceMode::Batched => client.set("enable.gapless.guarantee", "true"),
            ProduceMode::Single | ProduceMode::SingleNoTimestamp => {
                client.set("batch.num.messages", "1")
            }
        };
        client
            // No duplicates or reordering by librdkafka's retries.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // `enforce_delivery_timeout` applies instead.
            .set("delivery.timeout.ms", "0")
            // A third of the delivery timeout leaves time for another attempt. The first limits the
            // broker's wait for its replicas; the second detects a silent connection.
            .set("request.timeout.ms", attempt_ms.to_string())
            .set("socket.timeout.ms", attempt_ms.to_string())
            .set("queue.buffering.max.messages", MAX_QUEUED_RECORDS.to_string())
            // `queue_permits` limits the bytes.
            .set("queue.buffering.max.kbytes", "2147483647")
            .set("message.max.bytes", (MAX_RECORD_BYTES + 1024).to_string())
            // The only codec built into every client. Level 1 compresses the JSON to a fifth.
            .set("compression.type", "gzip")
            .set("compression.level", "1")
            // The Java client's partitioner.
            .set("partitioner", "murmur2_random")
            .create_with_context(DeliveryContext(context))
            .map_err(|error| config.kafka.creation_error(&error))
    }

    fn run_in_background(&self, task: impl Fn() + Send + Sync + 'static) {
        let task = Arc::new(task);
        let shared = Arc::clone(&task);
        let name = "kafka-purge".to_owned();
        if thread::Builder::new().name(name).spawn(move || shared()).is_err() {
            task();
        }
    }
}

impl KafkaClient for ThreadedProducer<DeliveryContext> {
    fn send(
        &self,
        topic: &str,
        record: ProducerRecord,
        batch: &Arc<Batch>,
    ) -> Result<(), (KafkaError, Vec<u8>)> {
        let ProducerRecord { key, value, headers, timestamp } = record;
        let record =
            BaseRecord { timestamp, ..BaseRecord::with_opaque_to(topic, Arc::clone(batch)) };
        let sent = ThreadedProducer::send(self, record.key(&key).payload(&value).headers(headers));
        sent.map_err(|(error, _)| error).map_err(|error| (error, value))
    }

    fn purge(&self) {
        Producer::purge(self, PurgeConfig::default().queue().inflight());
    }

    /// librdkafka reports a fatal error under the code of its cause; only this call reveals it.
    fn fatal_error(&self) -> Option<String> {
        self.client().fatal_error().map(|(_, reason)| reason)
    }
}

/// Returns the records that are left after a time.
pub(super) fn flush(
    client: &ThreadedProducer<DeliveryContext>,
    timeout: Duration,
) -> Result<(), (KafkaError, i32)> {
    Producer::flush(client, timeout).map_err(|error| (error, client.in_flight_count()))
}

pub(crate) struct DeliveryContext(KafkaContext);

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => batch.delivered(1),
            Err((error, record)) => {
                self.0.error_reported.notify_one();
                batch.delivery_failed(error, record.payload().unwrap_or_default());
            }
        }
    }
}
