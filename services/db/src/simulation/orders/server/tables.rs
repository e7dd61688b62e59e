//! The committed tables, and the changes of transactions.

use std::collections::{BTreeMap, BTreeSet};

use merch_contract::grpc::logging::v1::LogMessage;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    entity::{
        orders::{Model, Status},
        users,
    },
    simulation::{
        orders::plan::{CORRUPT, PRODUCTS, USERS},
        stored_user,
    },
};

/// The committed tables, and what the check needs to know about their past.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) users: BTreeMap<Uuid, users::Model>,
    /// Committed users over time.
    pub(crate) user_changes: Vec<(Instant, users::Model)>,
    pub(crate) stock: BTreeMap<i32, i32>,
    pub(crate) delivered: BTreeMap<i32, i32>,
    pub(crate) orders: BTreeMap<Uuid, Model>,
    /// Fingerprint and order.
    pub(crate) keys: BTreeMap<(Uuid, String), (String, Uuid)>,
    pub(crate) events: Vec<LogMessage>,
    /// The greatest id of each product's orders.
    pub(crate) newest: BTreeMap<i32, Uuid>,
    /// Ids of orders in the order of their commits, with the number and the time of the commit.
    pub(crate) placed: Vec<(u64, Instant, Uuid)>,
    /// Commits that raise a token version: when, user, new version. A deactivation revokes all
    /// versions.
    pub(crate) log_outs: Vec<(u64, Instant, Uuid, i64)>,
    /// Committed stock over time.
    pub(crate) stock_changes: Vec<(Instant, i32, i32)>,
    pub(crate) commits: u64,
    /// Transactions that were committed.
    pub(crate) committed: BTreeSet<u64>,
    /// Transactions that the server ended because they waited for each other.
    pub(crate) deadlocks: u64,
    /// Broken invariants.
    pub(crate) broken: Vec<String>,
}

/// The uncommitted changes of a transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) stock: Vec<(i32, i32)>,
    pub(crate) restocked: Vec<(i32, i32)>,
    pub(crate) orders: Vec<Model>,
    pub(crate) cancelled: Vec<Uuid>,
    pub(crate) keys: Vec<((Uuid, String), (String, Uuid))>,
    pub(crate) events: Vec<LogMessage>,
    pub(crate) log_out: Option<Uuid>,
    /// Rows that replace those of these users.
    pub(crate) users: Vec<users::Model>,
    pub(crate) deactivate: Option<Uuid>,
}

impl Tables {
    pub(crate) fn new(stock: i32, started: Instant) -> Self {
        let mut tables = Self::default();
        for product in PRODUCTS {
            tables.stock.insert(product, stock);
            tables.delivered.insert(product, stock);
            tables.stock_changes.push((started, product, stock));
        }
        for user in (0..USERS).map(|user| stored_user(user_id(user), "password 0")) {
            tables.user_changes.push((started, user.clone()));
            tables.users.insert(user.id, user);
        }
        tables.stock.insert(CORRUPT, 1_000);
        tables
    }

    /// Returns the users at a moment.
    pub(crate) fn users_before(&self, at: Instant) -> BTreeMap<Uuid, users::Model> {
        let first = self.user_changes.iter().take(USERS);
        let later = self.user_changes.iter().skip(USERS).take_while(|(changed, _)| *changed <= at);
        first.chain(later).map(|(_, user)| (user.id, user.clone())).collect()
    }

    /// Returns the stock of a product at a moment.
    pub(crate) fn stock_before(&self, product: i32, at: Instant) -> i32 {
        let of_product = || self.stock_changes.iter().filter(|(_, other, _)| *other == product);
        let before = of_product().take_while(|(changed, ..)| *changed <= at).last();
        before.or_else(|| of_product().next()).map_or(0, |(_, _, stock)| *stock)
    }

    pub(crate) fn apply(&mut self, id: u64, changes: Changes, now: Instant) {
        self.committed.insert(id);
        self.commits += 1;
        let commit = self.commits;
        for (product, pieces) in changes.restocked {
            *self.delivered.entry(product).or_default() += pieces;
        }
        for (product, difference) in changes.stock {
            let stock = self.stock.entry(product).or_default();
            *stock += difference;
            self.stock_changes.push((now, product, *stock));
        }
        for order in changes.orders {
            self.placed.push((commit, now, order.id));
            let newest = self.newest.entry(order.product_id).or_default();
            *newest = order.id.max(*newest);
            if self.orders.insert(order.id, order).is_some() {
                self.broken.push("two orders have one id".to_owned());
            }
        }
        for id in changes.cancelled {
            if let Some(order) = self.orders.get_mut(&id) {
                order.status = Status::Cancelled;
                order.cancelled_at = Some(OffsetDateTime::UNIX_EPOCH);
                order.version += 1;
            }
        }
        for (key, value) in changes.keys {
            if self.keys.insert(key, value).is_some() {
                self.broken.push("a key is stored twice".to_owned());
            }
        }
        self.events.extend(changes.events);
        let mut users = changes.users;
        if let Some(user) = changes.log_out {
            let user = self.users[&user].clone();
            users.push(users::Model { token_version: user.token_version + 1, ..user });
        }
        if let Some(user) = changes.deactivate {
            self.log_outs.push((commit, now, user, i64::MAX));
            let user = self.users[&user].clone();
            let token_version = user.token_version + 1;
            users.push(users::Model { token_version, is_active: false, ..user });
        }
        for user in users {
            self.user_changes.push((now, user.clone()));
            let (id, version) = (user.id, user.token_version);
            if self.users.insert(id, user).is_some_and(|before| before.token_version < version) {
                self.log_outs.push((commit, now, id, version));
            }
        }
        for product in PRODUCTS {
            let placed: i32 = self
                .orders
                .values()
                .filter(|order| order.product_id == product && order.status == Status::Placed)
                .map(|order| order.quantity)
                .sum();
            let (stock, delivered) = (self.stock[&product], self.delivered[&product]);
            if stock < 0 || stock + placed != delivered {
                self.broken.push(format!(
                    "promise 3: product {product} has stock {stock}, {placed} pieces in placed \
                     orders, {delivered} pieces delivered"
                ));
            }
        }
    }
}

pub(crate) fn user_id(user: usize) -> Uuid {
    Uuid::from_u128(0x100 + user as u128)
}

impl Changes {
    pub(crate) fn cancel(&mut self, order: &Model) {
        self.cancelled.push(order.id);
        self.stock.push((order.product_id, order.quantity));
    }

    pub(crate) fn log_out(&mut self, user: Uuid) {
        self.log_out = Some(user);
    }

    pub(crate) fn deactivate(&mut self, user: Uuid) {
        self.deactivate = Some(user);
    }
}
