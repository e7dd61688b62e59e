//! What a proxy has seen of users, tokens and orders, so that it can do in somebody's name what the
//! store refuses.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::exchange::{Answer, Request};

/// A log-in that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) token: String,
}

impl Login {
    /// What a log-in and its answer say; `None` unless it succeeded.
    pub(crate) fn of(request: &Request, answer: &Answer) -> Option<Self> {
        if request.operation() != Some("log_in") || answer.status != 200 {
            return None;
        }
        let (asked, given) = (request.json(), answer.json());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            user_id: text(&given["user_id"])?,
            username: text(&asked["username"])?,
            password: text(&asked["password"])?,
            token: text(&given["access_token"])?,
        })
    }
}

/// An order that was placed.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) user_id: String,
    pub(crate) product_id: i64,
    pub(crate) quantity: i64,
}

/// Everything that has passed, as far as mutants ask for it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The last log-in of each user.
    logins: HashMap<String, Login>,
    /// Whose a token is.
    owners: HashMap<String, String>,
    orders: HashMap<String, Placed>,
    /// For a mutant's own use: words that it has put down.
    pub(crate) marks: HashSet<String>,
    /// For a mutant's own use: one word for another.
    pub(crate) notes: HashMap<String, String>,
    /// For a mutant's own use: numbers by word.
    pub(crate) counts: HashMap<String, i64>,
}

impl Memory {
    /// Takes down what a request and its answer say.
    pub(crate) fn note(&mut self, request: &Request, answer: &Answer) {
        match (request.operation(), answer.status) {
            (Some("log_in"), 200) => {
                if let Some(login) = Login::of(request, answer) {
                    self.owners.insert(login.token.clone(), login.user_id.clone());
                    self.logins.insert(login.user_id.clone(), login);
                }
            }
            (Some("change_password"), 204) => {
                if let (Some(login), Some(password)) =
                    (self.logins.get_mut(request.id()), request.json()["new_password"].as_str())
                {
                    password.clone_into(&mut login.password);
                }
            }
            (Some("update_user"), 200) => {
                if let (Some(login), Some(username)) =
                    (self.logins.get_mut(request.id()), answer.json()["username"].as_str())
                {
                    username.clone_into(&mut login.username);
                }
            }
            (Some("place_order"), 201) => {
                let order = answer.json();
                if let (Some(id), Some(user_id), Some(product_id), Some(quantity)) = (
                    order["id"].as_str(),
                    order["user_id"].as_str(),
                    order["product_id"].as_i64(),
                    order["quantity"].as_i64(),
                ) {
                    self.orders.insert(
                        id.to_owned(),
                        Placed { user_id: user_id.to_owned(), product_id, quantity },
                    );
                }
            }
            _ => {}
        }
    }

    /// The last log-in of a user.
    pub(crate) fn login(&self, user_id: &str) -> Option<Login> {
        self.logins.get(user_id).cloned()
    }

    /// The last log-in of the user whose token it is, or was.
    pub(crate) fn login_of_token(&self, token: &str) -> Option<Login> {
        self.logins.get(self.owners.get(token)?).cloned()
    }

    /// The last log-in under a name, without regard to case.
    pub(crate) fn login_of_name(&self, username: &str) -> Option<Login> {
        self.logins.values().find(|login| login.username.eq_ignore_ascii_case(username)).cloned()
    }

    /// The last log-in of anybody but this user.
    pub(crate) fn login_of_another(&self, user_id: &str) -> Option<Login> {
        self.logins.values().find(|login| login.user_id != user_id).cloned()
    }

    /// The last log-in of the user who placed an order.
    pub(crate) fn login_of_order(&self, id: &str) -> Option<Login> {
        self.login(&self.orders.get(id)?.user_id)
    }

    /// An order that was placed.
    pub(crate) fn order(&self, id: &str) -> Option<Placed> {
        self.orders.get(id).cloned()
    }
}
