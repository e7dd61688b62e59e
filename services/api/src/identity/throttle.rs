//! How often one client network may log in, register, and change names or passwords, and how often
//! one user may change anything, at this process. What may be tried of one
//! account, at all of them, the db service counts.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::{Caller, network};

/// So many attempts at once, and then one more after each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Attempts that may follow one another at once.
    pub burst: NonZeroU32,
    /// The time after which one more is allowed; not zero.
    pub period: Duration,
}

impl Rate {
    /// `burst` at once, then one more after each `period`.
    #[must_use]
    pub const fn new(burst: NonZeroU32, period: Duration) -> Self {
        Self { burst, period }
    }

    fn quota(self) -> Quota {
        let period = self.period.max(Duration::from_nanos(1));
        Quota::with_period(period).expect("the period is not zero").allow_burst(self.burst)
    }
}

/// Counts the log-ins, registrations and changes of names and passwords of each client network, in
/// this process. Every request counts, whatever comes of it, before anything else is done for it:
/// this limits what one network can make the store spend, and how many names it can try to
/// register.
///
/// A refusal is no log event, as no password was looked at and a flood must not fill the disk; the
/// metrics count its 429. It does not reach the db service either, so that a network that may not
/// try draws from no account's budget.
pub(crate) struct Throttle {
    log_ins: Networks,
    registrations: Networks,
    renamings: Networks,
    password_changes: Networks,
    writes: DefaultKeyedRateLimiter<Caller>,
    clock: DefaultClock,
}

type Networks = DefaultKeyedRateLimiter<IpAddr>;

impl Throttle {
    pub(crate) fn new(log_ins: Rate, registrations: Rate, writes: Rate) -> Self {
        Self {
            log_ins: RateLimiter::keyed(log_ins.quota()),
            registrations: RateLimiter::keyed(registrations.quota()),
            renamings: RateLimiter::keyed(registrations.quota()),
            password_changes: RateLimiter::keyed(log_ins.quota()),
            writes: RateLimiter::keyed(writes.quota()),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a log-in.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn log_in(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.log_ins, peer)
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn registration(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.registrations, peer)
    }

    /// Counts a change of a username or an email: the answer tells whether another user has it, as
    /// that of a registration does. The rate is that of registrations.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn renaming(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.renamings, peer)
    }

    /// Counts a change of a password. The rate is that of log-ins.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn password_change(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        self.check(&self.password_changes, peer)
    }

    /// Counts an order, a cancellation or a change of the caller's data. A void token draws from a
    /// rate of its own.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn write(&self, caller: Caller) -> Result<(), Duration> {
        self.writes.check_key(&caller).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn check(&self, networks: &Networks, peer: Option<IpAddr>) -> Result<(), Duration> {
        let Some(peer) = peer else { return Ok(()) };
        networks.check_key(&network(peer)).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets the networks whose rate is whole again. Without it, what is remembered would grow
    /// with every address.
    pub(crate) fn forget_the_idle(&self) {
        for networks in
            [&self.log_ins, &self.registrations, &self.renamings, &self.password_changes]
        {
            networks.retain_recent();
            networks.shrink_to_fit();
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
    fn an_address_is_limited_and_told_how_long() {
        let throttle = Throttle::new(rate(2, HOUR), rate(1, HOUR), rate(1, HOUR));
        throttle.log_in(peer("2001:db8::1")).unwrap();
        throttle.log_in(peer("2001:db8::2")).unwrap();
        let wait = throttle.log_in(peer("2001:db8::3")).unwrap_err();
        assert!(wait > Duration::from_secs(3500) && wait <= HOUR, "{wait:?}");
        throttle.log_in(peer("2001:db8:0:1::1")).unwrap();
        throttle.log_in(peer("192.0.2.1")).unwrap();
        throttle.log_in(peer("::ffff:192.0.2.1")).unwrap();
        throttle.log_in(peer("192.0.2.1")).unwrap_err();
    }

    #[test]
    fn registrations_have_a_rate_of_their_own() {
        let throttle = Throttle::new(rate(1, HOUR), rate(2, HOUR), rate(1, HOUR));
        for _ in 0..2 {
            throttle.registration(peer("192.0.2.1")).unwrap();
        }
        throttle.registration(peer("192.0.2.1")).unwrap_err();
        throttle.registration(peer("192.0.2.2")).unwrap();
        throttle.log_in(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn changes_of_names_and_passwords_have_rates_of_their_own() {
        let throttle = Throttle::new(rate(1, HOUR), rate(2, HOUR), rate(1, HOUR));
        for _ in 0..2 {
            throttle.renaming(peer("192.0.2.1")).unwrap();
        }
        throttle.renaming(peer("192.0.2.1")).unwrap_err();
        throttle.password_change(peer("192.0.2.1")).unwrap();
        throttle.password_change(peer("192.0.2.1")).unwrap_err();
        throttle.registration(peer("192.0.2.1")).unwrap();
        throttle.log_in(peer("192.0.2.1")).unwrap();
    }

    #[test]
    fn the_idle_are_forgotten() {
        let throttle =
            Throttle::new(rate(1, Duration::from_nanos(1)), rate(1, HOUR), rate(1, HOUR));
        throttle.log_in(peer("192.0.2.1")).unwrap();
        while !throttle.log_ins.is_empty() {
            throttle.forget_the_idle();
        }
        let throttle = Throttle::new(rate(1, HOUR), rate(1, HOUR), rate(1, HOUR));
        throttle.log_in(peer("192.0.2.1")).unwrap();
        throttle.forget_the_idle();
        assert_eq!(throttle.log_ins.len(), 1, "whose rate is not whole again stays");
    }
}
