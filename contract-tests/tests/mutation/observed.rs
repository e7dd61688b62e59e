//! Users, tokens and orders that a proxy has observed, so that it can act as another user.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::exchange::{Answer, Request};

#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) token: String,
}

impl Login {
    /// The log-in of a request and response; `None` if it failed.
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

#[derive(Clone, Debug)]
pub(crate) struct PlacedOrder {
    pub(crate) user_id: String,
    pub(crate) product_id: i64,
    pub(crate) quantity: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The last log-in of each user.
    logins: HashMap<String, Login>,
    /// Token to user.
    owners: HashMap<String, String>,
    orders: HashMap<String, PlacedOrder>,
    /// Flags of a mutant.
    pub(crate) marks: HashSet<String>,
    /// Strings of a mutant.
    pub(crate) notes: HashMap<String, String>,
    /// Counters of a mutant.
    pub(crate) counts: HashMap<String, i64>,
}

impl Observed {
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
                        PlacedOrder { user_id: user_id.to_owned(), product_id, quantity },
                    );
                }
            }
            _ => {}
        }
    }

    pub(crate) fn login(&self, user_id: &str) -> Option<Login> {
        self.logins.get(user_id).cloned()
    }

    pub(crate) fn login_of_token(&self, token: &str) -> Option<Login> {
        self.logins.get(self.owners.get(token)?).cloned()
    }

    /// The last log-in with a username, ignoring case.
    pub(crate) fn login_of_name(&self, username: &str) -> Option<Login> {
        self.logins.values().find(|login| login.username.eq_ignore_ascii_case(username)).cloned()
    }

    pub(crate) fn login_of_another_user(&self, user_id: &str) -> Option<Login> {
        self.logins.values().find(|login| login.user_id != user_id).cloned()
    }

    pub(crate) fn login_of_order(&self, id: &str) -> Option<Login> {
        self.login(&self.orders.get(id)?.user_id)
    }

    pub(crate) fn order(&self, id: &str) -> Option<PlacedOrder> {
        self.orders.get(id).cloned()
    }
}
