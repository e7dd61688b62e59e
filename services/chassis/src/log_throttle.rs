use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Limits log lines about one kind of event to one per second.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    unlogged: u64,
    last_line: Option<Instant>,
}

impl LogThrottle {
    /// Creates a throttle without events.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { unlogged: 0, last_line: None }))
    }

    /// Counts an event. If a line is due, returns the events since the last line, with this one.
    pub fn record(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(Instant::now())
    }
}

impl State {
    fn record(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.last_line.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL) {
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
    fn flood_is_logged_once_a_second_with_its_count() {
        let (mut throttle, start) = (State::default(), Instant::now());
        assert_eq!(throttle.record(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(throttle.record(start + LOG_INTERVAL / 2), None);
        }
        assert_eq!(throttle.record(start + LOG_INTERVAL), Some(1001));
        assert_eq!(throttle.record(start + LOG_INTERVAL), None);
    }
}
