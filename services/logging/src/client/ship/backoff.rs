//! Exponential backoff with jitter: clients do not reconnect together.

use std::time::Duration;

pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// Returns 50 to 100 % of the current delay, which doubles.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next.min(self.max);
        self.next = (delay * 2).min(self.max);
        delay.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_to_max_and_resets() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        for expected in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let delay = backoff.next();
            assert!(
                delay >= Duration::from_millis(expected) / 2
                    && delay <= Duration::from_millis(expected),
                "{delay:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(50));
    }
}
