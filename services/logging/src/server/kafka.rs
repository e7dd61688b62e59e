//! The producer: records in, one verdict for each batch out, and a new producer when the old one is
//! beyond repair.

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
    batch::{Batch, Failure, Mode, Verdict, Waiting},
    error_class::{ErrorClass, classify},
    meters,
    record::{MAX_RECORD_BYTES, Record},
};
use crate::connection::Ears;

/// Records that librdkafka queues at most; `queue_bytes` is reached before.
const MAX_RECORDS: usize = 10_000_000;

/// A producer is given up no sooner: what is fatal may be so for its successor, too (no permission,
/// say).
const REPLACED_AFTER: Duration = Duration::from_secs(1);

/// How long records are written one at a time after the last refusal. Then the next idle moment, or
/// the end of twice this time, ends it.
const SINGLE_FOR: Duration = Duration::from_secs(30);

/// Kafka's own sign for a record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// The way to Kafka.
pub(crate) struct Kafka {
    pub(super) config: Config,
    producer: RwLock<Arc<Guarded>>,
    /// When Kafka last refused a record.
    refused_at: Mutex<Option<Instant>>,
    /// One permit for each byte that may wait.
    room: Arc<Semaphore>,
    /// What librdkafka says of it.
    pub(super) ears: Ears,
}

/// A producer, and since when it is in use.
pub(super) struct Guarded {
    pub(super) producer: ThreadedProducer<Reports>,
    mode: Mode,
    since: Instant,
    waiting: Arc<Waiting>,
    /// How often it was given up. Whoever hands records over holds this, so that none gets behind
    /// those that are purged.
    given_up: RwLock<u64>,
}

/// One sender's way to a producer. It ends with what that producer held: what comes after what
/// failed must not overtake it, and is sent again behind it, on another lane.
pub(super) struct Lane {
    kafka: Arc<Kafka>,
    guarded: Weak<Guarded>,
    /// How often the producer had been given up when this began.
    given_up: u64,
    /// Whether a record could not be handed over.
    broken: bool,
}

impl Kafka {
    pub(super) fn new(config: Config) -> Result<Self, StartError> {
        let ears = Ears::default();
        let producer = producer(&config, ears.clone(), Mode::Batched)?;
        let room = Arc::new(Semaphore::new(
            config.queue_bytes.clamp(MAX_RECORD_BYTES, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            config,
            producer: RwLock::new(Arc::new(producer)),
            refused_at: Mutex::default(),
            room,
            ears,
        })
    }

    /// A way to the producer in use.
    pub(super) fn lane(self: &Arc<Self>) -> Lane {
        let guarded = self.current();
        let given_up = *guarded.given_up.read().unwrap_or_else(PoisonError::into_inner);
        Lane { kafka: Arc::clone(self), guarded: Arc::downgrade(&guarded), given_up, broken: false }
    }

    /// Room for so many bytes, once there is.
    async fn room_for(&self, records: &[Record]) -> Option<OwnedSemaphorePermit> {
        let bytes: usize = records.iter().map(Record::bytes).sum();
        // A batch is larger than the room only if somebody configured a tiny one: then it gets all
        // of it.
        let permits = u32::try_from(bytes.min(self.config.queue_bytes.max(MAX_RECORD_BYTES)))
            .unwrap_or(u32::MAX);
        // Never closed; without a permit the batch would merely go uncounted.
        Arc::clone(&self.room).acquire_many_owned(permits).await.ok()
    }

    /// The producer in use; a new one if the last is beyond repair.
    pub(super) fn current(&self) -> Arc<Guarded> {
        let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
        if !current.is_spent() {
            return current;
        }
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if !slot.is_spent() {
            return Arc::clone(&slot);
        }
        let (reason, mode) = (slot.fatal().unwrap_or_default(), slot.mode);
        self.replace(&mut slot, mode, &reason);
        Arc::clone(&slot)
    }

    /// Kafka refuses a record: from now on, and for a while, records are written in this mode, so
    /// that each has a verdict of its own. What was under way fails, and is sent again by those who
    /// sent it.
    pub(super) fn isolate(&self, mode: Mode, reason: &str) {
        self.note_refusal();
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if slot.mode < mode {
            self.replace(
                &mut slot,
                mode,
                &format!("Kafka refuses a record, which is looked for: {reason}"),
            );
        }
    }

    /// Kafka has refused a record just now.
    pub(super) fn note_refusal(&self) {
        *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Writes many records at once again, a while after the last refusal.
    fn resume_batches(&self, current: &Arc<Guarded>) {
        let refused_at = *self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = refused_at.map_or(Duration::MAX, |at| at.elapsed());
        let idle = current.has_waited().is_none();
        if current.mode > Mode::Batched
            && (quiet >= 2 * SINGLE_FOR || (quiet >= SINGLE_FOR && idle))
        {
            let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&slot, current) {
                self.replace(
                    &mut slot,
                    Mode::Batched,
                    "Kafka has refused no further record; records are written in batches again",
                );
            }
        }
    }

    /// Puts a new producer in the place of the one in `slot`. What that one held fails, and is sent
    /// again by those who sent it.
    fn replace(&self, slot: &mut Arc<Guarded>, mode: Mode, reason: &str) {
        match producer(&self.config, self.ears.clone(), mode) {
            Ok(fresh) => {
                let old = std::mem::replace(slot, Arc::new(fresh));
                meters::REPLACED.inc();
                tracing::warn!(
                    reason,
                    ?mode,
                    "replacing the Kafka producer; its senders repeat what it held"
                );
                let purged = Arc::clone(&old);
                // It waits for its threads.
                if thread::Builder::new()
                    .name("kafka-give-up".to_owned())
                    .spawn(move || purged.give_up())
                    .is_err()
                {
                    old.give_up();
                }
            }
            Err(error) => {
                tracing::error!(%error, reason, "no new Kafka producer can be made; what this one held is sent again");
                slot.give_up();
            }
        }
    }

    /// Gives the producer up once its oldest batch has waited for the delivery time-out: all
    /// batches fail together.
    ///
    /// librdkafka's own time-out is each record's. It would let go of the oldest record alone, and
    /// write those behind it as soon as Kafka is back, before their sender has sent the oldest one
    /// again.
    pub(super) async fn give_up_in_time(&self) {
        let timeout = self.config.delivery_timeout;
        let pause = (timeout / 40).clamp(Duration::from_millis(10), Duration::from_millis(500));
        loop {
            tokio::time::sleep(pause).await;
            let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
            if current.has_waited().is_some_and(|waited| waited >= timeout) {
                let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
                if Arc::ptr_eq(&slot, &current) {
                    let mode = current.mode;
                    self.replace(
                        &mut slot,
                        mode,
                        &format!("Kafka has not taken all of a batch within {timeout:?}"),
                    );
                }
            } else {
                self.resume_batches(&current);
            }
        }
    }

    /// Waits until Kafka has acknowledged all that was handed over, or the time is up.
    pub(super) async fn flush(&self, timeout: Duration) {
        let guarded = self.current();
        let flushed = spawn_blocking(move || {
            guarded
                .producer
                .flush(timeout)
                .map_err(|error| (error, guarded.producer.in_flight_count()))
        })
        .await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err((error, left))) => {
                tracing::warn!(%error, left, "Kafka has not acknowledged everything at the end; it is sent again by those who sent it")
            }
            Err(error) => tracing::error!(%error, "the Kafka producer could not be flushed"),
        }
    }
}

impl Lane {
    /// Hands a batch to the producer, in order, once there is room for it. The verdict comes when
    /// Kafka has acknowledged all of it or has failed for any of it, a little after the delivery
    /// time-out at the latest. `None` when something before it has failed already: this lane is at
    /// its end.
    pub(super) async fn produce(
        &mut self,
        records: Vec<Record>,
    ) -> Option<oneshot::Receiver<Verdict>> {
        let room = self.kafka.room_for(&records).await;
        let guarded = self.guarded.upgrade()?;
        // What was poisoned by a panic guards as well as before.
        let given_up = guarded.given_up.read().unwrap_or_else(PoisonError::into_inner);
        if self.broken || *given_up != self.given_up {
            return None;
        }
        // From here on nothing waits.
        meters::TAKEN.inc_by(records.len() as u64);
        let (batch, verdict) = Batch::new(records.len(), guarded.mode, room, &guarded.waiting);
        let mut records = records.into_iter();
        while let Some(Record { key, value, headers, timestamp }) = records.next() {
            let timestamp =
                if guarded.mode == Mode::SingleUndated { Some(NO_TIMESTAMP) } else { timestamp };
            let record = BaseRecord {
                timestamp,
                ..BaseRecord::with_opaque_to(&self.kafka.config.topic.name, Arc::clone(&batch))
            };
            let Err((error, _)) =
                guarded.producer.send(record.key(&key).payload(&value).headers(headers))
            else {
                continue;
            };
            match error.rdkafka_error_code().map_or(ErrorClass::Retryable, classify) {
                // By librdkafka, before it met any other record.
                ErrorClass::Refused | ErrorClass::TimestampRefused => batch.refused(&error, &value),
                ErrorClass::Retryable => {
                    self.broken = true;
                    batch.lost(
                        1 + records.len(),
                        Failure { reason: error.to_string(), isolate: None },
                    );
                    self.kafka.ears.trouble.notify_one();
                    break;
                }
            }
        }
        Some(verdict)
    }
}

impl Guarded {
    /// Why it is beyond repair, if it is. librdkafka reports a fatal error under the code of its
    /// cause, so that only asking tells.
    pub(super) fn fatal(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(_, reason)| reason)
    }

    /// For how long the oldest batch waits for its verdict.
    fn has_waited(&self) -> Option<Duration> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// Lets go of all that it holds. What was sent to Kafka already is the beginning of what waits
    /// in each partition, so that what is sent again repeats events and brings none before another.
    fn give_up(&self) {
        *self.given_up.write().unwrap_or_else(PoisonError::into_inner) += 1;
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// Whether it is beyond repair, and has been in use for long enough to try another one.
    fn is_spent(&self) -> bool {
        self.fatal().is_some() && self.since.elapsed() >= REPLACED_AFTER
    }
}

fn producer(config: &Config, ears: Ears, mode: Mode) -> Result<Guarded, StartError> {
    let attempt_ms = (config.delivery_timeout.as_millis() / 3).clamp(100, 30_000);
    let mut client = config.kafka.client()?;
    match mode {
        // A refusal of any record of a batch stops the producer, so that nothing overtakes the
        // other records of that batch.
        Mode::Batched => client.set("enable.gapless.guarantee", "true"),
        Mode::Single | Mode::SingleUndated => client.set("batch.num.messages", "1"),
    };
    let producer = client
        // No event twice or out of order because of a retry within librdkafka; implies acks=all.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Without end: `Kafka::give_up_in_time` is in its place.
        .set("delivery.timeout.ms", "0")
        // A broker that hangs costs a part of the delivery time-out and not all of it, so that
        // there is time for another attempt. The first of the two is how long the broker may wait
        // for its copies; only the second notices a broker that says nothing at all.
        .set("request.timeout.ms", attempt_ms.to_string())
        .set("socket.timeout.ms", attempt_ms.to_string())
        .set("queue.buffering.max.messages", MAX_RECORDS.to_string())
        // Bytes are bounded by `Kafka::room`.
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", (MAX_RECORD_BYTES + 1024).to_string())
        // Every client of Kafka has it built in, which holds for no other codec. Its lowest level
        // makes a fifth of JSON of one kind.
        .set("compression.type", "gzip")
        .set("compression.level", "1")
        // Where the other clients of Kafka put a key.
        .set("partitioner", "murmur2_random")
        .create_with_context(Reports(ears))
        .map_err(|error| config.kafka.unusable(&error))?;
    Ok(Guarded {
        producer,
        mode,
        since: Instant::now(),
        waiting: Arc::default(),
        given_up: RwLock::new(0),
    })
}

/// What librdkafka tells the producer's owner, on its polling thread.
pub(super) struct Reports(Ears);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => batch.delivered(1),
            Err((error, record)) => {
                self.0.trouble.notify_one();
                batch.failed(error, record.payload().unwrap_or_default());
            }
        }
    }
}
