//! Password hashes: scrypt, as PHC strings, on a bounded number of threads.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use scrypt::{
    Params, Scrypt,
    password_hash::{
        self, PasswordHasher as _, PasswordVerifier as _, generate_salt,
        phc::{Output, PasswordHash, Salt},
    },
    phc::ALG_ID,
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// A password as it was sent: the bytes of its UTF-8, neither trimmed nor normalised. Printing it shows nothing of it,
/// and it is overwritten when it is dropped.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password([redacted])")
    }
}

/// What a password hash costs: scrypt with N = 2^`log2_n`. One hash takes 128·N·r bytes of memory while it is computed, 128 MiB by default.
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
        write!(formatter, "expected scrypt's N as a power of two, {} to {}", Cost::LOG2_N.start(), Cost::LOG2_N.end())
    }
}

impl std::error::Error for InvalidCost {}

/// Why a hash was not computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashFailure {
    /// As many hashes as are allowed run or wait already.
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

/// Computes hashes, so many at once and no more than so many waiting. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Inner>);

struct Inner {
    scrypt: Scrypt,
    /// One place for each hash that runs or waits.
    places: Arc<Semaphore>,
    /// One for each hash that runs.
    running: Arc<Semaphore>,
    /// Stands in for the hash of a user that does not exist.
    decoy: PasswordHash,
    computed: AtomicU64,
}

impl Hasher {
    /// `at_once` hashes run in parallel, and `waiting` more wait for their turn; both at least 1 and 0.
    pub(crate) fn new(cost: Cost, at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.max(1);
        Self(Arc::new(Inner {
            scrypt: Scrypt::new_with_params(cost.0),
            places: Arc::new(Semaphore::new(at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS))),
            running: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            decoy: decoy(cost),
            computed: AtomicU64::new(0),
        }))
    }

    /// A new hash with a fresh salt, as a PHC string.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashFailure> {
        self.run(move |inner| Ok(inner.scrypt.hash_password(password.0.as_bytes())?.to_string())).await
    }

    /// Whether the password is the one of a PHC string. `None` stands for a user that does not exist: the same work is done, and the answer is no.
    pub(crate) async fn verify(&self, stored: Option<String>, password: Password) -> Result<bool, HashFailure> {
        self.run(move |inner| {
            let stored = match &stored {
                Some(text) => &PasswordHash::new(text).map_err(|error| HashFailure::Broken(error.to_string()))?,
                None => &inner.decoy,
            };
            match inner.scrypt.verify_password(password.0.as_bytes(), stored) {
                Ok(()) => Ok(true),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// How many hashes were begun since the start.
    #[cfg(test)]
    pub(crate) fn computed(&self) -> u64 {
        self.0.computed.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread of its own. The thread holds the permits and not the caller's future: whoever goes away while the thread still runs
    /// must not make room for another 128 MiB.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T, HashFailure> + Send + 'static) -> Result<T, HashFailure> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| HashFailure::Overloaded)?;
        let running = Arc::clone(&self.0.running).acquire_owned().await.map_err(|_| HashFailure::Overloaded)?;
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let _permits = (place, running);
            inner.computed.fetch_add(1, Ordering::Relaxed);
            work(&inner)
        });
        task.await.map_err(|error| HashFailure::Broken(error.to_string()))?
    }
}

/// A hash of no password at all: its output is random, so that nothing matches it.
fn decoy(cost: Cost) -> PasswordHash {
    let invariant = "16 random bytes and the parameters of a cost are parts of a PHC string";
    PasswordHash {
        algorithm: ALG_ID,
        version: None,
        params: cost.0.try_into().expect(invariant),
        salt: Some(Salt::new(&generate_salt()).expect(invariant)),
        hash: Some(Output::new(&[generate_salt(), generate_salt()].concat()).expect(invariant)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_default_cost_stands_in_the_hash() {
        let hash = Hasher::new(Cost::default(), 1, 0).hash(password("correct horse")).await.unwrap();
        assert!(hash.starts_with("$scrypt$ln=17,r=8,p=1$"), "{hash}");
    }

    #[tokio::test]
    async fn a_password_is_its_bytes() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        let stored = hasher.hash(password(" caf\u{e9} ")).await.unwrap();
        for (text, right) in [(" caf\u{e9} ", true), ("caf\u{e9}", false), (" cafe\u{301} ", false), ("", false)] {
            assert_eq!(hasher.verify(Some(stored.clone()), password(text)).await.unwrap(), right, "{text:?}");
        }
        assert_ne!(hasher.hash(password(" caf\u{e9} ")).await.unwrap(), stored, "every hash has its own salt");
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        let stored = hasher.hash(password("right")).await.unwrap();
        let before = hasher.computed();
        assert!(!hasher.verify(Some(stored), password("wrong")).await.unwrap());
        assert_eq!(hasher.computed(), before + 1);
        assert!(!hasher.verify(None, password("wrong")).await.unwrap());
        assert_eq!(hasher.computed(), before + 2);
        assert_eq!(Params::try_from(&hasher.0.decoy).unwrap().n(), Cost::for_tests().0.n());
    }

    #[tokio::test]
    async fn what_is_no_hash_is_no_match_either() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        for stored in ["", "right", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
            let failure = hasher.verify(Some(stored.to_owned()), password("right")).await.unwrap_err();
            assert!(matches!(failure, HashFailure::Broken(_)), "{stored}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn past_the_bound_it_refuses_and_no_place_is_lost() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 1);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let (started, mut starting) = tokio::sync::mpsc::channel(1);
        let running = tokio::spawn({
            let hasher = hasher.clone();
            async move {
                let work = move |_: &Inner| {
                    started.blocking_send(()).expect("the test listens");
                    blocked.recv().expect("the test releases it");
                    Ok(())
                };
                hasher.run(work).await
            }
        });
        starting.recv().await.unwrap();
        let mut waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(password("x")).await }
        });
        until(|| hasher.0.places.available_permits() == 0).await;
        assert!(matches!(hasher.hash(password("x")).await, Err(HashFailure::Overloaded)));

        // Who runs goes away: the thread keeps its place, so that nobody else begins.
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert!(matches!(hasher.hash(password("x")).await, Err(HashFailure::Overloaded)));
        assert!(!waiting.is_finished());

        release.send(()).unwrap();
        (&mut waiting).await.unwrap().unwrap();
        until(|| hasher.0.places.available_permits() == 2 && hasher.0.running.available_permits() == 1).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_gives_its_place_back() {
        let hasher = Hasher::new(Cost::for_tests(), 1, 0);
        let failure = hasher.run(|_: &Inner| -> Result<(), HashFailure> { panic!("a bug in here") }).await.unwrap_err();
        assert!(matches!(failure, HashFailure::Broken(_)));
        until(|| hasher.0.places.available_permits() == 1).await;
        hasher.hash(password("x")).await.unwrap();
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it happens within 10 s");
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
