//! The producer: records in, one verdict for each batch out, and a new producer when the old one is beyond repair.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
};

use super::{Config, meters};
use crate::{connection::Ears, json, proto::LogMessage, rules};

/// The header of a record that holds the event's word, so that consumers can choose without parsing.
pub(crate) const HEADER_EVENT: &str = "event";
/// The header of a record that names the type of its value.
pub(crate) const HEADER_SCHEMA: &str = "schema";
/// The type of the value: its proto3 JSON mapping.
pub(crate) const SCHEMA: &str = "merch.logging.v1.LogMessage";
/// The header of a record that says which of the type's versions its value is of.
pub(crate) const HEADER_SCHEMA_VERSION: &str = "schema_version";
/// Raised by what a consumer of the version before it could not read; members that are added are no such thing.
pub(crate) const SCHEMA_VERSION: &str = "1";
/// The header of a record by which a consumer's spans join the trace of the request that caused the event (W3C Trace Context, level 1).
pub(crate) const HEADER_TRACE: &str = "traceparent";

/// Bytes of the key, the value and the headers of one record: what brokers take by default (`message.max.bytes` is 1,048,588 with the framing).
pub(crate) const MAX_RECORD_BYTES: usize = 1_000_000;
/// Records that librdkafka queues at most; `queue_bytes` is reached before.
const MAX_RECORDS: usize = 10_000_000;

/// A producer is given up no sooner: what is fatal may be so for its successor, too (no permission, say).
const REPLACED_AFTER: Duration = Duration::from_secs(1);

/// An event in the form in which it goes to Kafka.
pub(crate) struct Record {
    key: String,
    value: Vec<u8>,
    headers: OwnedHeaders,
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
}

impl Record {
    /// The record of an event; `Err` says why Kafka could never take it.
    pub(crate) fn new(event: LogMessage) -> Result<Self, String> {
        let value = json::to_vec(&event).map_err(|error| format!("an event that has a JSON form: {error}"))?;
        let timestamp = event
            .time
            .map(|time| time.seconds.saturating_mul(1000) + i64::from(time.nanos / 1_000_000))
            .filter(|timestamp| *timestamp >= 0);
        let headers = OwnedHeaders::new()
            .insert(Header { key: HEADER_EVENT, value: Some(&event.event) })
            .insert(Header { key: HEADER_SCHEMA, value: Some(SCHEMA) })
            .insert(Header { key: HEADER_SCHEMA_VERSION, value: Some(SCHEMA_VERSION) });
        let headers = match traceparent(&event) {
            Some(parent) => headers.insert(Header { key: HEADER_TRACE, value: Some(&parent) }),
            None => headers,
        };
        let key = key(event);
        let record = Self { key, value, headers, timestamp };
        if record.bytes() > MAX_RECORD_BYTES {
            return Err(format!("an event of at most {MAX_RECORD_BYTES} bytes as JSON; it has {}", record.bytes()));
        }
        Ok(record)
    }

    fn bytes(&self) -> usize {
        // The words of the headers are bounded by the contract.
        self.key.len() + self.value.len() + 256
    }
}

/// What decides on the partition, and with it on what stays in order: all that happens to one user or order. Nothing else happens in order; in a rush, the refusals
/// of one product, or of one impatient buyer, would fill a single partition.
fn key(event: LogMessage) -> String {
    if event.subject.starts_with("user:") || event.subject.starts_with("order:") { event.subject } else { event.id }
}

/// The trace context of an event that has a trace id.
///
/// The event says which trace it belongs to and not which span it came from, so it stands for a span of its own, whose id is the last half of the event's: random,
/// and never zero. Whether the trace was recorded is not known either; the flag of that name says "may have been" (W3C Trace Context, 3.2.2.5.1).
fn traceparent(event: &LogMessage) -> Option<String> {
    let id = uuid::Uuid::parse_str(&event.id).ok()?;
    (rules::is_trace_id(&event.trace_id) && event.trace_id.bytes().any(|digit| digit != b'0'))
        .then(|| format!("00-{}-{:016x}-01", event.trace_id, id.as_u64_pair().1))
}

/// What Kafka said of a batch: `Err` is the first reason of those that failed.
pub(crate) type Verdict = Result<(), String>;

/// The way to Kafka.
pub(crate) struct Kafka {
    pub(super) config: Config,
    producer: RwLock<Arc<Guarded>>,
    /// One permit for each byte that may wait.
    room: Arc<Semaphore>,
    /// What librdkafka says of it.
    pub(super) ears: Ears,
}

/// A producer, and since when it is in use.
pub(super) struct Guarded {
    pub(super) producer: ThreadedProducer<Reports>,
    since: Instant,
    waiting: Arc<Waiting>,
    /// How often it was given up. Whoever hands records over holds this, so that none gets behind those that are purged.
    given_up: RwLock<u64>,
}

/// One sender's way to a producer. It ends with what that producer held: what comes after what failed must not overtake it, and is sent again behind it, on
/// another lane.
pub(super) struct Lane {
    kafka: Arc<Kafka>,
    guarded: Weak<Guarded>,
    /// How often the producer had been given up when this began.
    given_up: u64,
    /// Whether a record could not be handed over.
    broken: bool,
}

/// Since when each batch waits for its verdict, by a number that grows: the first one has waited longest.
type Waiting = Mutex<BTreeMap<u64, Instant>>;

impl Kafka {
    pub(super) fn new(config: Config) -> Result<Self, StartError> {
        let ears = Ears::default();
        let producer = producer(&config, ears.clone())?;
        let room = Arc::new(Semaphore::new(config.queue_bytes.clamp(MAX_RECORD_BYTES, Semaphore::MAX_PERMITS)));
        Ok(Self { config, producer: RwLock::new(Arc::new(producer)), room, ears })
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
        // A batch is larger than the room only if somebody configured a tiny one: then it gets all of it.
        let permits = u32::try_from(bytes.min(self.config.queue_bytes.max(MAX_RECORD_BYTES))).unwrap_or(u32::MAX);
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
        let reason = slot.fatal().unwrap_or_default();
        self.replace(&mut slot, &reason);
        Arc::clone(&slot)
    }

    /// Puts a new producer in the place of the one in `slot`. What that one held fails, and is sent again by those who sent it.
    fn replace(&self, slot: &mut Arc<Guarded>, reason: &str) {
        match producer(&self.config, self.ears.clone()) {
            Ok(fresh) => {
                let old = std::mem::replace(slot, Arc::new(fresh));
                meters::REPLACED.inc();
                tracing::warn!(reason, "the Kafka producer is given up and replaced; what it held is sent again");
                let purged = Arc::clone(&old);
                // It waits for its threads.
                if thread::Builder::new().name("kafka-give-up".to_owned()).spawn(move || purged.give_up()).is_err() {
                    old.give_up();
                }
            }
            Err(error) => {
                tracing::error!(%error, reason, "no new Kafka producer can be made; what this one held is sent again");
                slot.give_up();
            }
        }
    }

    /// Gives the producer up once its oldest batch has waited for the delivery time-out: all batches fail together.
    ///
    /// librdkafka's own time-out is each record's. It would let go of the oldest record alone, and write those behind it as soon as Kafka is back, before
    /// their sender has sent the oldest one again.
    pub(super) async fn give_up_in_time(&self) {
        let timeout = self.config.delivery_timeout;
        let pause = (timeout / 40).clamp(Duration::from_millis(10), Duration::from_millis(500));
        loop {
            tokio::time::sleep(pause).await;
            let current = Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner));
            if current.has_waited().is_some_and(|waited| waited >= timeout) {
                let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
                if Arc::ptr_eq(&slot, &current) {
                    self.replace(&mut slot, &format!("Kafka has not taken all of a batch within {timeout:?}"));
                }
            }
        }
    }

    /// Waits until Kafka has acknowledged all that was handed over, or the time is up.
    pub(super) async fn flush(&self, timeout: Duration) {
        let guarded = self.current();
        let flushed =
            spawn_blocking(move || guarded.producer.flush(timeout).map_err(|error| (error, guarded.producer.in_flight_count()))).await;
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
    /// Hands a batch to the producer, in order, once there is room for it. The verdict comes when Kafka has acknowledged all of it or has failed for any of
    /// it, a little after the delivery time-out at the latest. `None` when something before it has failed already: this lane is at its end.
    pub(super) async fn produce(&mut self, records: Vec<Record>) -> Option<oneshot::Receiver<Verdict>> {
        let room = self.kafka.room_for(&records).await;
        let guarded = self.guarded.upgrade()?;
        // What was poisoned by a panic guards as well as before.
        let given_up = guarded.given_up.read().unwrap_or_else(PoisonError::into_inner);
        if self.broken || *given_up != self.given_up {
            return None;
        }
        // From here on nothing waits.
        meters::TAKEN.inc_by(records.len() as u64);
        let (batch, verdict) = Batch::new(records.len(), room, &guarded.waiting);
        let mut records = records.into_iter();
        while let Some(Record { key, value, headers, timestamp }) = records.next() {
            let record = BaseRecord { timestamp, ..BaseRecord::with_opaque_to(&self.kafka.config.topic.name, Arc::clone(&batch)) };
            if let Err((error, _)) = guarded.producer.send(record.key(&key).payload(&value).headers(headers)) {
                self.broken = true;
                batch.report(1 + records.len(), Err(error.to_string()));
                self.kafka.ears.trouble.notify_one();
                break;
            }
        }
        Some(verdict)
    }
}

impl Guarded {
    /// Why it is beyond repair, if it is. librdkafka reports a fatal error under the code of its cause, so that only asking tells.
    pub(super) fn fatal(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(_, reason)| reason)
    }

    /// For how long the oldest batch waits for its verdict.
    fn has_waited(&self) -> Option<Duration> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// Lets go of all that it holds. What was sent to Kafka already is the beginning of what waits in each partition, so that what is sent again repeats
    /// events and brings none before another.
    fn give_up(&self) {
        *self.given_up.write().unwrap_or_else(PoisonError::into_inner) += 1;
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// Whether it is beyond repair, and has been in use for long enough to try another one.
    fn is_spent(&self) -> bool {
        self.fatal().is_some() && self.since.elapsed() >= REPLACED_AFTER
    }
}

fn producer(config: &Config, ears: Ears) -> Result<Guarded, StartError> {
    let attempt_ms = (config.delivery_timeout.as_millis() / 3).clamp(100, 30_000);
    let producer = config
        .kafka
        .client()?
        // No event twice or out of order because of a retry within librdkafka; implies acks=all.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Without end: `Kafka::give_up_in_time` is in its place.
        .set("delivery.timeout.ms", "0")
        // A broker that hangs costs a part of the delivery time-out and not all of it, so that there is time for another attempt. The first of the two is how
        // long the broker may wait for its copies; only the second notices a broker that says nothing at all.
        .set("request.timeout.ms", attempt_ms.to_string())
        .set("socket.timeout.ms", attempt_ms.to_string())
        .set("queue.buffering.max.messages", MAX_RECORDS.to_string())
        // Bytes are bounded by `Kafka::room`.
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", (MAX_RECORD_BYTES + 1024).to_string())
        // JSON of one kind compresses to a fifth, for next to no time.
        .set("compression.type", "lz4")
        // Where the other clients of Kafka put a key.
        .set("partitioner", "murmur2_random")
        .create_with_context(Reports(ears))
        .map_err(|error| config.kafka.unusable(&error))?;
    Ok(Guarded { producer, since: Instant::now(), waiting: Arc::default(), given_up: RwLock::new(0) })
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
            Ok(_) => batch.report(1, Ok(())),
            Err((error, _)) => {
                self.0.trouble.notify_one();
                batch.report(1, Err(error.to_string()));
            }
        }
    }
}

/// Records that are acknowledged together.
pub(super) struct Batch {
    open: AtomicUsize,
    /// Where it waits, and its number there.
    waiting: Arc<Waiting>,
    number: u64,
    outcome: Mutex<Outcome>,
}

struct Outcome {
    failure: Option<String>,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// Free again with the verdict.
    room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    fn new(records: usize, room: Option<OwnedSemaphorePermit>, waiting: &Arc<Waiting>) -> (Arc<Self>, oneshot::Receiver<Verdict>) {
        let (verdict, receiver) = oneshot::channel();
        let outcome = Mutex::new(Outcome { failure: None, verdict: Some(verdict), room });
        let number = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
            waiting.insert(number, Instant::now());
            number
        };
        (Arc::new(Self { open: AtomicUsize::new(records), waiting: Arc::clone(waiting), number, outcome }), receiver)
    }

    /// So many of its records have this verdict.
    fn report(&self, records: usize, verdict: Verdict) {
        match &verdict {
            Ok(()) => meters::DELIVERED.inc_by(records as u64),
            Err(_) => meters::FAILED.inc_by(records as u64),
        }
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(reason) = verdict {
            outcome.failure.get_or_insert(reason);
        }
        if self.open.fetch_sub(records, Ordering::AcqRel) == records {
            outcome.room = None;
            let verdict = outcome.failure.take().map_or(Ok(()), Err);
            if let Some(sender) = outcome.verdict.take() {
                // A stream that is gone does not want to know.
                drop(sender.send(verdict));
            }
        }
    }
}

impl Drop for Batch {
    /// With its last record's verdict, or its records were never handed over.
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_to_one_user_or_order_has_a_key_in_common() {
        let event = |subject: &str| LogMessage {
            id: "its id".to_owned(),
            actor: "user:1".to_owned(),
            subject: subject.to_owned(),
            ..LogMessage::default()
        };
        for (subject, expected) in [("user:2", "user:2"), ("order:3", "order:3"), ("product:4", "its id"), ("", "its id")] {
            assert_eq!(key(event(subject)), expected, "{subject}");
        }
    }

    #[test]
    fn an_event_of_a_trace_carries_its_context() {
        let event = |trace_id: &str| LogMessage {
            id: "01981f3e-7a00-7000-8000-00000000002a".to_owned(),
            trace_id: trace_id.to_owned(),
            ..LogMessage::default()
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(traceparent(&event(trace)).as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-800000000000002a-01"));
        for none in ["", "00000000000000000000000000000000", "0AF7651916CD43DD8448EB211C80319C"] {
            assert_eq!(traceparent(&event(none)), None, "{none}");
        }
    }
}
