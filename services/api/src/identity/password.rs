//! Password hashes: scrypt, as PHC strings. Every refusal does the same work, whatever the stored
//! hash costs and whether or not there is one.

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

use super::{HashPool, Place, Purpose, common_passwords::is_guessable};

/// A password as it was sent: the bytes of its UTF-8, neither trimmed nor normalised. Printing it
/// shows nothing of it, and it is overwritten when it is dropped.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Returns whether it is refused as a new password of the user with this sid, username and
    /// email.
    pub(crate) fn is_guessable(&self, own: [&str; 3]) -> bool {
        is_guessable(&self.0, own)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password([redacted])")
    }
}

/// What a password hash costs: scrypt with N = 2^`log2_n`. One hash takes 128·N·r bytes of memory
/// while it is computed, 128 MiB by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost(Params);

impl Default for Cost {
    /// N = 2^17, r = 8, p = 1: the first choice of OWASP's Password Storage Cheat Sheet.
    fn default() -> Self {
        Self(Params::RECOMMENDED)
    }
}

impl Cost {
    /// The values of log2(N) that are taken: 2^22 is 4 GiB a hash.
    pub const LOG2_N: RangeInclusive<u8> = 10..=22;

    /// N = 2^`log2_n`, r = 8, p = 1.
    ///
    /// # Errors
    /// When `log2_n` is outside of [`Cost::LOG2_N`].
    pub fn new(log2_n: u8) -> Result<Self, InvalidCost> {
        if !Self::LOG2_N.contains(&log2_n) {
            return Err(InvalidCost);
        }
        Params::new(log2_n, 8, 1).map(Self).map_err(|_| InvalidCost)
    }

    /// Whether it is weaker than the default, and so not for passwords of real people.
    #[must_use]
    pub fn is_weak(self) -> bool {
        self.0.log_n() < Params::RECOMMENDED.log_n()
    }

    /// A cost for tests: it protects nothing, and takes microseconds.
    #[must_use]
    pub fn for_tests() -> Self {
        Self(Params::new(1, 1, 1).expect("scrypt takes its smallest parameters"))
    }
}

/// A cost that protects nothing, or that no machine can pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCost;

impl fmt::Display for InvalidCost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected scrypt's N as a power of two, {} to {}",
            Cost::LOG2_N.start(),
            Cost::LOG2_N.end()
        )
    }
}

impl std::error::Error for InvalidCost {}

/// Why a hash was not computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashFailure {
    /// As many hashes of this purpose as are allowed run or wait already.
    #[error("as many password hashes as are allowed are under way or waiting")]
    Overloaded,
    /// What was stored is no hash of this kind, or scrypt itself failed.
    #[error("a password hash cannot be computed: {0}")]
    Broken(String),
}

impl From<password_hash::Error> for HashFailure {
    fn from(error: password_hash::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Computes and verifies hashes on the threads of a [`HashPool`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hasher {
    pool: HashPool,
    inner: Arc<Inner>,
}

struct Inner {
    cost: Params,
    /// Blocks that scrypt has mixed since the start: N·r·p for each hash.
    blocks: AtomicU64,
}

impl Hasher {
    /// Creates a hasher with a pool of `at_once` threads and, for each purpose, a queue of
    /// `waiting` more requests.
    pub(crate) fn new(cost: Cost, at_once: usize, waiting: usize) -> Self {
        let inner = Inner { cost: cost.0, blocks: AtomicU64::new(0) };
        Self { pool: HashPool::new(at_once, waiting), inner: Arc::new(inner) }
    }

    /// Takes a place in the queue of a purpose for a client.
    ///
    /// # Errors
    /// [`HashFailure::Overloaded`] when all are taken, or all that the client's network may take.
    pub(crate) fn place(
        &self,
        purpose: Purpose,
        client: Option<IpAddr>,
    ) -> Result<Place, HashFailure> {
        self.pool.place(purpose, client)
    }

    /// Computes a new hash with a fresh salt, as a PHC string.
    pub(crate) async fn hash(
        &self,
        place: &Place,
        password: Password,
    ) -> Result<String, HashFailure> {
        let inner = Arc::clone(&self.inner);
        self.pool.run(place, move || inner.hash(&password)).await
    }

    /// Returns whether the password is the one of a PHC string. `None` stands for a user that does
    /// not exist: nothing is its password.
    ///
    /// `greatest` is the cost of the most expensive stored hash, log2 of N. If the answer is no,
    /// the work done is that of a hash of `greatest` or of the present cost, whichever is more.
    pub(crate) async fn verify(
        &self,
        place: &Place,
        stored: Option<String>,
        greatest: u8,
        password: Password,
    ) -> Result<bool, HashFailure> {
        let inner = Arc::clone(&self.inner);
        self.pool.run(place, move || inner.verify(stored.as_deref(), greatest, &password)).await
    }

    /// Returns whether a stored hash has another cost than new ones get.
    pub(crate) fn is_outdated(&self, stored: &str) -> bool {
        let params = PasswordHash::new(stored).ok().and_then(|hash| Params::try_from(&hash).ok());
        params.is_none_or(|params| blocks(&params) != blocks(&self.inner.cost))
    }

    /// Blocks that were mixed since the start.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> u64 {
        self.inner.blocks.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn hash(&self, password: &Password) -> Result<String, HashFailure> {
        self.count(&self.cost);
        let scrypt = Scrypt::new_with_params(self.cost);
        Ok(scrypt.hash_password(password.0.as_bytes())?.to_string())
    }

    fn verify(
        &self,
        stored: Option<&str>,
        greatest: u8,
        password: &Password,
    ) -> Result<bool, HashFailure> {
        let target = blocks(&self.refusal_cost(greatest));
        let Some(stored) = stored else {
            self.work(target, password)?;
            return Ok(false);
        };
        let stored = PasswordHash::new(stored).map_err(broken)?;
        let params = Params::try_from(&stored).map_err(broken)?;
        self.count(&params);
        let scrypt = Scrypt::new_with_params(self.cost);
        match scrypt.verify_password(password.0.as_bytes(), &stored) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => {
                self.work(target.saturating_sub(blocks(&params)), password)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The cost that every refusal has.
    fn refusal_cost(&self, greatest: u8) -> Params {
        let (least, r, p) = (self.cost.log_n(), self.cost.r(), self.cost.p());
        let greatest = greatest.min(*Cost::LOG2_N.end());
        Params::new(greatest.max(least), r, p).unwrap_or(self.cost)
    }

    /// Mixes about `left` blocks in as few hashes as can be, and throws the results away. After a
    /// hash of cost N₀, those that are left to N cost N/2, N/4 and so on down to N₀.
    fn work(&self, mut left: u64, password: &Password) -> Result<(), HashFailure> {
        let block = u64::from(self.cost.r()) * u64::from(self.cost.p());
        let salt = generate_salt();
        while let Some(log_n) = (left / block).checked_ilog2().filter(|log_n| *log_n > 0) {
            let log_n = u8::try_from(log_n).map_err(broken)?;
            let params = Params::new(log_n, self.cost.r(), self.cost.p()).map_err(broken)?;
            self.count(&params);
            let mut output = [0; Params::RECOMMENDED_LEN];
            scrypt::scrypt(password.0.as_bytes(), &salt, &params, &mut output).map_err(broken)?;
            black_box(output);
            left = left.saturating_sub(blocks(&params));
        }
        Ok(())
    }

    fn count(&self, params: &Params) {
        self.blocks.fetch_add(blocks(params), Ordering::Relaxed);
    }
}

/// What a hash costs in blocks.
fn blocks(params: &Params) -> u64 {
    params.n().saturating_mul(u64::from(params.r())).saturating_mul(u64::from(params.p()))
}

fn broken(error: impl fmt::Display) -> HashFailure {
    HashFailure::Broken(error.to_string())
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
        let place = hasher.place(Purpose::Registration, None).unwrap();
        hasher.hash(&place, password(text)).await.unwrap()
    }

    /// The answer, and the blocks that it took.
    async fn verify(
        hasher: &Hasher,
        stored: Option<&str>,
        greatest: u8,
        text: &str,
    ) -> (Result<bool, HashFailure>, u64) {
        let (place, before) = (hasher.place(Purpose::LogIn, None).unwrap(), hasher.blocks());
        let stored = stored.map(str::to_owned);
        let answer = hasher.verify(&place, stored, greatest, password(text)).await;
        (answer, hasher.blocks() - before)
    }

    #[tokio::test]
    async fn the_default_cost_stands_in_the_hash() {
        let hash = hash(&Hasher::new(Cost::default(), 1, 0), "correct horse").await;
        assert!(hash.starts_with("$scrypt$ln=17,r=8,p=1$"), "{hash}");
    }

    #[tokio::test]
    async fn a_password_is_its_bytes() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        let stored = hash(&hasher, " caf\u{e9} ").await;
        for (text, right) in
            [(" caf\u{e9} ", true), ("caf\u{e9}", false), (" cafe\u{301} ", false), ("", false)]
        {
            let (answer, _) = verify(&hasher, Some(&stored), 1, text).await;
            assert_eq!(answer.unwrap(), right, "{text:?}");
        }
        assert_ne!(hash(&hasher, " caf\u{e9} ").await, stored, "every hash has its own salt");
    }

    #[tokio::test]
    async fn every_refusal_does_the_same_work_whatever_the_stored_hash_costs() {
        // Stored hashes of the present cost, cheaper and more expensive ones.
        let stored: Vec<(u8, String)> =
            futures_util::future::join_all((2..=8).map(|log2_n| async move {
                (log2_n, hash(&Hasher::new(cheap(log2_n), 1, 0), "right").await)
            }))
            .await;
        let hasher = Hasher::new(cheap(6), 1, 0);
        for greatest in [0, 2, 6, 7, 8] {
            let expected = 1 << greatest.max(6);
            let (unknown, work) = verify(&hasher, None, greatest, "wrong").await;
            assert_eq!((unknown.unwrap(), work), (false, expected), "unknown user, {greatest}");
            for (log2_n, hash) in stored.iter().filter(|(log2_n, _)| *log2_n <= greatest.max(6)) {
                let (wrong, work) = verify(&hasher, Some(hash), greatest, "wrong").await;
                assert_eq!((wrong.unwrap(), work), (false, expected), "{log2_n} of {greatest}");
                let (right, _) = verify(&hasher, Some(hash), greatest, "right").await;
                assert!(right.unwrap(), "{log2_n}");
            }
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_outdated() {
        let hasher = Hasher::new(cheap(4), 1, 0);
        assert!(!hasher.is_outdated(&hash(&hasher, "right").await));
        for log2_n in [3, 5] {
            let stored = hash(&Hasher::new(cheap(log2_n), 1, 0), "right").await;
            assert!(hasher.is_outdated(&stored), "{log2_n}");
        }
    }

    #[tokio::test]
    async fn what_is_no_hash_is_no_match_either() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        for stored in ["", "right", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
            let (answer, _) = verify(&hasher, Some(stored), 1, "right").await;
            assert!(matches!(answer, Err(HashFailure::Broken(_))), "{stored}");
        }
    }

    #[test]
    fn a_cost_is_what_a_machine_can_pay_and_says_when_it_is_weak() {
        for log2_n in Cost::LOG2_N {
            assert_eq!(Cost::new(log2_n).map(Cost::is_weak), Ok(log2_n < 17), "{log2_n}");
        }
        for log2_n in [0, 9, 23, 255] {
            assert_eq!(Cost::new(log2_n), Err(InvalidCost), "{log2_n}");
        }
        assert!(!Cost::default().is_weak());
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", password("hush hush")).contains("hush hush"));
    }
}
