//! Records that are acknowledged together, and what Kafka says of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rdkafka::error::KafkaError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    error_class::{ErrorClass, classify},
    meters,
};
use crate::json;

/// Since when each batch waits for its verdict, by a number that grows: the first one has waited
/// longest.
pub(super) type Waiting = Mutex<BTreeMap<u64, Instant>>;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// Many at once: the usual way. When Kafka refuses one record, it refuses all that came with
    /// it, and the producer stops.
    Batched,
    /// One at a time, so that a refusal is one record's. For a while after a refusal.
    Single,
    /// One at a time and without a timestamp, so that no clock can be the reason of a refusal.
    SingleUndated,
}

/// An event that Kafka refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its id.
    pub(super) id: String,
    /// Its word.
    pub(super) event: String,
    /// Its subject.
    pub(super) subject: String,
    /// Kafka's words.
    pub(super) reason: String,
}

/// Why a batch is not on the topic, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The first reason.
    pub(super) reason: String,
    /// Kafka refuses a record of it: the mode in which the next attempt shows which.
    pub(super) isolate: Option<Mode>,
}

/// What Kafka said of a batch: the events that it refused for good, usually none, when it took all
/// others.
pub(super) type Verdict = Result<Vec<Refused>, Failure>;

/// Records that are acknowledged together.
pub(super) struct Batch {
    open: AtomicUsize,
    mode: Mode,
    /// Where it waits, and its number there.
    waiting: Arc<Waiting>,
    number: u64,
    outcome: Mutex<Outcome>,
}

struct Outcome {
    failure: Option<Failure>,
    refused: Vec<Refused>,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// Free again with the verdict.
    room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(super) fn new(
        records: usize,
        mode: Mode,
        room: Option<OwnedSemaphorePermit>,
        waiting: &Arc<Waiting>,
    ) -> (Arc<Self>, oneshot::Receiver<Verdict>) {
        let (verdict, receiver) = oneshot::channel();
        let outcome = Mutex::new(Outcome {
            failure: None,
            refused: Vec::new(),
            verdict: Some(verdict),
            room,
        });
        let number = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
            waiting.insert(number, Instant::now());
            number
        };
        let batch = Self {
            open: AtomicUsize::new(records),
            mode,
            waiting: Arc::clone(waiting),
            number,
            outcome,
        };
        (Arc::new(batch), receiver)
    }

    /// Kafka has this many of its records.
    pub(super) fn delivered(&self, records: usize) {
        meters::DELIVERED.inc_by(records as u64);
        self.settle(records, |_| {});
    }

    /// Kafka failed for one of its records, whose value this is.
    pub(super) fn failed(&self, error: &KafkaError, value: &[u8]) {
        let class = error.rdkafka_error_code().map_or(ErrorClass::Retryable, classify);
        let isolate = match (class, self.mode) {
            (ErrorClass::Retryable, _) => None,
            (ErrorClass::Refused, Mode::Batched) => Some(Mode::Single),
            (ErrorClass::TimestampRefused, Mode::Batched | Mode::Single) => {
                Some(Mode::SingleUndated)
            }
            (ErrorClass::Refused, Mode::Single | Mode::SingleUndated)
            | (ErrorClass::TimestampRefused, Mode::SingleUndated) => {
                return self.refused(error, value);
            }
        };
        self.lost(1, Failure { reason: error.to_string(), isolate });
    }

    /// Kafka refused one of its records for good, whatever came with it; the value says which.
    pub(super) fn refused(&self, error: &KafkaError, value: &[u8]) {
        let reason = error.to_string();
        // What was written as JSON can be read as such.
        match json::from_slice(value) {
            Ok(event) => {
                let refused =
                    Refused { id: event.id, event: event.event, subject: event.subject, reason };
                self.settle(1, |outcome| outcome.refused.push(refused));
            }
            Err(_) => self.lost(1, Failure { reason, isolate: None }),
        }
    }

    /// This many of its records are not on the topic, and may be later.
    pub(super) fn lost(&self, records: usize, failure: Failure) {
        meters::FAILED.inc_by(records as u64);
        self.settle(records, |outcome| {
            let first = outcome.failure.get_or_insert_with(|| failure.clone());
            // Once one record is refused, others may fail for that alone.
            first.isolate = first.isolate.max(failure.isolate);
        });
    }

    /// This many of its records are done with.
    fn settle(&self, records: usize, note: impl FnOnce(&mut Outcome)) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut outcome);
        if self.open.fetch_sub(records, Ordering::AcqRel) == records {
            outcome.room = None;
            let refused = std::mem::take(&mut outcome.refused);
            let verdict = outcome.failure.take().map_or(Ok(refused), Err);
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
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;
    use crate::proto::LogMessage;

    fn batch(mode: Mode, records: usize) -> (Arc<Batch>, oneshot::Receiver<Verdict>) {
        Batch::new(records, mode, None, &Arc::default())
    }

    fn error(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::MessageProduction(code)
    }

    fn value(id: &str) -> Vec<u8> {
        json::to_vec(&LogMessage {
            id: id.to_owned(),
            event: "order_placed".to_owned(),
            ..LogMessage::default()
        })
        .unwrap()
    }

    #[test]
    fn a_refusal_among_many_asks_for_another_attempt_one_at_a_time() {
        for (code, expected) in [
            (RDKafkaErrorCode::InvalidRecord, Some(Mode::Single)),
            (RDKafkaErrorCode::InvalidTimestamp, Some(Mode::SingleUndated)),
            (RDKafkaErrorCode::TopicAuthorizationFailed, None),
            (RDKafkaErrorCode::PurgeQueue, None),
        ] {
            let (batch, mut verdict) = batch(Mode::Batched, 4);
            batch.delivered(1);
            // Those behind it are purged; which delivery report comes first does not matter.
            batch.failed(&error(RDKafkaErrorCode::PurgeQueue), &value("a"));
            batch.failed(&error(code), &value("b"));
            batch.failed(&error(RDKafkaErrorCode::InvalidDifferentRecord), &value("c"));
            let failure = verdict.try_recv().unwrap().unwrap_err();
            assert_eq!(failure.isolate, expected.or(Some(Mode::Single)), "{code:?}");
        }
    }

    #[test]
    fn a_record_that_is_refused_alone_fails_alone() {
        let (batch, mut verdict) = batch(Mode::Single, 3);
        batch.delivered(1);
        batch.failed(&error(RDKafkaErrorCode::MessageSizeTooLarge), &value("b"));
        batch.delivered(1);
        let refused = verdict.try_recv().unwrap().unwrap();
        assert_eq!(refused.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(refused[0].reason.contains("MessageSizeTooLarge"), "{refused:?}");
    }

    #[test]
    fn a_timestamp_is_refused_for_good_only_where_there_is_none() {
        let refusal = |mode| {
            let (batch, mut verdict) = batch(mode, 1);
            batch.failed(&error(RDKafkaErrorCode::InvalidTimestamp), &value("a"));
            verdict.try_recv().unwrap().map_err(|failure| failure.isolate)
        };
        assert_eq!(refusal(Mode::Single), Err(Some(Mode::SingleUndated)));
        assert_eq!(refusal(Mode::SingleUndated).unwrap().len(), 1);
    }
}
