//! How often one address may try to log in, at this process. How often an account may be tried, at all of them, the db service counts.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

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

/// Counts attempts. Every attempt counts, a successful one too, and before its password is looked at: each costs a hash whether it succeeds or
/// not, and an attempt that is counted only afterwards lets any number run at the same time.
///
/// An attempt that is refused here is no log event: no password was looked at, those that led here are all in the log, and a flood must not fill the
/// disk. The metrics count its 429. It does not reach the db service either: an address that may not try counts for no account, so that it cannot lock
/// one out for longer than its own rate allows.
pub(crate) struct Throttle {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Throttle {
    pub(crate) fn new(per_address: Rate) -> Self {
        Self { addresses: RateLimiter::keyed(per_address.quota()), clock: DefaultClock::default() }
    }

    /// Takes one attempt of the address.
    ///
    /// # Errors
    /// The time after which to try again.
    pub(crate) fn attempt(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        let Some(peer) = peer else { return Ok(()) };
        self.addresses.check_key(&network(peer)).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets who has not tried for so long that the rate is whole again. Without it, what is remembered would grow with every address.
    pub(crate) fn forget_the_idle(&self) {
        self.addresses.retain_recent();
        self.addresses.shrink_to_fit();
    }
}

/// Who has one IPv6 address has a /64 of them (RFC 6177), so those count as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
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
        let throttle = Throttle::new(rate(2, HOUR));
        throttle.attempt(peer("2001:db8::1")).unwrap();
        throttle.attempt(peer("2001:db8::2")).unwrap();
        let wait = throttle.attempt(peer("2001:db8::3")).unwrap_err();
        assert!(wait > Duration::from_secs(3500) && wait <= HOUR, "{wait:?}");
        throttle.attempt(peer("2001:db8:0:1::1")).unwrap();
        throttle.attempt(peer("192.0.2.1")).unwrap();
        throttle.attempt(peer("::ffff:192.0.2.1")).unwrap();
        throttle.attempt(peer("192.0.2.1")).unwrap_err();
    }

    #[test]
    fn the_idle_are_forgotten() {
        let throttle = Throttle::new(rate(1, Duration::from_nanos(1)));
        throttle.attempt(peer("192.0.2.1")).unwrap();
        while !throttle.addresses.is_empty() {
            throttle.forget_the_idle();
        }
        let throttle = Throttle::new(rate(1, HOUR));
        throttle.attempt(peer("192.0.2.1")).unwrap();
        throttle.forget_the_idle();
        assert_eq!(throttle.addresses.len(), 1, "whose rate is not whole again stays");
    }
}
