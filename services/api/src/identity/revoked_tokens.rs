//! A cache of revoked tokens, so that they cost no further database work.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::Caller;

/// Limits the cache; an entry takes about 40 bytes.
const MAX_USERS: usize = 100_000;

/// The greatest revoked token version of each user. Versions only grow, so lower ones are revoked,
/// too.
#[derive(Debug, Default)]
pub(crate) struct RevokedTokens(Mutex<HashMap<Uuid, i64>>);

impl RevokedTokens {
    pub(crate) fn contains(&self, caller: Caller) -> bool {
        self.versions().get(&caller.user_id).is_some_and(|revoked| caller.token_version <= *revoked)
    }

    pub(crate) fn insert(&self, caller: Caller) {
        let mut versions = self.versions();
        if versions.len() >= MAX_USERS && !versions.contains_key(&caller.user_id) {
            versions.clear();
        }
        let revoked = versions.entry(caller.user_id).or_insert(caller.token_version);
        *revoked = caller.token_version.max(*revoked);
    }

    /// A poisoned map is consistent: no code under the lock can panic.
    fn versions(&self) -> MutexGuard<'_, HashMap<Uuid, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revoked_version_includes_lower_versions() {
        let revoked = RevokedTokens::default();
        let user_id = Uuid::now_v7();
        let version = |token_version| Caller { user_id, token_version };
        revoked.insert(version(3));
        revoked.insert(version(2));
        assert!(revoked.contains(version(1)) && revoked.contains(version(3)));
        assert!(!revoked.contains(version(4)));
        assert!(!revoked.contains(Caller { user_id: Uuid::now_v7(), token_version: 1 }));
    }

    #[test]
    fn cache_has_a_bounded_number_of_users() {
        let revoked = RevokedTokens::default();
        for user in 0..=MAX_USERS as u128 {
            revoked.insert(Caller { user_id: Uuid::from_u128(user), token_version: 1 });
        }
        assert_eq!(revoked.versions().len(), 1);
    }
}
