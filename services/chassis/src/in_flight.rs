//! A bound on how much one key (a user, an address) occupies at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what is under way for each key, and admits no more than a fixed number of one key.
///
/// Cheap to clone; clones share one state. Keys with nothing under way take no memory.
#[derive(Debug)]
pub struct InFlight<K> {
    most: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// One place of a key, given back when it is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct InFlightPermit<K: Eq + Hash> {
    key: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for InFlight<K> {
    fn clone(&self) -> Self {
        Self { most: self.most, held: self.held.clone() }
    }
}

impl<K: Clone + Eq + Hash> InFlight<K> {
    /// Creates a bound of `most` places for each key.
    #[must_use]
    pub fn new(most: NonZeroUsize) -> Self {
        Self { most: most.get(), held: Arc::default() }
    }

    /// Takes a place of `key`. Returns `None` if all of its places are taken; never waits.
    pub fn try_acquire(&self, key: K) -> Option<InFlightPermit<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(InFlightPermit { key, held: self.held.clone() })
    }

    /// Returns how many keys have something under way.
    #[must_use]
    pub fn keys(&self) -> usize {
        lock(&self.held).len()
    }
}

impl<K: Eq + Hash> Drop for InFlightPermit<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

/// Locks the counts. No code that can panic runs under the lock, so a poisoned state is still a
/// whole one.
fn lock<K>(held: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_places_and_gets_them_back() {
        let writes = InFlight::new(NonZeroUsize::new(2).unwrap());
        let (first, second) = (writes.try_acquire("ada"), writes.try_acquire("ada"));
        assert!(first.is_some() && second.is_some());
        assert!(writes.clone().try_acquire("ada").is_none(), "clones share one state");
        assert!(writes.try_acquire("bob").is_some());
        drop(first);
        assert!(writes.try_acquire("ada").is_some());
        drop(second);
        assert_eq!(writes.keys(), 0, "a key with nothing under way is forgotten");
    }
}
