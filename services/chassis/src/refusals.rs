//! Log lines about refusals, at a bounded rate.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The time between two log lines.
const QUIET: Duration = Duration::from_secs(1);

/// Refusals of one kind, of which at most one log line a second is written.
///
/// The count covers refusals for every reason; the reason in the line is that of the last one.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Refusals since the last log line.
    unlogged: u64,
    last_line: Option<Instant>,
}

impl Refusals {
    /// Creates a count of zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { unlogged: 0, last_line: None }))
    }

    /// Counts one refusal. Returns how many there were since the last log line, with this one, if
    /// another line is due.
    pub fn one_more(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now())
    }
}

impl State {
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.last_line.is_some_and(|last| now.duration_since(last) < QUIET) {
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_a_second_with_its_size() {
        let (mut refusals, start) = (State::default(), Instant::now());
        assert_eq!(refusals.one_more(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.one_more(start + QUIET / 2), None);
        }
        assert_eq!(refusals.one_more(start + QUIET), Some(1001));
        assert_eq!(refusals.one_more(start + QUIET), None);
    }
}
