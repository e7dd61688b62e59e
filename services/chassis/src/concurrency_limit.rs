use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Limits concurrent operations per key. Clones share one state.
#[derive(Debug)]
pub struct ConcurrencyLimit<K> {
    max: usize,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

/// A permit, released on drop.
#[derive(Debug)]
#[must_use = "the permit is released on drop"]
pub struct ConcurrencyPermit<K: Eq + Hash> {
    key: K,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for ConcurrencyLimit<K> {
    fn clone(&self) -> Self {
        Self { max: self.max, counts: self.counts.clone() }
    }
}

impl<K: Clone + Eq + Hash> ConcurrencyLimit<K> {
    /// Creates a limit of `max` permits per key.
    #[must_use]
    pub fn new(max: NonZeroUsize) -> Self {
        Self { max: max.get(), counts: Arc::default() }
    }

    /// Acquires a permit without waiting. Returns `None` if none of `key` is left.
    pub fn try_acquire(&self, key: K) -> Option<ConcurrencyPermit<K>> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(key.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(ConcurrencyPermit { key, counts: self.counts.clone() })
    }

    /// Returns the number of keys with permits in use.
    #[must_use]
    pub fn keys(&self) -> usize {
        lock(&self.counts).len()
    }
}

impl<K: Eq + Hash> Drop for ConcurrencyPermit<K> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn lock<K>(counts: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_per_key_and_released_on_drop() {
        let limit = ConcurrencyLimit::new(NonZeroUsize::new(2).unwrap());
        let (first, second) = (limit.try_acquire("ada"), limit.try_acquire("ada"));
        assert!(first.is_some() && second.is_some());
        assert!(limit.clone().try_acquire("ada").is_none(), "clones share one state");
        assert!(limit.try_acquire("bob").is_some());
        drop(first);
        assert!(limit.try_acquire("ada").is_some());
        drop(second);
        assert_eq!(limit.keys(), 0, "a key without permits uses no memory");
    }
}
