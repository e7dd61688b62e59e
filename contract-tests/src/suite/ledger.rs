//! Records what the run created and which responses came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use serde_json::Value;

use super::{Failure, User};
use crate::{
    document::Operation,
    http::{RawResponse, Request},
};

/// The lock is never held across an `.await`.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    accounts: BTreeMap<String, Account>,
    /// Orders that are probably placed, by id.
    orders: BTreeMap<String, Order>,
    /// Ids of all orders ever placed.
    seen: BTreeSet<String>,
    /// Cancelled orders: a replay shows them as placed, but they stay cancelled.
    cancelled: BTreeSet<String>,
    tally: BTreeMap<(String, u16), AnswerCount>,
    incidents: Vec<Incident>,
    guarded_passwords: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) user: User,
    /// Whether the token of `user` may be valid.
    pub(super) logged_in: bool,
    pub(super) active: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    /// Empty if unknown.
    pub(super) user_id: String,
    /// The token that placed it.
    pub(super) token: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AnswerCount {
    pub(super) fine: usize,
    pub(super) faulty: usize,
}

/// An invalid response outside of any case, such as the registration of a shared user.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub(super) operation: String,
    pub(super) status: u16,
    pub(super) failure: Failure,
}

impl Ledger {
    pub(super) fn note(&self, operation: &Operation, request: &Request, answer: &RawResponse) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let sent: Value = request
            .body
            .as_ref()
            .and_then(|body| serde_json::from_slice(body).ok())
            .unwrap_or_default();
        let text = |value: &Value, member: &str| {
            value.get(member).and_then(Value::as_str).map(str::to_owned)
        };
        let in_path = |name: &str| parameter(operation, request, name);
        let mut notes = self.notes();
        // The effect counts even if the status is undeclared.
        match (operation.id.as_str(), answer.status) {
            ("register", 200..=299) => {
                let (Some(id), Some(username), Some(password)) =
                    (text(&body, "id"), text(&sent, "username"), text(&sent, "password"))
                else {
                    return;
                };
                let (sid, email) = (
                    text(&sent, "sid").unwrap_or_default(),
                    text(&sent, "email").unwrap_or_default(),
                );
                let user =
                    User { id: id.clone(), sid, username, email, password, token: String::new() };
                notes.accounts.insert(id, Account { user, logged_in: false, active: true });
            }
            ("log_in", 200..=299) => {
                let (Some(id), Some(token)) = (text(&body, "user_id"), text(&body, "access_token"))
                else {
                    return;
                };
                if let Some(account) = notes.accounts.get_mut(&id) {
                    account.user.token = token;
                    account.logged_in = true;
                }
            }
            ("update_user", 200..=299) => {
                if let (Some(id), Some(username)) = (text(&body, "id"), text(&body, "username"))
                    && let Some(account) = notes.accounts.get_mut(&id)
                {
                    account.user.username = username;
                    account.user.email = text(&body, "email").unwrap_or_default();
                }
            }
            ("change_password", 200..=299) => {
                if let (Some(id), Some(password)) =
                    (in_path("user_id"), text(&sent, "new_password"))
                    && let Some(account) = notes.accounts.get_mut(&id)
                {
                    account.user.password = password;
                    account.logged_in = false;
                }
            }
            ("deactivate_user", 200..=299) => {
                if let Some(account) = in_path("user_id").and_then(|id| notes.accounts.get_mut(&id))
                {
                    account.active = false;
                }
            }
            ("place_order", 200..=299) => {
                if let (Some(id), Some(token)) = (text(&body, "id"), request.token()) {
                    let order = Order {
                        id: id.clone(),
                        user_id: text(&body, "user_id").unwrap_or_default(),
                        token: token.to_owned(),
                    };
                    notes.seen.insert(id.clone());
                    if !notes.cancelled.contains(&id) {
                        notes.orders.insert(id, order);
                    }
                }
            }
            ("cancel_order", 200..=299) if body["status"] == "cancelled" => {
                if let Some(id) = text(&body, "id") {
                    notes.orders.remove(&id);
                    notes.cancelled.insert(id);
                }
            }
            (_, 401) | ("log_out", 200..=299) => {
                // The token may be revoked now; the next lease checks it.
                if let Some(token) = request.token() {
                    for account in
                        notes.accounts.values_mut().filter(|account| account.user.token == token)
                    {
                        account.logged_in = false;
                    }
                }
            }
            (_, _) => {}
        }
    }

    pub(super) fn count(&self, operation: &str, status: u16, fine: bool) {
        let mut notes = self.notes();
        let tally = notes.tally.entry((operation.to_owned(), status)).or_default();
        if fine {
            tally.fine += 1;
        } else {
            tally.faulty += 1;
        }
    }

    /// Records a fault outside of any case, once per kind.
    pub(super) fn incident(&self, incident: Incident) {
        let mut notes = self.notes();
        let same = |other: &Incident| {
            (&other.operation, other.status) == (&incident.operation, incident.status)
        };
        if !notes.incidents.iter().any(same) {
            notes.incidents.push(incident);
        }
    }

    pub(super) fn incidents(&self) -> Vec<Incident> {
        self.notes().incidents.clone()
    }

    pub(super) fn tally(&self) -> BTreeMap<(String, u16), AnswerCount> {
        self.notes().tally.clone()
    }

    pub(super) fn account(&self, id: &str) -> Option<Account> {
        self.notes().accounts.get(id).cloned()
    }

    pub(super) fn accounts(&self) -> Vec<Account> {
        self.notes().accounts.values().cloned().collect()
    }

    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.notes().accounts.get_mut(id) {
            change(account);
        }
    }

    /// Records a random password, so that no response may contain it. Passwords of cases may be
    /// public examples.
    pub(super) fn guard_password(&self, password: &str) {
        self.notes().guarded_passwords.push(password.to_owned());
    }

    pub(super) fn guarded_passwords(&self) -> Vec<String> {
        self.notes().guarded_passwords.clone()
    }

    pub(super) fn orders(&self) -> Vec<Order> {
        self.notes().orders.values().cloned().collect()
    }

    pub(super) fn placed(&self) -> usize {
        self.notes().seen.len()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // The data stays consistent after a panic.
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn parameter(operation: &Operation, request: &Request, name: &str) -> Option<String> {
    let path = request.path.split('?').next().unwrap_or_default();
    let at = operation.path.split('/').position(|segment| segment == format!("{{{name}}}"))?;
    path.split('/').nth(at).map(str::to_owned)
}
