//! Password hashes: scrypt in PHC strings. All refusals do the same work.

use std::{
    fmt,
    hint::black_box,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use scrypt::{
    Params, Scrypt,
    password_hash::{
        self, PasswordHasher as _, PasswordVerifier as _, generate_salt, phc::PasswordHash,
    },
};
use zeroize::Zeroizing;

use super::{HashError, HashPool, Purpose, QueueSlot, common_passwords::is_guessable};

/// The UTF-8 bytes that the client sent, not normalised. Redacted in `Debug`, overwritten on drop.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text.into())
    }

    pub(crate) fn is_guessable(&self, identifiers: [&str; 3]) -> bool {
        is_guessable(&self.0, identifiers)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password([redacted])")
    }
}

/// The cost of a password hash: scrypt with N = 2^`log2_n`. A hash takes 128·N·r bytes of memory,
/// 128 MiB by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost(Params);

impl Default for Cost {
    /// N = 2^17, r = 8, p = 1: the first choice of OWASP's Password Storage Cheat Sheet.
    fn default() -> Self {
        Self(Params::RECOMMENDED)
    }
}

impl Cost {
    /// The accepted values of log2(N). At 2^22 a hash takes 4 GiB.
    pub const LOG2_N: RangeInclusive<u8> = 10..=22;

    /// Creates a cost with N = 2^`log2_n`, r = 8, p = 1.
    ///
    /// # Errors
    /// If `log2_n` is outside of [`Cost::LOG2_N`].
    pub fn new(log2_n: u8) -> Result<Self, InvalidCost> {
        if !Self::LOG2_N.contains(&log2_n) {
            return Err(InvalidCost);
        }
        Params::new(log2_n, 8, 1).map(Self).map_err(|_| InvalidCost)
    }

    /// Returns whether the cost is below the default, and so only fit for tests.
    #[must_use]
    pub fn is_weak(self) -> bool {
        self.0.log_n() < Params::RECOMMENDED.log_n()
    }

    /// Returns a cost for tests. It takes microseconds and protects nothing.
    #[must_use]
    pub fn for_tests() -> Self {
        Self(Params::new(1, 1, 1).expect("the smallest parameters are valid"))
    }
}

/// The cost is outside of [`Cost::LOG2_N`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCost;

impl fmt::Display for InvalidCost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected log2 of scrypt's N, {} to {}",
            Cost::LOG2_N.start(),
            Cost::LOG2_N.end()
        )
    }
}

impl std::error::Error for InvalidCost {}

impl From<password_hash::Error> for HashError {
    fn from(error: password_hash::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

#[derive(Clone)]
pub(crate) struct Hasher {
    pool: HashPool,
    inner: Arc<Inner>,
}

struct Inner {
    cost: Params,
    /// Blocks mixed so far: N·r·p for each hash.
    blocks: AtomicU64,
}

impl Hasher {
    pub(crate) fn new(cost: Cost, concurrency: usize, queue_capacity: usize) -> Self {
        let inner = Inner { cost: cost.0, blocks: AtomicU64::new(0) };
        Self { pool: HashPool::new(concurrency, queue_capacity), inner: Arc::new(inner) }
    }

    pub(crate) fn try_enqueue(
        &self,
        purpose: Purpose,
        client: Option<IpAddr>,
    ) -> Result<QueueSlot, HashError> {
        self.pool.try_enqueue(purpose, client)
    }

    pub(crate) async fn hash(
        &self,
        slot: &QueueSlot,
        password: Password,
    ) -> Result<String, HashError> {
        let inner = Arc::clone(&self.inner);
        self.pool.run(slot, move || inner.hash(&password)).await
    }

    /// Returns whether the password matches a PHC string; never for `None`, an unknown user.
    ///
    /// `max_stored_cost` is log2(N) of the most expensive stored hash. A mismatch costs as much as
    /// a hash of the greater of it and the current cost.
    pub(crate) async fn verify(
        &self,
        slot: &QueueSlot,
        stored: Option<String>,
        max_stored_cost: u8,
        password: Password,
    ) -> Result<bool, HashError> {
        let inner = Arc::clone(&self.inner);
        self.pool
            .run(slot, move || inner.verify(stored.as_deref(), max_stored_cost, &password))
            .await
    }

    pub(crate) fn needs_rehash(&self, stored: &str) -> bool {
        let params = PasswordHash::new(stored).ok().and_then(|hash| Params::try_from(&hash).ok());
        params.is_none_or(|params| blocks(&params) != blocks(&self.inner.cost))
    }

    #[cfg(test)]
    pub(crate) fn blocks(&self) -> u64 {
        self.inner.blocks.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn hash(&self, password: &Password) -> Result<String, HashError> {
        self.count(&self.cost);
        let scrypt = Scrypt::new_with_params(self.cost);
        Ok(scrypt.hash_password(password.0.as_bytes())?.to_string())
    }

    fn verify(
        &self,
        stored: Option<&str>,
        max_stored_cost: u8,
        password: &Password,
    ) -> Result<bool, HashError> {
        let target = blocks(&self.refusal_cost(max_stored_cost));
        let Some(stored) = stored else {
            self.mix_blocks(target, password)?;
            return Ok(false);
        };
        let stored = PasswordHash::new(stored).map_err(internal)?;
        let params = Params::try_from(&stored).map_err(internal)?;
        self.count(&params);
        let scrypt = Scrypt::new_with_params(self.cost);
        match scrypt.verify_password(password.0.as_bytes(), &stored) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => {
                self.mix_blocks(target.saturating_sub(blocks(&params)), password)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn refusal_cost(&self, max_stored_cost: u8) -> Params {
        let (least, r, p) = (self.cost.log_n(), self.cost.r(), self.cost.p());
        let max_stored_cost = max_stored_cost.min(*Cost::LOG2_N.end());
        Params::new(max_stored_cost.max(least), r, p).unwrap_or(self.cost)
    }

    /// Mixes about `left` blocks in as few hashes as possible. After a hash of cost N₀, the rest up
    /// to N are hashes of N/2, N/4 and so on down to N₀.
    fn mix_blocks(&self, mut left: u64, password: &Password) -> Result<(), HashError> {
        let block = u64::from(self.cost.r()) * u64::from(self.cost.p());
        let salt = generate_salt();
        while let Some(log_n) = (left / block).checked_ilog2().filter(|log_n| *log_n > 0) {
            let log_n = u8::try_from(log_n).map_err(internal)?;
            let params = Params::new(log_n, self.cost.r(), self.cost.p()).map_err(internal)?;
            self.count(&params);
            let mut output = [0; Params::RECOMMENDED_LEN];
            scrypt::scrypt(password.0.as_bytes(), &salt, &params, &mut output).map_err(internal)?;
            black_box(output);
            left = left.saturating_sub(blocks(&params));
        }
        Ok(())
    }

    fn count(&self, params: &Params) {
        self.blocks.fetch_add(blocks(params), Ordering::Relaxed);
    }
}

fn blocks(params: &Params) -> u64 {
    params.n().saturating_mul(u64::from(params.r())).saturating_mul(u64::from(params.p()))
}

fn internal(error: impl fmt::Display) -> HashError {
    HashError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    fn cheap(log2_n: u8) -> Cost {
        Cost(Params::new(log2_n, 1, 1).unwrap())
    }

    async fn hash(hasher: &Hasher, text: &str) -> String {
        let slot = hasher.try_enqueue(Purpose::Registration, None).unwrap();
        hasher.hash(&slot, password(text)).await.unwrap()
    }

    async fn verify(
        hasher: &Hasher,
        stored: Option<&str>,
        max_stored_cost: u8,
        text: &str,
    ) -> (Result<bool, HashError>, u64) {
        let (slot, before) = (hasher.try_enqueue(Purpose::LogIn, None).unwrap(), hasher.blocks());
        let stored = stored.map(str::to_owned);
        let result = hasher.verify(&slot, stored, max_stored_cost, password(text)).await;
        (result, hasher.blocks() - before)
    }

    #[tokio::test]
    async fn default_cost_is_in_the_hash() {
        let hash = hash(&Hasher::new(Cost::default(), 1, 0), "correct horse").await;
        assert!(hash.starts_with("$scrypt$ln=17,r=8,p=1$"), "{hash}");
    }

    #[tokio::test]
    async fn passwords_are_compared_as_bytes() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        let stored = hash(&hasher, " caf\u{e9} ").await;
        for (text, right) in
            [(" caf\u{e9} ", true), ("caf\u{e9}", false), (" cafe\u{301} ", false), ("", false)]
        {
            let (result, _) = verify(&hasher, Some(&stored), 1, text).await;
            assert_eq!(result.unwrap(), right, "{text:?}");
        }
        assert_ne!(hash(&hasher, " caf\u{e9} ").await, stored, "each hash has its own salt");
    }

    #[tokio::test]
    async fn refusals_cost_the_same_for_any_stored_hash() {
        let stored: Vec<(u8, String)> =
            futures_util::future::join_all((2..=8).map(|log2_n| async move {
                (log2_n, hash(&Hasher::new(cheap(log2_n), 1, 0), "right").await)
            }))
            .await;
        let hasher = Hasher::new(cheap(6), 1, 0);
        for max_stored_cost in [0, 2, 6, 7, 8] {
            let expected = 1 << max_stored_cost.max(6);
            let (unknown, mixed) = verify(&hasher, None, max_stored_cost, "wrong").await;
            assert_eq!(
                (unknown.unwrap(), mixed),
                (false, expected),
                "unknown user, {max_stored_cost}"
            );
            for (log2_n, hash) in
                stored.iter().filter(|(log2_n, _)| *log2_n <= max_stored_cost.max(6))
            {
                let (wrong, mixed) = verify(&hasher, Some(hash), max_stored_cost, "wrong").await;
                assert_eq!(
                    (wrong.unwrap(), mixed),
                    (false, expected),
                    "{log2_n} of {max_stored_cost}"
                );
                let (right, _) = verify(&hasher, Some(hash), max_stored_cost, "right").await;
                assert!(right.unwrap(), "{log2_n}");
            }
        }
    }

    #[tokio::test]
    async fn hash_of_another_cost_needs_rehash() {
        let hasher = Hasher::new(cheap(4), 1, 0);
        assert!(!hasher.needs_rehash(&hash(&hasher, "right").await));
        for log2_n in [3, 5] {
            let stored = hash(&Hasher::new(cheap(log2_n), 1, 0), "right").await;
            assert!(hasher.needs_rehash(&stored), "{log2_n}");
        }
    }

    #[tokio::test]
    async fn invalid_stored_hashes_are_errors() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        for stored in ["", "right", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
            let (result, _) = verify(&hasher, Some(stored), 1, "right").await;
            assert!(matches!(result, Err(HashError::Internal(_))), "{stored}");
        }
    }

    #[test]
    fn costs_outside_the_range_are_refused() {
        for log2_n in Cost::LOG2_N {
            assert_eq!(Cost::new(log2_n).map(Cost::is_weak), Ok(log2_n < 17), "{log2_n}");
        }
        for log2_n in [0, 9, 23, 255] {
            assert_eq!(Cost::new(log2_n), Err(InvalidCost), "{log2_n}");
        }
        assert!(!Cost::default().is_weak());
    }

    #[test]
    fn password_debug_form_is_redacted() {
        assert!(!format!("{:?}", password("hush hush")).contains("hush hush"));
    }
}
