//! The Kafka producer: one result per batch; a new librdkafka producer after a fatal error.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    thread,
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
};

use super::{
    Config,
    batch::{Batch, BatchFailure, BatchResult, PendingBatches, ProduceMode},
    error_class::{ErrorClass, classify},
    metrics,
    record::{MAX_RECORD_BYTES, ProducerRecord},
};
use crate::connection::KafkaContext;

/// Effectively unlimited; `queue_bytes` limits the queue.
const MAX_QUEUED_RECORDS: usize = 10_000_000;

/// Minimum time between replacements, because a new producer may fail in the same way.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// Time before batches resume; doubled if the producer is not idle.
const SINGLE_MODE_TIME: Duration = Duration::from_secs(30);

/// librdkafka's value for "no timestamp".
const NO_TIMESTAMP: i64 = -1;

pub(crate) struct KafkaProducer {
    pub(super) config: Config,
    producer: RwLock<Arc<ActiveProducer>>,
    refused_at: Mutex<Option<Instant>>,
    /// One per queued byte.
    queue_permits: Arc<Semaphore>,
    pub(super) context: KafkaContext,
}

pub(super) struct ActiveProducer {
    pub(super) producer: ThreadedProducer<DeliveryContext>,
    mode: ProduceMode,
    created_at: Instant,
    pending: Arc<PendingBatches>,
    /// Incremented by each purge. Sessions hold the read lock while they enqueue, so that no record
    /// follows a purged one.
    generation: RwLock<u64>,
}

/// A sender's access to one producer generation. Records after a failed one must not overtake it:
/// the sender repeats all of them in a new session.
pub(super) struct ProducerSession {
    kafka: Arc<KafkaProducer>,
    active: Weak<ActiveProducer>,
    generation: u64,
    failed: bool,
}

impl KafkaProducer {
    pub(super) fn new(config: Config) -> Result<Self, StartError> {
        let context = KafkaContext::default();
        let producer = producer(&config, context.clone(), ProduceMode::Batched)?;
        let queue_permits = Arc::new(Semaphore::new(
            config.queue_bytes.clamp(MAX_RECORD_BYTES, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            config,
            producer: RwLock::new(Arc::new(producer)),
            refused_at: Mutex::default(),
            queue_permits,
            context,
        })
    }

    pub(super) fn session(self: &Arc<Self>) -> ProducerSession {
        let active = self.current();
        let generation = *active.generation.read().unwrap_or_else(PoisonError::into_inner);
        ProducerSession {
            kafka: Arc::clone(self),
            active: Arc::downgrade(&active),
            generation,
            failed: false,
        }
    }

    async fn acquire_bytes(&self, records: &[ProducerRecord]) -> Option<OwnedSemaphorePermit> {
        let bytes: usize = records.iter().map(ProducerRecord::bytes).sum();
        // A batch may exceed a small limit; then it takes all permits.
        let permits = u32::try_from(bytes.min(self.config.queue_bytes.max(MAX_RECORD_BYTES)))
            .unwrap_or(u32::MAX);
        Arc::clone(&self.queue_permits).acquire_many_owned(permits).await.ok()
    }

    /// Replaces a producer with a fatal error.
    pub(super) fn current(&self) -> Arc<ActiveProducer> {
        let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
        if !current.needs_replacement() {
            return current;
        }
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if !slot.needs_replacement() {
            return Arc::clone(&slot);
        }
        let (reason, mode) = (slot.fatal_error().unwrap_or_default(), slot.mode);
        self.replace(&mut slot, mode, &reason);
        Arc::clone(&slot)
    }

    /// Switches to a stricter mode, in which each record has its own result.
    pub(super) fn isolate(&self, mode: ProduceMode, reason: &str) {
        self.record_refusal();
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if slot.mode < mode {
            self.replace(&mut slot, mode, &format!("isolating a refused record: {reason}"));
        }
    }

    pub(super) fn record_refusal(&self) {
        *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn resume_batches(&self, current: &Arc<ActiveProducer>) {
        let refused_at = *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = refused_at.map_or(Duration::MAX, |at| at.elapsed());
        let idle = current.oldest_wait().is_none();
        if current.mode > ProduceMode::Batched
            && (quiet >= 2 * SINGLE_MODE_TIME || (quiet >= SINGLE_MODE_TIME && idle))
        {
            let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&slot, current) {
                self.replace(
                    &mut slot,
                    ProduceMode::Batched,
                    "no further refusals; resuming batches",
                );
            }
        }
    }

    /// Pending records fail; their senders send them again.
    fn replace(&self, slot: &mut Arc<ActiveProducer>, mode: ProduceMode, reason: &str) {
        match producer(&self.config, self.context.clone(), mode) {
            Ok(fresh) => {
                let old = std::mem::replace(slot, Arc::new(fresh));
                metrics::REPLACED.inc();
                tracing::warn!(
                    reason,
                    ?mode,
                    "replacing the Kafka producer; senders will resend its pending records"
                );
                let purged = Arc::clone(&old);
                if thread::Builder::new()
                    .name("kafka-purge".to_owned())
                    .spawn(move || purged.purge())
                    .is_err()
                {
                    old.purge();
                }
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    reason,
                    "failed to create a Kafka producer; senders will resend the pending records"
                );
                slot.purge();
            }
        }
    }

    /// Purges the producer when its oldest batch exceeds the delivery timeout. librdkafka's own
    /// timeout per record would write later records before the sender repeats the first.
    pub(super) async fn enforce_delivery_timeout(&self) {
        let timeout = self.config.delivery_timeout;
        let pause = (timeout / 40).clamp(Duration::from_millis(10), Duration::from_millis(500));
        loop {
            tokio::time::sleep(pause).await;
            let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
            if current.oldest_wait().is_some_and(|waited| waited >= timeout) {
                let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
                if Arc::ptr_eq(&slot, &current) {
                    let mode = current.mode;
                    self.replace(
                        &mut slot,
                        mode,
                        &format!("Kafka did not acknowledge a batch within {timeout:?}"),
                    );
                }
            } else {
                self.resume_batches(&current);
            }
        }
    }

    pub(super) async fn flush(&self, timeout: Duration) {
        let active = self.current();
        let flushed = spawn_blocking(move || {
            active
                .producer
                .flush(timeout)
                .map_err(|error| (error, active.producer.in_flight_count()))
        })
        .await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err((error, left))) => {
                tracing::warn!(
                    %error,
                    left,
                    "Kafka did not acknowledge all records before the shutdown; senders will \
                     resend them"
                )
            }
            Err(error) => tracing::error!(%error, "failed to flush the Kafka producer"),
        }
    }
}

impl ProducerSession {
    /// Enqueues a batch in order once the queue has capacity. Returns `None` if an earlier batch
    /// failed, which ends the session.
    pub(super) async fn produce(
        &mut self,
        records: Vec<ProducerRecord>,
    ) -> Option<oneshot::Receiver<BatchResult>> {
        let permit = self.kafka.acquire_bytes(&records).await;
        let active = self.active.upgrade()?;
        let generation = active.generation.read().unwrap_or_else(PoisonError::into_inner);
        if self.failed || *generation != self.generation {
            return None;
        }
        // No await from here on.
        metrics::TAKEN.inc_by(records.len() as u64);
        let (batch, result) = Batch::new(records.len(), active.mode, permit, &active.pending);
        let mut records = records.into_iter();
        while let Some(ProducerRecord { key, value, headers, timestamp }) = records.next() {
            let timestamp = if active.mode == ProduceMode::SingleNoTimestamp {
                Some(NO_TIMESTAMP)
            } else {
                timestamp
            };
            let record = BaseRecord {
                timestamp,
                ..BaseRecord::with_opaque_to(&self.kafka.config.topic.name, Arc::clone(&batch))
            };
            let Err((error, _)) =
                active.producer.send(record.key(&key).payload(&value).headers(headers))
            else {
                continue;
            };
            match error.rdkafka_error_code().map_or(ErrorClass::Retryable, classify) {
                // Refused by librdkafka itself: no other record is affected.
                ErrorClass::Refused | ErrorClass::TimestampRefused => batch.refused(&error, &value),
                ErrorClass::Retryable => {
                    self.failed = true;
                    batch.fail(
                        1 + records.len(),
                        BatchFailure { reason: error.to_string(), isolate: None },
                    );
                    self.kafka.context.error_reported.notify_one();
                    break;
                }
            }
        }
        Some(result)
    }
}

impl ActiveProducer {
    /// librdkafka reports a fatal error under the code of its cause; only this call reveals it.
    pub(super) fn fatal_error(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(_, reason)| reason)
    }

    fn oldest_wait(&self) -> Option<Duration> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// Drops all queued and in-flight records. Those that Kafka already has are the oldest of each
    /// partition, so repeats keep the order.
    fn purge(&self) {
        *self.generation.write().unwrap_or_else(PoisonError::into_inner) += 1;
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    fn needs_replacement(&self) -> bool {
        self.fatal_error().is_some() && self.created_at.elapsed() >= MIN_REPLACE_INTERVAL
    }
}

fn producer(
    config: &Config,
    context: KafkaContext,
    mode: ProduceMode,
) -> Result<ActiveProducer, StartError> {
    let attempt_ms = (config.delivery_timeout.as_millis() / 3).clamp(100, 30_000);
    let mut client = config.kafka.client()?;
    match mode {
        // After a refusal the producer stops, so that later records do not overtake the batch.
        ProduceMode::Batched => client.set("enable.gapless.guarantee", "true"),
        ProduceMode::Single | ProduceMode::SingleNoTimestamp => {
            client.set("batch.num.messages", "1")
        }
    };
    let producer = client
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
        .map_err(|error| config.kafka.creation_error(&error))?;
    Ok(ActiveProducer {
        producer,
        mode,
        created_at: Instant::now(),
        pending: Arc::default(),
        generation: RwLock::new(0),
    })
}

pub(super) struct DeliveryContext(KafkaContext);

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
