//! What must be true of the topic, and of each response (`logging.proto`).

use std::collections::{BTreeMap, BTreeSet};

use simulator::locked;
use tonic::{Code, Status};

use super::{EventKind, kafka::Stored, network::World};
use crate::proto::{LogMessage, RefusedEvent, StreamLogsRequest, StreamLogsResponse};

struct Written {
    position: u64,
    kind: EventKind,
    /// Sender and subject.
    subject: (usize, usize),
}

/// The topic, and the events that may come there.
pub(super) struct Topic {
    pub(super) partitions: Vec<Vec<Stored>>,
    written: BTreeMap<String, Written>,
    /// Whether a stream ended with an error.
    has_failed: bool,
}

impl Topic {
    pub(super) fn new(partitions: usize) -> Self {
        let partitions = vec![Vec::new(); partitions];
        Self { partitions, written: BTreeMap::new(), has_failed: false }
    }

    pub(super) fn written(
        &mut self,
        position: u64,
        kind: EventKind,
        subject: (usize, usize),
        event: &LogMessage,
    ) {
        self.written.insert(event.id.clone(), Written { position, kind, subject });
    }

    pub(super) fn kind(&self, id: &str) -> EventKind {
        self.written.get(id).map_or(EventKind::Invalid, |written| written.kind)
    }

    pub(super) fn subject(&self, id: &str) -> Option<(usize, usize)> {
        self.written
            .get(id)
            .map(|written| written.subject)
            .filter(|(sender, _)| *sender != usize::MAX)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.partitions
            .iter()
            .flatten()
            .any(|stored| matches!(stored, Stored::Event(event) if event == id))
    }

    fn names_dead_letter(&self, id: &str) -> bool {
        self.partitions
            .iter()
            .flatten()
            .any(|stored| matches!(stored, Stored::DeadLetter(event) if event == id))
    }
}

/// A stream, as the service sees it.
pub(super) struct Stream {
    is_probe: bool,
    /// The ids of each request.
    requests: Vec<Vec<String>>,
    acknowledged: usize,
    has_failed: bool,
    /// The client has closed its side.
    pub(super) is_closed: bool,
}

impl Stream {
    pub(super) fn new(is_probe: bool) -> Self {
        Self {
            is_probe,
            requests: Vec::new(),
            acknowledged: 0,
            has_failed: false,
            is_closed: false,
        }
    }

    pub(super) fn received(&mut self, request: &StreamLogsRequest) {
        self.requests.push(request.messages.iter().map(|event| event.id.clone()).collect());
    }
}

impl World {
    pub(super) fn check_response(
        &self,
        stream: &mut Stream,
        response: &Result<StreamLogsResponse, Status>,
    ) {
        match response {
            Ok(StreamLogsResponse { acknowledged_sequence, refused }) => {
                self.history.note(format!(
                    "acknowledged: {acknowledged_sequence}, with {} refused",
                    refused.len()
                ));
                self.check_acknowledged(stream, *acknowledged_sequence, refused);
            }
            Err(status) => {
                self.history.note(format!("a stream ends: {status:?}"));
                stream.has_failed = true;
                locked(&self.topic).has_failed |= !stream.is_probe;
                let is_expected = match status.code() {
                    Code::Unavailable => true,
                    // The sender keeps the contract.
                    code => code == Code::InvalidArgument && stream.is_probe,
                };
                if !is_expected {
                    self.broken(format!("a stream ends: {status:?}"));
                }
            }
        }
    }

    fn check_acknowledged(&self, stream: &mut Stream, sequence: u64, refused: &[RefusedEvent]) {
        let sequence = usize::try_from(sequence).unwrap_or(usize::MAX);
        if sequence <= stream.acknowledged || sequence > stream.requests.len() {
            self.broken(format!(
                "request {sequence} is acknowledged after {}, of {}",
                stream.acknowledged,
                stream.requests.len()
            ));
            return;
        }
        let mut refused: BTreeSet<&str> = refused.iter().map(|event| event.id.as_str()).collect();
        let topic = locked(&self.topic);
        let mut broken = Vec::new();
        for id in stream.requests[stream.acknowledged..sequence].iter().flatten() {
            let (is_refused, is_stored) = (refused.remove(id.as_str()), topic.has(id));
            let kind = topic.kind(id);
            if is_refused && !matches!(kind, EventKind::Refused | EventKind::TooLarge) {
                broken.push(format!("event {id} is refused, and valid"));
            }
            if is_refused && !topic.names_dead_letter(id) {
                broken.push(format!("event {id} is refused, and no event names it"));
            }
            if !is_refused && !is_stored {
                broken.push(format!("event {id} is acknowledged, and not stored"));
            }
        }
        drop(topic);
        broken.extend(refused.iter().map(|id| format!("unknown event {id} is refused")));
        broken.into_iter().for_each(|text| self.broken(text));
        stream.acknowledged = sequence;
    }

    /// The service closes its side without an error.
    pub(super) fn check_end(&self, stream: &Stream) {
        if !stream.has_failed && stream.is_closed && stream.acknowledged < stream.requests.len() {
            self.broken(format!(
                "the service closes a stream after {} of {} requests",
                stream.acknowledged,
                stream.requests.len()
            ));
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.senders.iter().all(|sender| {
            let sender = locked(sender);
            sender.events.last_key_value().is_none_or(|(last, _)| sender.acknowledged == *last)
        })
    }

    pub(super) fn check_promises(&self, is_faultless: bool) {
        let topic = locked(&self.topic);
        let mut broken = Vec::new();
        let mut dead_letters = BTreeSet::new();
        for sender in &self.senders {
            dead_letters.extend(locked(sender).dead_letters.iter().copied());
        }
        let mut has_refusals = false;
        for (id, Written { position, kind, subject }) in &topic.written {
            if subject.0 == usize::MAX {
                continue;
            }
            let (is_stored, is_dead) = (topic.has(id), dead_letters.contains(position));
            let is_valid = matches!(kind, EventKind::Valid | EventKind::BadTimestamp);
            has_refusals |= *kind != EventKind::Valid;
            if is_valid && !is_stored {
                broken.push(format!("promise 4: event {position} is not on the topic"));
            }
            if is_valid == is_dead {
                broken.push(format!("event {position} is {kind:?}; a dead letter: {is_dead}"));
            }
            if !is_valid && is_stored {
                broken.push(format!("event {position} is {kind:?}, and on the topic"));
            }
        }
        let mut first: BTreeMap<(usize, usize), Vec<u64>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut repeated = 0;
        for stored in topic.partitions.iter().flatten() {
            let Stored::Event(id) = stored else { continue };
            let Written { position, subject, .. } = &topic.written[id];
            if seen.insert(id) {
                first.entry(*subject).or_default().push(*position);
            } else {
                repeated += 1;
            }
        }
        for ((sender, subject), positions) in first {
            if sender != usize::MAX && !positions.is_sorted() {
                broken.push(format!(
                    "promise 4: the events of sender {sender} and subject {subject} are on the \
                     topic in the order {positions:?}"
                ));
            }
        }
        if is_faultless && !has_refusals && (repeated > 0 || topic.has_failed) {
            broken.push(format!("without a fault, {repeated} events are sent twice"));
        }
        drop(topic);
        if !self.is_drained() {
            broken.push("events are never acknowledged".to_owned());
        }
        broken.into_iter().for_each(|text| self.broken(text));
    }
}
