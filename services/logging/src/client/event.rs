//! One thing that happened, built so that it keeps the rules of the contract.

use std::{
    collections::BTreeMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use pbjson_types::Timestamp;
use uuid::Uuid;

use crate::{
    proto::{Level, LogMessage},
    rules::{self, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES},
};

/// The words of `LogMessage.event` that are in use.
pub mod word {
    /// A buyer registered.
    pub const USER_REGISTERED: &str = "user_registered";
    /// A user logged in.
    pub const USER_LOGGED_IN: &str = "user_logged_in";
    /// A user logged out: all tokens are void.
    pub const USER_LOGGED_OUT: &str = "user_logged_out";
    /// A user changed name or address (attribute `changed`).
    pub const USER_UPDATED: &str = "user_updated";
    /// A user changed the password: all tokens are void.
    pub const USER_PASSWORD_CHANGED: &str = "user_password_changed";
    /// A user was deactivated.
    pub const USER_DEACTIVATED: &str = "user_deactivated";
    /// An order was placed.
    pub const ORDER_PLACED: &str = "order_placed";
    /// An order was cancelled and its pieces put back.
    pub const ORDER_CANCELLED: &str = "order_cancelled";
    /// An order was refused (attribute `reason`).
    pub const ORDER_REFUSED: &str = "order_refused";
    /// A log-in failed (attribute `reason`).
    pub const LOG_IN_FAILED: &str = "log_in_failed";
    /// The current password was wrong when a new one was to be set.
    pub const PASSWORD_REFUSED: &str = "password_refused";
    /// A token was refused (attribute `reason`).
    pub const TOKEN_REFUSED: &str = "token_refused";
    /// Refusals that have no events of their own, counted (attributes `event`, `reason`, `count`,
    /// `first_at`, `last_at`).
    pub const REFUSALS_SUMMARISED: &str = "refusals_summarised";
    /// A call of the operator's service without the operator's credential (attribute `reason`).
    pub const OPERATOR_REFUSED: &str = "operator_refused";
    /// The operator added to a product's stock, or set it (attributes `difference` and `stock`).
    pub const PRODUCT_RESTOCKED: &str = "product_restocked";
    /// The operator set a product's price (attributes `price_cents` and `previous_price_cents`).
    pub const PRODUCT_PRICE_SET: &str = "product_price_set";
    /// The operator read a page of users (attribute `users`).
    pub const USERS_LISTED: &str = "users_listed";
    /// The operator made tokens void: one user's, or those of so many (attribute `users`).
    pub const TOKENS_REVOKED: &str = "tokens_revoked";
    /// The operator put a backup in the place of the store (attribute `taken_at`).
    pub const STORE_RESTORED: &str = "store_restored";
    /// Kafka refused an event for good (attributes `event_id`, `event` and `reason`).
    pub const EVENT_DEAD_LETTERED: &str = "event_dead_lettered";
}

/// The names of `LogMessage.attributes` that are in use.
pub mod attribute {
    /// Why something was refused, in lower_snake.
    pub const REASON: &str = "reason";
    /// The product of an order.
    pub const PRODUCT_ID: &str = "product_id";
    /// Pieces in an order.
    pub const QUANTITY: &str = "quantity";
    /// What an order costs, in minor units.
    pub const TOTAL_PRICE_CENTS: &str = "total_price_cents";
    /// The currency of the price, ISO 4217.
    pub const CURRENCY: &str = "currency";
    /// Names of the members that changed, separated by commas.
    pub const CHANGED: &str = "changed";
    /// The address that the request came from.
    pub const CLIENT_ADDRESS: &str = "client_address";
    /// Pieces more than before, negative if there are fewer.
    pub const DIFFERENCE: &str = "difference";
    /// Pieces that can be sold after it.
    pub const STOCK: &str = "stock";
    /// What one piece costs, in minor units.
    pub const PRICE_CENTS: &str = "price_cents";
    /// What one piece cost before, in minor units.
    pub const PREVIOUS_PRICE_CENTS: &str = "previous_price_cents";
    /// How many users.
    pub const USERS: &str = "users";
    /// The word of the events that a summary stands for, or of the event that Kafka refused.
    pub const EVENT: &str = "event";
    /// The id of the event that Kafka refused.
    pub const EVENT_ID: &str = "event_id";
    /// How many a summary stands for.
    pub const COUNT: &str = "count";
    /// When the first of them was, RFC 3339.
    pub const FIRST_AT: &str = "first_at";
    /// When the last of them was, RFC 3339.
    pub const LAST_AT: &str = "last_at";
    /// When a backup was taken, RFC 3339.
    pub const TAKEN_AT: &str = "taken_at";
}

/// Who did it when nobody is logged in.
pub const ANONYMOUS: &str = "anonymous";
/// Who did it when it was the operator.
pub const OPERATOR: &str = "operator";

/// The process that writes events; made once, when it starts.
#[derive(Clone, Debug)]
pub struct Origin {
    service: &'static str,
    instance: String,
}

impl Origin {
    /// `service` is `api`, `db` or `logging`. The instance is new at each call, so that each start
    /// of a process has its own.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, instance: Uuid::now_v7().to_string() }
    }

    /// The running process, as it stands in its events.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Begins an event that happens now, with a fresh id, done by nobody in particular; `word` is
    /// one of [`word`].
    pub fn event(&self, level: Level, word: &str, message: impl Into<String>) -> Event {
        Event(LogMessage {
            id: Uuid::now_v7().to_string(),
            time: Some(timestamp(SystemTime::now())),
            service: self.service.to_owned(),
            instance: self.instance.clone(),
            level: level.into(),
            event: word.to_owned(),
            actor: ANONYMOUS.to_owned(),
            subject: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
            message: message.into(),
            attributes: BTreeMap::new(),
        })
    }
}

/// An event under construction. It must never be given a password, a hash of one, or a token.
#[derive(Clone, Debug)]
#[must_use = "an event is nothing until it is written to a journal or an outbox"]
pub struct Event(LogMessage);

impl Event {
    /// The user who did it.
    pub fn by_user(mut self, id: Uuid) -> Self {
        self.0.actor = format!("user:{id}");
        self
    }

    /// The operator did it.
    pub fn by_operator(mut self) -> Self {
        self.0.actor = OPERATOR.to_owned();
        self
    }

    /// The user it was done to.
    pub fn on_user(mut self, id: Uuid) -> Self {
        self.0.subject = format!("user:{id}");
        self
    }

    /// The order it was done to.
    pub fn on_order(mut self, id: Uuid) -> Self {
        self.0.subject = format!("order:{id}");
        self
    }

    /// The product it was done to.
    pub fn on_product(mut self, id: impl fmt::Display) -> Self {
        self.0.subject = format!("product:{id}");
        self
    }

    /// The `X-Request-Id` of the HTTP request that caused it; empty if there was none.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    /// The W3C trace id of that request: 32 lower-case hexadecimal digits. Anything else is left
    /// out, as the header comes from outside.
    pub fn trace_id(mut self, id: &str) -> Self {
        if rules::is_trace_id(id) {
            self.0.trace_id = id.to_owned();
        }
        self
    }

    /// A further fact. A value of more than 1,024 bytes is cut and ends in `…`; past 32 names the
    /// fact is left out. Both are better than an event that cannot be sent.
    pub fn attribute(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.0.attributes.len() < MAX_ATTRIBUTES || self.0.attributes.contains_key(name) {
            self.0.attributes.insert(name.to_owned(), cut(value.to_string()));
        }
        self
    }

    /// The finished event.
    #[must_use]
    pub fn build(self) -> LogMessage {
        self.0
    }
}

fn cut(mut value: String) -> String {
    const MARK: &str = "…";
    if value.len() > MAX_ATTRIBUTE_BYTES {
        value.truncate(value.floor_char_boundary(MAX_ATTRIBUTE_BYTES - MARK.len()));
        value.push_str(MARK);
    }
    value
}

/// A clock before 1970 counts as 1970: an event with a wrong time is better than none.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_keeps_the_rules() {
        let origin = Origin::new("api");
        let (user, order) = (Uuid::now_v7(), Uuid::now_v7());
        let event = origin
            .event(Level::Warn, word::ORDER_REFUSED, "An order was refused: sold out")
            .by_user(user)
            .on_order(order)
            .request_id("r-1")
            .trace_id("0af7651916cd43dd8448eb211c80319c")
            .attribute(attribute::REASON, "out_of_stock")
            .attribute(attribute::QUANTITY, 2)
            .attribute(attribute::CHANGED, "é".repeat(600))
            .build();
        assert_eq!(rules::check(&event), vec![]);
        assert_eq!(
            (event.actor, event.subject),
            (format!("user:{user}"), format!("order:{order}"))
        );
        assert!(event.attributes[attribute::CHANGED].ends_with('…'));

        let many = (0..40)
            .fold(origin.event(Level::Info, word::USER_UPDATED, ""), |event, n| {
                event.attribute(&format!("a{n}"), n)
            })
            .trace_id("nonsense");
        assert_eq!(rules::check(&many.on_product(3).build()), vec![]);
    }

    #[test]
    fn ids_and_instances_do_not_repeat() {
        let origin = Origin::new("db");
        let event = || origin.event(Level::Info, word::ORDER_PLACED, "").build();
        assert_ne!(event().id, event().id);
        assert_ne!(origin.instance(), Origin::new("db").instance());
    }
}
