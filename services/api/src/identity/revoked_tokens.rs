//! Token versions that the db service called void, so that a void token costs the database and its
//! owner nothing more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::Caller;

/// Users that are remembered; an entry takes about 40 bytes.
const MAX_USERS: usize = 100_000;

/// For each user the greatest token version that was void.
///
/// A version that is void stays void, and so does every smaller one: versions only grow. What is
/// not remembered is asked of the db service again.
#[derive(Debug, Default)]
pub(crate) struct RevokedTokens(Mutex<HashMap<Uuid, i64>>);

impl RevokedTokens {
    /// Whether the caller's token is known to be void.
    pub(crate) fn contains(&self, caller: Caller) -> bool {
        self.versions().get(&caller.user_id).is_some_and(|void| caller.token_version <= *void)
    }

    /// Remembers that the caller's token is void.
    pub(crate) fn insert(&self, caller: Caller) {
        let mut versions = self.versions();
        if versions.len() >= MAX_USERS && !versions.contains_key(&caller.user_id) {
            versions.clear();
        }
        let void = versions.entry(caller.user_id).or_insert(caller.token_version);
        *void = caller.token_version.max(*void);
    }

    /// No code that can panic runs under the lock, so a poisoned state is still a whole one.
    fn versions(&self) -> MutexGuard<'_, HashMap<Uuid, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_version_and_all_before_it_stay_void() {
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
    fn it_remembers_a_bounded_number_of_users() {
        let revoked = RevokedTokens::default();
        for user in 0..=MAX_USERS as u128 {
            revoked.insert(Caller { user_id: Uuid::from_u128(user), token_version: 1 });
        }
        assert_eq!(revoked.versions().len(), 1);
    }
}
