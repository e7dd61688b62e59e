//! Builds log events that satisfy the contract's rules.

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

/// Names of events (`LogMessage.event`).
pub mod event_name {
    /// A buyer registered.
    pub const USER_REGISTERED: &str = "user_registered";
    /// A user logged in.
    pub const USER_LOGGED_IN: &str = "user_logged_in";
    /// A user logged out; this revokes all tokens.
    pub const USER_LOGGED_OUT: &str = "user_logged_out";
    /// A user changed name or address (attribute `changed`).
    pub const USER_UPDATED: &str = "user_updated";
    /// A user changed the password; this revokes all tokens.
    pub const USER_PASSWORD_CHANGED: &str = "user_password_changed";
    /// A user was deactivated.
    pub const USER_DEACTIVATED: &str = "user_deactivated";
    /// An order was placed.
    pub const ORDER_PLACED: &str = "order_placed";
    /// An order was cancelled and its stock restored.
    pub const ORDER_CANCELLED: &str = "order_cancelled";
    /// An order was refused (attribute `reason`).
    pub const ORDER_REFUSED: &str = "order_refused";
    /// A log-in failed (attribute `reason`).
    pub const LOG_IN_FAILED: &str = "log_in_failed";
    /// A password change with a wrong current password.
    pub const PASSWORD_REFUSED: &str = "password_refused";
    /// A token was refused (attribute `reason`).
    pub const TOKEN_REFUSED: &str = "token_refused";
    /// Counts refusals without events of their own (attributes `event`, `reason`, `count`,
    /// `first_at`, `last_at`).
    pub const REFUSALS_SUMMARISED: &str = "refusals_summarised";
    /// An operator call had no valid credential (attribute `reason`).
    pub const OPERATOR_REFUSED: &str = "operator_refused";
    /// The operator changed the stock (attributes `difference`, `stock`).
    pub const PRODUCT_RESTOCKED: &str = "product_restocked";
    /// The operator set a price (attributes `price_cents`, `previous_price_cents`).
    pub const PRODUCT_PRICE_SET: &str = "product_price_set";
    /// The operator read a page of users (attribute `users`).
    pub const USERS_LISTED: &str = "users_listed";
    /// The operator revoked users' tokens (attribute `users`).
    pub const TOKENS_REVOKED: &str = "tokens_revoked";
    /// The operator restored a backup (attribute `taken_at`).
    pub const STORE_RESTORED: &str = "store_restored";
    /// Kafka refused an event (attributes `event_id`, `event`, `reason`).
    pub const EVENT_DEAD_LETTERED: &str = "event_dead_lettered";
}

/// Names of attributes (`LogMessage.attributes`).
pub mod attribute {
    /// Reason of a refusal, in snake_case.
    pub const REASON: &str = "reason";
    /// Product of an order.
    pub const PRODUCT_ID: &str = "product_id";
    /// Quantity of an order.
    pub const QUANTITY: &str = "quantity";
    /// Total price in minor units.
    pub const TOTAL_PRICE_CENTS: &str = "total_price_cents";
    /// Currency, ISO 4217.
    pub const CURRENCY: &str = "currency";
    /// Names of the changed members, separated by commas.
    pub const CHANGED: &str = "changed";
    /// Source address of the request.
    pub const CLIENT_ADDRESS: &str = "client_address";
    /// Change of the stock; negative if it fell.
    pub const DIFFERENCE: &str = "difference";
    /// Stock after the change.
    pub const STOCK: &str = "stock";
    /// Price of one piece in minor units.
    pub const PRICE_CENTS: &str = "price_cents";
    /// Previous price of one piece in minor units.
    pub const PREVIOUS_PRICE_CENTS: &str = "previous_price_cents";
    /// Number of users.
    pub const USERS: &str = "users";
    /// Name of the counted events, or of the refused one.
    pub const EVENT: &str = "event";
    /// Id of the refused event.
    pub const EVENT_ID: &str = "event_id";
    /// Number of refusals in a summary.
    pub const COUNT: &str = "count";
    /// Time of the first refusal, RFC 3339.
    pub const FIRST_AT: &str = "first_at";
    /// Time of the last refusal, RFC 3339.
    pub const LAST_AT: &str = "last_at";
    /// Time of the backup, RFC 3339.
    pub const TAKEN_AT: &str = "taken_at";
}

/// Actor of requests without a user.
pub const ANONYMOUS: &str = "anonymous";
/// Actor of the operator's calls.
pub const OPERATOR: &str = "operator";

/// The process that writes events; create one.
#[derive(Clone, Debug)]
pub struct Origin {
    service: &'static str,
    instance: String,
}

impl Origin {
    /// Creates an origin with a new instance id. `service` is `api`, `db` or `logging`.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, instance: Uuid::now_v7().to_string() }
    }

    /// Returns the instance id.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Starts an event with a new id, the current time and the anonymous actor.
    pub fn event(&self, level: Level, name: &str, message: impl Into<String>) -> Event {
        Event(LogMessage {
            id: Uuid::now_v7().to_string(),
            time: Some(timestamp(SystemTime::now())),
            service: self.service.to_owned(),
            instance: self.instance.clone(),
            level: level.into(),
            event: name.to_owned(),
            actor: ANONYMOUS.to_owned(),
            subject: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
            message: message.into(),
            attributes: BTreeMap::new(),
        })
    }
}

/// An event builder. Events must not contain passwords, password hashes or tokens.
#[derive(Clone, Debug)]
#[must_use = "an event has no effect until it is written to a journal or an outbox"]
pub struct Event(LogMessage);

impl Event {
    /// Sets the actor to a user.
    pub fn by_user(mut self, id: Uuid) -> Self {
        self.0.actor = format!("user:{id}");
        self
    }

    /// Sets the actor to the operator.
    pub fn by_operator(mut self) -> Self {
        self.0.actor = OPERATOR.to_owned();
        self
    }

    /// Sets the subject to a user.
    pub fn on_user(mut self, id: Uuid) -> Self {
        self.0.subject = format!("user:{id}");
        self
    }

    /// Sets the subject to an order.
    pub fn on_order(mut self, id: Uuid) -> Self {
        self.0.subject = format!("order:{id}");
        self
    }

    /// Sets the subject to a product.
    pub fn on_product(mut self, id: impl fmt::Display) -> Self {
        self.0.subject = format!("product:{id}");
        self
    }

    /// Sets the `X-Request-Id` of the HTTP request; may be empty.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    /// Sets the W3C trace id. Ignores an invalid one, because clients send it.
    pub fn trace_id(mut self, id: &str) -> Self {
        if rules::is_trace_id(id) {
            self.0.trace_id = id.to_owned();
        }
        self
    }

    /// Adds an attribute. Truncates values over 1,024 bytes with `…`; drops attributes past the
    /// 32nd.
    pub fn attribute(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.0.attributes.len() < MAX_ATTRIBUTES || self.0.attributes.contains_key(name) {
            self.0.attributes.insert(name.to_owned(), truncate_value(value.to_string()));
        }
        self
    }

    /// Returns the event.
    #[must_use]
    pub fn build(self) -> LogMessage {
        self.0
    }
}

fn truncate_value(mut value: String) -> String {
    const MARK: &str = "…";
    if value.len() > MAX_ATTRIBUTE_BYTES {
        value.truncate(value.floor_char_boundary(MAX_ATTRIBUTE_BYTES - MARK.len()));
        value.push_str(MARK);
    }
    value
}

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
    fn built_events_pass_validation() {
        let origin = Origin::new("api");
        let (user, order) = (Uuid::now_v7(), Uuid::now_v7());
        let event = origin
            .event(Level::Warn, event_name::ORDER_REFUSED, "An order was refused: sold out")
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
            .fold(origin.event(Level::Info, event_name::USER_UPDATED, ""), |event, n| {
                event.attribute(&format!("a{n}"), n)
            })
            .trace_id("nonsense");
        assert_eq!(rules::check(&many.on_product(3).build()), vec![]);
    }

    #[test]
    fn ids_and_instances_are_unique() {
        let origin = Origin::new("db");
        let event = || origin.event(Level::Info, event_name::ORDER_PLACED, "").build();
        assert_ne!(event().id, event().id);
        assert_ne!(origin.instance(), Origin::new("db").instance());
    }
}
