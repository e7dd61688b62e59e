use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::proto::LogMessage;

struct Sent<P> {
    sequence: u64,
    /// Kept in case they become dead letters.
    events: Vec<(P, LogMessage)>,
}

pub(super) struct Window<P> {
    sent: VecDeque<Sent<P>>,
    /// Whether events were acknowledged that are not settled.
    settling: bool,
    events: usize,
    /// Sequence of the last request, or 0.
    sequence: u64,
    acknowledged: u64,
    /// Time of the last acknowledgement, or when the window was last empty.
    last_progress: Instant,
}

#[derive(Debug)]
pub(super) struct UnknownSequence {
    pub(super) acknowledged: u64,
    pub(super) last_sent: u64,
}

impl<P> Window<P> {
    pub(super) fn new() -> Self {
        Self {
            sent: VecDeque::new(),
            settling: false,
            events: 0,
            sequence: 0,
            acknowledged: 0,
            last_progress: Instant::now(),
        }
    }

    pub(super) fn push(&mut self, events: Vec<(P, LogMessage)>) -> u64 {
        if self.sent.is_empty() {
            self.last_progress = Instant::now();
        }
        self.sequence += 1;
        self.events += events.len();
        self.sent.push_back(Sent { sequence: self.sequence, events });
        self.sequence
    }

    /// Returns the events that are acknowledged now. Until [`settle`](Self::settle), they count as
    /// one request in flight: a later event must not be acknowledged before them.
    pub(super) fn acknowledge(
        &mut self,
        sequence: u64,
    ) -> Result<Vec<(P, LogMessage)>, UnknownSequence> {
        if sequence > self.sequence {
            return Err(UnknownSequence { acknowledged: sequence, last_sent: self.sequence });
        }
        let mut events = Vec::new();
        while self.sent.front().is_some_and(|request| request.sequence <= sequence) {
            if let Some(request) = self.sent.pop_front() {
                events.extend(request.events);
            }
        }
        self.events -= events.len();
        self.settling |= !events.is_empty();
        if sequence > self.acknowledged {
            self.acknowledged = sequence;
            self.last_progress = Instant::now();
        }
        Ok(events)
    }

    /// The acknowledged events are with the shipper, or dead letters.
    pub(super) fn settle(&mut self) {
        self.settling = false;
    }

    pub(super) fn has_progressed(&self) -> bool {
        self.acknowledged > 0
    }

    pub(super) fn requests(&self) -> usize {
        self.sent.len() + usize::from(self.settling)
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Returns the time of the oldest event in flight, in seconds since 1970, or 0.
    pub(super) fn oldest_seconds(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole seconds of our time are exact in an f64"
        )]
        self.sent
            .front()
            .and_then(|request| request.events.first())
            .and_then(|(_, event)| event.time.as_ref())
            .map_or(0.0, |time| time.seconds as f64)
    }

    pub(super) fn stall_deadline(&self, timeout: Duration) -> Option<Instant> {
        (!self.sent.is_empty()).then(|| self.last_progress + timeout)
    }

    pub(super) fn into_single(mut self) -> Option<(P, LogMessage)> {
        if self.events != 1 {
            return None;
        }
        self.sent.pop_front()?.events.pop()
    }
}

/// Limit of events in a request.
///
/// A refusal halves the limit and allows one request in flight; each success doubles the limit. One
/// refused event among a thousand costs about ten short streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchLimit {
    full: usize,
    reduced: Option<usize>,
}

impl BatchLimit {
    pub(super) fn new(events: usize) -> Self {
        Self { full: events, reduced: None }
    }

    pub(super) fn events(&self) -> usize {
        self.reduced.unwrap_or(self.full)
    }

    pub(super) fn requests(&self, max: usize) -> usize {
        if self.reduced.is_some() { 1 } else { max }
    }

    pub(super) fn halve(&mut self, events: usize) {
        self.reduced = Some((events / 2).clamp(1, self.full));
    }

    pub(super) fn grow(&mut self) {
        self.reduced = self.reduced.map(|events| events * 2).filter(|events| *events < self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_cumulative_and_ordered() {
        let mut window = Window::new();
        let event = |position| (position, LogMessage::default());
        assert_eq!(window.push(vec![event(1), event(2)]), 1);
        assert_eq!(window.push(vec![event(3)]), 2);
        assert_eq!(window.push(vec![event(5)]), 3);
        assert_eq!(window.acknowledge(0).unwrap(), []);
        assert_eq!(window.acknowledge(2).unwrap(), [event(1), event(2), event(3)]);
        assert_eq!(window.acknowledge(1).unwrap(), []);
        assert_eq!((window.requests(), window.events()), (2, 1), "not settled");
        window.settle();
        assert_eq!((window.requests(), window.events()), (1, 1));
        assert!(window.acknowledge(4).is_err());
        assert!(window.into_single().is_some());
    }

    #[test]
    fn batch_limit_halves_and_doubles() {
        let mut limit = BatchLimit::new(500);
        limit.halve(1200);
        assert_eq!((limit.events(), limit.requests(16)), (500, 1));
        limit.halve(500);
        limit.halve(250);
        limit.halve(1);
        assert_eq!(limit.events(), 1);
        for expected in [2, 4, 8, 16, 32, 64, 128, 256] {
            limit.grow();
            assert_eq!((limit.events(), limit.requests(16)), (expected, 1));
        }
        limit.grow();
        assert_eq!(limit, BatchLimit::new(500));
    }
}
