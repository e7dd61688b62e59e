//! Builds log events, which never contain a password, a hash or a token.

use merch_contract::grpc::logging::v1::{Level, LogMessage};
use merch_logging::client::event::{Origin, attribute, event_name};
use uuid::Uuid;

use super::Context;
use crate::entity::orders;

pub(crate) const OUT_OF_STOCK: &str = "out_of_stock";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DomainEvent<'a> {
    UserRegistered,
    UserLoggedIn,
    UserLoggedOut,
    /// The names of the changed fields.
    UserUpdated(&'a [&'static str]),
    UserPasswordChanged,
    UserDeactivated,
    OrderPlaced(&'a orders::Model),
    OrderCancelled(&'a orders::Model),
    /// Refused for lack of stock.
    OrderRefused {
        product_id: i32,
        quantity: i32,
    },
}

pub(crate) fn event(
    origin: &Origin,
    context: &Context,
    user: Uuid,
    event: &DomainEvent<'_>,
) -> LogMessage {
    let about_user = |word, message| origin.event(Level::Info, word, message).on_user(user);
    let about_order = |word, message, order: &orders::Model| {
        origin
            .event(Level::Info, word, message)
            .on_order(order.id)
            .attribute(attribute::PRODUCT_ID, order.product_id)
            .attribute(attribute::QUANTITY, order.quantity)
            .attribute(attribute::TOTAL_PRICE_CENTS, order.total_price_cents)
            .attribute(attribute::CURRENCY, &order.currency)
    };
    let event = match event {
        DomainEvent::UserRegistered => {
            about_user(event_name::USER_REGISTERED, "A user registered.")
        }
        DomainEvent::UserLoggedIn => about_user(event_name::USER_LOGGED_IN, "A user logged in."),
        DomainEvent::UserLoggedOut => {
            about_user(event_name::USER_LOGGED_OUT, "A user logged out everywhere.")
        }
        DomainEvent::UserUpdated(changed) => {
            about_user(event_name::USER_UPDATED, "A user changed their data.")
                .attribute(attribute::CHANGED, changed.join(","))
        }
        DomainEvent::UserPasswordChanged => {
            about_user(event_name::USER_PASSWORD_CHANGED, "A user changed their password.")
        }
        DomainEvent::UserDeactivated => {
            about_user(event_name::USER_DEACTIVATED, "A user was deactivated.")
        }
        DomainEvent::OrderPlaced(order) => {
            about_order(event_name::ORDER_PLACED, "An order was placed.", order)
        }
        DomainEvent::OrderCancelled(order) => {
            about_order(event_name::ORDER_CANCELLED, "An order was cancelled.", order)
        }
        DomainEvent::OrderRefused { product_id, quantity } => origin
            .event(
                Level::Warn,
                event_name::ORDER_REFUSED,
                "An order was refused for lack of stock.",
            )
            .on_product(product_id)
            .attribute(attribute::REASON, OUT_OF_STOCK)
            .attribute(attribute::PRODUCT_ID, product_id)
            .attribute(attribute::QUANTITY, quantity),
    };
    event.by_user(user).request_id(&context.request_id).trace_id(&context.trace_id).build()
}
