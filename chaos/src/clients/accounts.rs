//! The users that clients log in as. Some belong to one client, and all clients share the others.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use uuid::Uuid;

use crate::history::Token;

/// Users that all clients share.
pub(super) const SHARED: usize = 3;

/// A token as the store knows it, and its text.
pub(super) type Session = (Token, String);

/// An order that was sent with a key.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) key: String,
    pub(super) product: i64,
    pub(super) quantity: i64,
    /// Its order, if a client received it.
    pub(super) order: Option<Uuid>,
}

/// A user.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: Uuid,
    pub(super) name: String,
    log_ins: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By the numbers of the clients.
    pub(super) sessions: BTreeMap<usize, Session>,
    pub(super) revoked: Vec<Session>,
    pub(super) orders: Vec<Uuid>,
    pub(super) keys: Vec<Keyed>,
}

impl Account {
    pub(super) fn new(id: Uuid, name: String) -> Arc<Self> {
        Arc::new(Self { id, name, log_ins: AtomicUsize::new(0), state: Mutex::default() })
    }

    /// Returns the token of the next log-in. Each attempt has another one.
    pub(super) fn next_token(&self) -> Token {
        Token { user: self.id, log_in: self.log_ins.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn session(&self, client: usize) -> Option<Session> {
        self.state().sessions.get(&client).cloned()
    }

    /// Returns the session of another client, if there is one.
    pub(super) fn other_session(&self, client: usize) -> Option<Session> {
        let state = self.state();
        let after = state.sessions.range(client + 1..).next();
        after.or_else(|| state.sessions.range(..client).next()).map(|(_, it)| it.clone())
    }

    /// Removes a client's session, if it still has this token.
    pub(super) fn end_session(&self, client: usize, token: Token) {
        let mut state = self.state();
        if state.sessions.get(&client).is_some_and(|(current, _)| *current == token) {
            state.sessions.remove(&client);
        }
    }

    /// Adds an order, and its key if it has one.
    pub(super) fn add_order(&self, order: Uuid, key: Option<&str>) {
        let mut state = self.state();
        if let Some(keyed) = state.keys.iter_mut().rev().find(|it| Some(&*it.key) == key) {
            keyed.order = Some(order);
        }
        // A repetition returns an older order.
        if !state.orders.iter().rev().take(100).any(|known| *known == order) {
            state.orders.push(order);
        }
    }
}

/// The users that all clients share. A place is empty until a client registers its user.
#[derive(Clone, Debug, Default)]
pub struct SharedAccounts(Arc<Mutex<[Option<Arc<Account>>; SHARED]>>);

impl SharedAccounts {
    fn places(&self) -> MutexGuard<'_, [Option<Arc<Account>>; SHARED]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, place: usize) -> Option<Arc<Account>> {
        self.places()[place].clone()
    }

    /// Uses a user if the place is still empty.
    pub(super) fn fill(&self, place: usize, account: Arc<Account>) {
        self.places()[place].get_or_insert(account);
    }

    /// Empties the place of a user that a restore has removed.
    pub(super) fn remove(&self, account: &Arc<Account>) {
        for place in &mut *self.places() {
            place.take_if(|found| Arc::ptr_eq(found, account));
        }
    }
}
