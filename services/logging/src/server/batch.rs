use std::{
    collections::BTreeMap,
    ops::DerefMut,
    sync::{Arc, PoisonError},
};

use rdkafka::error::KafkaError;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    error_class::{ErrorClass, classify},
    metrics,
};
use crate::{json, sync::Mutex};

/// The batches of a producer that have no result.
#[derive(Debug, Default)]
pub(super) struct PendingBatches {
    /// Start times by batch number; the first entry is the oldest.
    started: Mutex<BTreeMap<u64, Instant>>,
    /// The mode that finds the refused records of all batches so far. A batch that is never
    /// reported may wait for a record that Kafka refused.
    isolate: Mutex<Option<ProduceMode>>,
}

impl PendingBatches {
    fn started(&self) -> impl DerefMut<Target = BTreeMap<u64, Instant>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of a new batch.
    fn start(&self) -> u64 {
        let mut started = self.started();
        let number = started.last_key_value().map_or(0, |(last, _)| last + 1);
        started.insert(number, Instant::now());
        number
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.started().first_key_value().map(|(_, since)| *since)
    }

    pub(super) fn isolate(&self) -> Option<ProduceMode> {
        *self.isolate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_isolate(&self, mode: Option<ProduceMode>) {
        let mut isolate = self.isolate.lock().unwrap_or_else(PoisonError::into_inner);
        *isolate = mode.max(*isolate);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProduceMode {
    /// If Kafka refuses one record, it refuses the batch, and the producer stops.
    Batched,
    /// One record per batch, so a refusal concerns that record.
    Single,
    /// Like `Single`, without timestamps, so that a sender's clock cannot cause a refusal.
    SingleNoTimestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedRecord {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) subject: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchFailure {
    pub(super) reason: String,
    /// The mode that finds the refused record on the next attempt.
    pub(super) isolate: Option<ProduceMode>,
}

/// The permanently refused records if Kafka stored all others; otherwise the failure.
pub(super) type BatchResult = Result<Vec<RefusedRecord>, BatchFailure>;

pub(crate) struct Batch {
    mode: ProduceMode,
    pending: Arc<PendingBatches>,
    number: u64,
    state: Mutex<BatchState>,
}

struct BatchState {
    /// Records without a report.
    remaining: usize,
    failure: Option<BatchFailure>,
    refused: Vec<RefusedRecord>,
    result: Option<oneshot::Sender<BatchResult>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(super) fn new(
        records: usize,
        mode: ProduceMode,
        permit: Option<OwnedSemaphorePermit>,
        pending: &Arc<PendingBatches>,
    ) -> (Arc<Self>, oneshot::Receiver<BatchResult>) {
        let (result, receiver) = oneshot::channel();
        let state = Mutex::new(BatchState {
            remaining: records,
            failure: None,
            refused: Vec::new(),
            result: Some(result),
            permit,
        });
        let (pending, number) = (Arc::clone(pending), pending.start());
        let batch = Self { mode, pending, number, state };
        (Arc::new(batch), receiver)
    }

    pub(crate) fn delivered(&self, records: usize) {
        metrics::DELIVERED.inc_by(records as u64);
        self.complete(records, |_| {});
    }

    pub(crate) fn delivery_failed(&self, error: &KafkaError, value: &[u8]) {
        let class = error.rdkafka_error_code().map_or(ErrorClass::Retryable, classify);
        let isolate = match (class, self.mode) {
            (ErrorClass::Retryable, _) => None,
            (ErrorClass::Refused, ProduceMode::Batched) => Some(ProduceMode::Single),
            (ErrorClass::TimestampRefused, ProduceMode::Batched | ProduceMode::Single) => {
                Some(ProduceMode::SingleNoTimestamp)
            }
            (ErrorClass::Refused, ProduceMode::Single | ProduceMode::SingleNoTimestamp)
            | (ErrorClass::TimestampRefused, ProduceMode::SingleNoTimestamp) => {
                return self.refused(error, value);
            }
        };
        self.fail(1, BatchFailure { reason: error.to_string(), isolate });
    }

    pub(super) fn refused(&self, error: &KafkaError, value: &[u8]) {
        let reason = error.to_string();
        match json::from_slice(value) {
            Ok(event) => {
                let refused = RefusedRecord {
                    id: event.id,
                    event: event.event,
                    subject: event.subject,
                    reason,
                };
                self.complete(1, |state| state.refused.push(refused));
            }
            Err(_) => self.fail(1, BatchFailure { reason, isolate: None }),
        }
    }

    pub(super) fn fail(&self, records: usize, failure: BatchFailure) {
        metrics::FAILED.inc_by(records as u64);
        self.pending.set_isolate(failure.isolate);
        self.complete(records, |state| {
            let first = state.failure.get_or_insert_with(|| failure.clone());
            // After the first failure, other records fail as a consequence.
            first.isolate = first.isolate.max(failure.isolate);
        });
    }

    fn complete(&self, records: usize, update: impl FnOnce(&mut BatchState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        update(&mut state);
        state.remaining -= records;
        if state.remaining == 0 {
            state.permit = None;
            let refused = std::mem::take(&mut state.refused);
            let result = state.failure.take().map_or(Ok(refused), Err);
            if let Some(sender) = state.result.take() {
                drop(sender.send(result));
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.pending.started().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;
    use crate::proto::LogMessage;

    fn batch(mode: ProduceMode, records: usize) -> (Arc<Batch>, oneshot::Receiver<BatchResult>) {
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
    fn refusal_in_a_batch_requests_single_mode() {
        for (code, expected) in [
            (RDKafkaErrorCode::InvalidRecord, Some(ProduceMode::Single)),
            (RDKafkaErrorCode::InvalidTimestamp, Some(ProduceMode::SingleNoTimestamp)),
            (RDKafkaErrorCode::TopicAuthorizationFailed, None),
            (RDKafkaErrorCode::PurgeQueue, None),
        ] {
            let (batch, mut result) = batch(ProduceMode::Batched, 4);
            batch.delivered(1);
            // Delivery reports may come in any order.
            batch.delivery_failed(&error(RDKafkaErrorCode::PurgeQueue), &value("a"));
            batch.delivery_failed(&error(code), &value("b"));
            batch.delivery_failed(&error(RDKafkaErrorCode::InvalidDifferentRecord), &value("c"));
            let failure = result.try_recv().unwrap().unwrap_err();
            assert_eq!(failure.isolate, expected.or(Some(ProduceMode::Single)), "{code:?}");
        }
    }

    #[test]
    fn refused_single_record_does_not_fail_its_batch() {
        let (batch, mut result) = batch(ProduceMode::Single, 3);
        batch.delivered(1);
        batch.delivery_failed(&error(RDKafkaErrorCode::MessageSizeTooLarge), &value("b"));
        batch.delivered(1);
        let refused = result.try_recv().unwrap().unwrap();
        assert_eq!(refused.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(refused[0].reason.contains("MessageSizeTooLarge"), "{refused:?}");
    }

    #[test]
    fn timestamp_refusal_is_permanent_only_without_timestamp() {
        let refusal = |mode| {
            let (batch, mut result) = batch(mode, 1);
            batch.delivery_failed(&error(RDKafkaErrorCode::InvalidTimestamp), &value("a"));
            result.try_recv().unwrap().map_err(|failure| failure.isolate)
        };
        assert_eq!(refusal(ProduceMode::Single), Err(Some(ProduceMode::SingleNoTimestamp)));
        assert_eq!(refusal(ProduceMode::SingleNoTimestamp).unwrap().len(), 1);
    }
}
