//! The rate limits of this process. The db service limits the attempts for an account.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::{Caller, network};

/// A burst of attempts, and then one more after each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Attempts allowed at once.
    pub burst: NonZeroU32,
    /// The time after which one more is allowed; not zero.
    pub period: Duration,
}

impl Rate {
    /// Creates a rate of `burst` attempts, and one more after each `period`.
    #[must_use]
    pub const fn new(burst: NonZeroU32, period: Duration) -> Self {
        Self { burst, period }
    }

    fn quota(self) -> Quota {
        let period = self.period.max(Duration::from_nanos(1));
        Quota::with_period(period).expect("the period is not zero").allow_burst(self.burst)
    }
}

/// Each request counts before any work. A refusal writes no log event and calls no db service: a
/// flood costs neither disk nor an account's budget.
pub(crate) struct RateLimits {
    log_ins: NetworkLimiter,
    registrations: NetworkLimiter,
    user_updates: NetworkLimiter,
    password_changes: NetworkLimiter,
    writes: DefaultKeyedRateLimiter<Caller>,
    clock: DefaultClock,
}

type NetworkLimiter = DefaultKeyedRateLimiter<IpAddr>;

impl RateLimits {
    pub(crate) fn new(log_ins: Rate, registrations: Rate, writes: Rate) -> Self {
        Self {
            log_ins: RateLimiter::keyed(log_ins.quota()),
            registrations: RateLimiter::keyed(registrations.quota()),
            user_updates: RateLimiter::keyed(registrations.quota()),
            password_changes: RateLimiter::keyed(log_ins.quota()),
            writes: RateLimiter::keyed(writes.quota()),
            clock: DefaultClock::default(),
        }
    }

    /// # Errors
    /// The time to wait, if the rate is exceeded.
    pub(crate) fn log_in(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.log_ins, peer)
    }

    /// # Errors
    /// The time to wait, if the rate is exceeded.
    pub(crate) fn registration(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.registrations, peer)
    }

    /// Has the rate of registrations, because both reveal whether a name is taken.
    ///
    /// # Errors
    /// The time to wait, if the rate is exceeded.
    pub(crate) fn user_update(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.user_updates, peer)
    }

    /// Has the rate of log-ins.
    ///
    /// # Errors
    /// The time to wait, if the rate is exceeded.
    pub(crate) fn password_change(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.password_changes, peer)
    }

    /// Counts by token version, so that a revoked token does not use its owner's rate.
    ///
    /// # Errors
    /// The time to wait, if the rate is exceeded.
    pub(crate) fn write(&self, caller: Caller) -> Result<(), Duration> {
        self.writes.check_key(&caller).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn check(&self, limiter: &NetworkLimiter, peer: Option<IpAddr>) -> Result<(), Duration> {
        let Some(peer) = peer else { return Ok(()) };
        limiter.check_key(&network(peer)).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Removes entries whose rate has recovered.
    pub(crate) fn evict_idle(&self) {
        for limiter in
            [&self.log_ins, &self.registrations, &self.user_updates, &self.password_changes]
        {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        self.writes.retain_recent();
        self.writes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32, period: Duration) -> Rate {
        Rate::new(NonZeroU32::new(burst).unwrap(), period)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn log_ins_are_limited_by_network() {
        let rate_limits = RateLimits::new(rate(2, HOUR), rate(1, HOUR), rate(1, HOUR));
        rate_limits.log_in(peer("2001:db8::1")).unwrap();
        rate_limits.log_in(peer("2001:db8::2")).unwrap();
        let wait = rate_limits.log_in(peer("2001:db8::3")).unwrap_err();
        assert!(wait > Duration::from_secs(3500) && wait <= HOUR, "{wait:?}");
        rate_limits.log_in(peer("2001:db8:0:1::1")).unwrap();
        rate_limits.log_in(peer("192.0.2.1")).unwrap();
        rate_limits.log_in(peer("::ffff:192.0.2.1")).unwrap();
        rate_limits.log_in(peer("192.0.2.1")).unwrap_err();
    }

    #[test]
    fn registrations_have_their_own_rate() {
        let rate_limits = RateLimits::new(rate(1, HOUR), rate(2, HOUR), rate(1, HOUR));
        for _ in 0..2 {
            rate_limits.registration(peer("192.0.2.1")).unwrap();
        }
        rate_limits.registration(peer("192.0.2.1")).unwrap_err();
        rate_limits.registration(peer("192.0.2.2")).unwrap();
        rate_limits.log_in(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn name_and_password_changes_have_their_own_rates() {
        let rate_limits = RateLimits::new(rate(1, HOUR), rate(2, HOUR), rate(1, HOUR));
        for _ in 0..2 {
            rate_limits.user_update(peer("192.0.2.1")).unwrap();
        }
        rate_limits.user_update(peer("192.0.2.1")).unwrap_err();
        rate_limits.password_change(peer("192.0.2.1")).unwrap();
        rate_limits.password_change(peer("192.0.2.1")).unwrap_err();
        rate_limits.registration(peer("192.0.2.1")).unwrap();
        rate_limits.log_in(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn idle_entries_are_evicted() {
        let rate_limits =
            RateLimits::new(rate(1, Duration::from_nanos(1)), rate(1, HOUR), rate(1, HOUR));
        rate_limits.log_in(peer("192.0.2.1")).unwrap();
        while !rate_limits.log_ins.is_empty() {
            rate_limits.evict_idle();
        }
        let rate_limits = RateLimits::new(rate(1, HOUR), rate(1, HOUR), rate(1, HOUR));
        rate_limits.log_in(peer("192.0.2.1")).unwrap();
        rate_limits.evict_idle();
        assert_eq!(rate_limits.log_ins.len(), 1, "an exhausted rate stays");
    }
}
