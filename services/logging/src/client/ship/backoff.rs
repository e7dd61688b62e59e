//! Exponential backoff with jitter: clients do not reconnect together.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: StdRng,
}

impl Backoff {
    /// Senders need different seeds.
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max, next: min, random: StdRng::seed_from_u64(seed) }
    }

    /// Returns 50 to 100 % of the current delay, which doubles.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next.min(self.max);
        self.next = (delay * 2).min(self.max);
        delay.mul_f64(self.random.random_range(0.5..=1.0))
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
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), 7);
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
