//! The Kafka producer: one result per batch; a new librdkafka producer after a fatal error.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, TryLockError, Weak},
    time::Duration,
};

use merch_chassis::StartError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
    time::Instant,
};

use super::{
    Config,
    batch::{Batch, BatchFailure, BatchResult, PendingBatches, ProduceMode},
    error_class::{ErrorClass, classify},
    kafka_client::{self, KafkaClient, KafkaClients, Rdkafka},
    metrics,
    record::{MAX_RECORD_BYTES, ProducerRecord},
};
use crate::{
    connection::KafkaContext,
    sync::{Mutex, RwLock},
};

/// Minimum time between replacements, because a new producer may fail in the same way.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// Time before batches resume; doubled if the producer is not idle.
const SINGLE_MODE_TIME: Duration = Duration::from_secs(30);

/// librdkafka's value for "no timestamp".
const NO_TIMESTAMP: i64 = -1;

pub(crate) struct KafkaProducer<C: KafkaClients = Rdkafka> {
    pub(super) config: Config,
    clients: C,
    producer: RwLock<Arc<ActiveProducer<C::Client>>>,
    refused_at: Mutex<Option<Instant>>,
    /// One per queued byte.
    queue_permits: Arc<Semaphore>,
    pub(super) context: KafkaContext,
}

pub(super) struct ActiveProducer<C> {
    pub(super) client: C,
    mode: ProduceMode,
    created_at: Instant,
    pending: Arc<PendingBatches>,
    /// Incremented by each purge, which holds the write lock. Sessions hold the read lock while they
    /// enqueue, so that no record follows a purged one.
    generation: RwLock<u64>,
}

/// A sender's access to one producer generation. Records after a failed one must not overtake it:
/// the sender repeats all of them in a new session.
pub(super) struct ProducerSession<C: KafkaClients> {
    kafka: Arc<KafkaProducer<C>>,
    active: Weak<ActiveProducer<C::Client>>,
    generation: u64,
    failed: bool,
}

impl<C: KafkaClients> KafkaProducer<C> {
    pub(crate) fn new(config: Config, clients: C) -> Result<Self, StartError> {
        let context = KafkaContext::default();
        let client = clients.create(&config, context.clone(), ProduceMode::Batched)?;
        let queue_permits = Arc::new(Semaphore::new(
            config.queue_bytes.clamp(MAX_RECORD_BYTES, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            config,
            clients,
            producer: RwLock::new(Arc::new(ActiveProducer::new(client, ProduceMode::Batched))),
            refused_at: Mutex::default(),
            queue_permits,
            context,
        })
    }

    pub(super) fn session(self: &Arc<Self>) -> ProducerSession<C> {
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
    pub(super) fn current(&self) -> Arc<ActiveProducer<C::Client>> {
        let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
        if !current.needs_replacement() {
            return current;
        }
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if !slot.needs_replacement() {
            return Arc::clone(&slot);
        }
        let (reason, mode) = (slot.client.fatal_error().unwrap_or_default(), slot.next_mode());
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

    fn resume_batches(&self, current: &Arc<ActiveProducer<C::Client>>) {
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
    fn replace(&self, slot: &mut Arc<ActiveProducer<C::Client>>, mode: ProduceMode, reason: &str) {
        if mode > slot.mode {
            self.record_refusal();
        }
        match self.clients.create(&self.config, self.context.clone(), mode) {
            Ok(client) => {
                let old = std::mem::replace(slot, Arc::new(ActiveProducer::new(client, mode)));
                metrics::REPLACED.inc();
                tracing::warn!(
                    reason,
                    ?mode,
                    "replacing the Kafka producer; senders will resend its pending records"
                );
                self.clients.run_in_background(move || old.purge());
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
    pub(crate) async fn enforce_delivery_timeout(&self) {
        let timeout = self.config.delivery_timeout;
        let pause = (timeout / 40).clamp(Duration::from_millis(10), Duration::from_millis(500));
        loop {
            tokio::time::sleep(pause).await;
            let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
            if current.oldest_wait().is_some_and(|waited| waited >= timeout) {
                let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
                if Arc::ptr_eq(&slot, &current) {
                    let mode = current.next_mode();
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
}

impl KafkaProducer {
    pub(super) async fn flush(&self, timeout: Duration) {
        let active = self.current();
        let flushed = spawn_blocking(move || kafka_client::flush(&active.client, timeout)).await;
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

impl<C: KafkaClients> ProducerSession<C> {
    /// Waits until the queue has capacity for a batch.
    pub(super) async fn reserve(&self, records: &[ProducerRecord]) -> Option<OwnedSemaphorePermit> {
        self.kafka.acquire_bytes(records).await
    }

    /// Enqueues a batch in order. Returns `None` if an earlier batch failed, which ends the session.
    /// If it is dropped outside of the batched mode, Kafka may store a part of the batch.
    pub(super) async fn produce(
        &mut self,
        records: Vec<ProducerRecord>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<oneshot::Receiver<BatchResult>> {
        if self.active.upgrade()?.mode == ProduceMode::Batched {
            return self.enqueue(records, permit);
        }
        // The records of a key one after the other: in these modes the producer goes on after a
        // failed record, and later ones of its key would overtake it.
        let (sender, result) = oneshot::channel();
        let (mut refused, mut rest) = (Vec::new(), records);
        while !rest.is_empty() {
            let mut keys = HashSet::new();
            let (wave, later) =
                rest.into_iter().partition(|record| keys.insert(record.key.clone()));
            rest = later;
            match self.enqueue(wave, None)?.await {
                Ok(Ok(of_wave)) => refused.extend(of_wave),
                Ok(Err(failure)) => {
                    self.failed = true;
                    drop(sender.send(Err(failure)));
                    return Some(result);
                }
                // The producer was closed, and so is `result`.
                Err(_) => return Some(result),
            }
        }
        drop(sender.send(Ok(refused)));
        Some(result)
    }

    fn enqueue(
        &mut self,
        records: Vec<ProducerRecord>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<oneshot::Receiver<BatchResult>> {
        let active = self.active.upgrade()?;
        let generation = match active.generation.try_read() {
            Ok(generation) => generation,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A purge, which may block, ends this session.
            Err(TryLockError::WouldBlock) => return None,
        };
        if self.failed || *generation != self.generation {
            return None;
        }
        metrics::TAKEN.inc_by(records.len() as u64);
        let (batch, result) = Batch::new(records.len(), active.mode, permit, &active.pending);
        let mut records = records.into_iter();
        while let Some(mut record) = records.next() {
            if active.mode == ProduceMode::SingleNoTimestamp {
                record.timestamp = Some(NO_TIMESTAMP);
            }
            let topic = &self.kafka.config.topic.name;
            let Err((error, value)) = active.client.send(topic, record, &batch) else { continue };
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

impl<C: KafkaClient> ActiveProducer<C> {
    fn new(client: C, mode: ProduceMode) -> Self {
        Self {
            client,
            mode,
            created_at: Instant::now(),
            pending: Arc::default(),
            generation: RwLock::new(0),
        }
    }

    fn oldest_wait(&self) -> Option<Duration> {
        self.pending.oldest().map(|since| since.elapsed())
    }

    /// Returns the mode of the producer that replaces this one. The result that names the stricter
    /// mode may never be read: its sender sees the failure of an earlier batch, and repeats both.
    fn next_mode(&self) -> ProduceMode {
        self.pending.isolate().map_or(self.mode, |mode| mode.max(self.mode))
    }

    /// Drops all queued and in-flight records. Those that Kafka already has are the oldest of each
    /// partition, so repeats keep the order.
    fn purge(&self) {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        // Under the lock: it must not drop the first records of a new session.
        self.client.purge();
    }

    fn needs_replacement(&self) -> bool {
        self.client.fatal_error().is_some() && self.created_at.elapsed() >= MIN_REPLACE_INTERVAL
    }
}

#[cfg(test)]
mod threads;
