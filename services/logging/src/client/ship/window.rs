//! What is under way on one stream, and how much may be.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::proto::LogMessage;

/// A request that has been sent.
struct Sent<P> {
    sequence: u64,
    /// Each event with its position: one that is refused becomes a dead letter from here.
    events: Vec<(P, LogMessage)>,
}

/// The requests of one stream that are not acknowledged.
pub(super) struct Window<P> {
    sent: VecDeque<Sent<P>>,
    events: usize,
    /// The number of the last request, 0 before the first.
    sequence: u64,
    acknowledged: u64,
    /// The last time at which there was nothing to wait for, or something was acknowledged.
    progress: Instant,
}

/// The service acknowledged a request that was never sent.
#[derive(Debug)]
pub(super) struct NeverSent {
    pub(super) acknowledged: u64,
    pub(super) last_sent: u64,
}

impl<P> Window<P> {
    pub(super) fn new() -> Self {
        Self {
            sent: VecDeque::new(),
            events: 0,
            sequence: 0,
            acknowledged: 0,
            progress: Instant::now(),
        }
    }

    /// Takes the next number for a request of these events.
    pub(super) fn push(&mut self, events: Vec<(P, LogMessage)>) -> u64 {
        if self.sent.is_empty() {
            self.progress = Instant::now();
        }
        self.sequence += 1;
        self.events += events.len();
        self.sent.push_back(Sent { sequence: self.sequence, events });
        self.sequence
    }

    /// The service has acknowledged all requests up to this one: their events.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> Result<Vec<(P, LogMessage)>, NeverSent> {
        if sequence > self.sequence {
            return Err(NeverSent { acknowledged: sequence, last_sent: self.sequence });
        }
        let mut events = Vec::new();
        while self.sent.front().is_some_and(|request| request.sequence <= sequence) {
            if let Some(request) = self.sent.pop_front() {
                events.extend(request.events);
            }
        }
        self.events -= events.len();
        if sequence > self.acknowledged {
            self.acknowledged = sequence;
            self.progress = Instant::now();
        }
        Ok(events)
    }

    /// Whether any request of this stream was acknowledged.
    pub(super) fn has_progressed(&self) -> bool {
        self.acknowledged > 0
    }

    pub(super) fn requests(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// The time of the oldest event under way, in seconds since 1970; 0 if there is none.
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

    /// When the service has been silent for too long; never if nothing is under way.
    pub(super) fn stalls_at(&self, timeout: Duration) -> Option<Instant> {
        (!self.sent.is_empty()).then(|| self.progress + timeout)
    }

    /// The event under way and its position, if there is exactly one.
    pub(super) fn into_alone(mut self) -> Option<(P, LogMessage)> {
        if self.events != 1 {
            return None;
        }
        self.sent.pop_front()?.events.pop()
    }
}

/// How many events one request may hold; and whether there may be more requests than one.
///
/// After a refusal the pace is slow: half of the events at a time, one request at a time, until the
/// event at fault is alone. Each success doubles it, so that one bad event among a thousand costs
/// about ten short streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pace {
    full: usize,
    slow: Option<usize>,
}

impl Pace {
    pub(super) fn full(events: usize) -> Self {
        Self { full: events, slow: None }
    }

    /// Events in the next request.
    pub(super) fn events(&self) -> usize {
        self.slow.unwrap_or(self.full)
    }

    /// Requests under way.
    pub(super) fn requests(&self, at_full: usize) -> usize {
        if self.slow.is_some() { 1 } else { at_full }
    }

    /// So many events were under way when the service refused one of them.
    pub(super) fn halve(&mut self, events: usize) {
        self.slow = Some((events / 2).clamp(1, self.full));
    }

    /// The service took a request.
    pub(super) fn accepted(&mut self) {
        self.slow = self.slow.map(|events| events * 2).filter(|events| *events < self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_cumulative_and_in_order() {
        let mut window = Window::new();
        let event = |position| (position, LogMessage::default());
        assert_eq!(window.push(vec![event(1), event(2)]), 1);
        assert_eq!(window.push(vec![event(3)]), 2);
        assert_eq!(window.push(vec![event(5)]), 3);
        assert_eq!(window.acknowledge(0).unwrap(), []);
        assert_eq!(window.acknowledge(2).unwrap(), [event(1), event(2), event(3)]);
        assert_eq!(window.acknowledge(1).unwrap(), []);
        assert_eq!((window.requests(), window.events()), (1, 1));
        assert!(window.acknowledge(4).is_err());
        assert!(window.into_alone().is_some());
    }

    #[test]
    fn the_pace_halves_and_doubles() {
        let mut pace = Pace::full(500);
        pace.halve(1200);
        assert_eq!((pace.events(), pace.requests(16)), (500, 1));
        pace.halve(500);
        pace.halve(250);
        pace.halve(1);
        assert_eq!(pace.events(), 1);
        for expected in [2, 4, 8, 16, 32, 64, 128, 256] {
            pace.accepted();
            assert_eq!((pace.events(), pace.requests(16)), (expected, 1));
        }
        pace.accepted();
        assert_eq!(pace, Pace::full(500));
    }
}
