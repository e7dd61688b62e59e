//! The log events that this service writes: what each is called and which facts it holds. Never a
//! password, a hash or a token.

use merch_contract::grpc::logging::v1::{Level, LogMessage};
use merch_logging::client::event::{Origin, attribute, event_name};
use uuid::Uuid;

use super::Context;
use crate::entity::orders;

/// The reason of an order that was refused for want of stock.
pub(crate) const OUT_OF_STOCK: &str = "out_of_stock";

/// What a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening<'a> {
    UserRegistered,
    UserLoggedIn,
    UserLoggedOut,
    /// With the names of the members that changed.
    UserUpdated(&'a [&'static str]),
    UserPasswordChanged,
    UserDeactivated,
    OrderPlaced(&'a orders::Model),
    OrderCancelled(&'a orders::Model),
    /// For want of stock.
    OrderRefused {
        product_id: i32,
        quantity: i32,
    },
}

/// The event of `user` having done this.
pub(crate) fn event(
    origin: &Origin,
    context: &Context,
    user: Uuid,
    happening: &Happening<'_>,
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
    let event = match happening {
        Happening::UserRegistered => about_user(event_name::USER_REGISTERED, "A user registered."),
        Happening::UserLoggedIn => about_user(event_name::USER_LOGGED_IN, "A user logged in."),
        Happening::UserLoggedOut => {
            about_user(event_name::USER_LOGGED_OUT, "A user logged out everywhere.")
        }
        Happening::UserUpdated(changed) => {
            about_user(event_name::USER_UPDATED, "A user changed their data.")
                .attribute(attribute::CHANGED, changed.join(","))
        }
        Happening::UserPasswordChanged => {
            about_user(event_name::USER_PASSWORD_CHANGED, "A user changed their password.")
        }
        Happening::UserDeactivated => {
            about_user(event_name::USER_DEACTIVATED, "A user was deactivated.")
        }
        Happening::OrderPlaced(order) => {
            about_order(event_name::ORDER_PLACED, "An order was placed.", order)
        }
        Happening::OrderCancelled(order) => {
            about_order(event_name::ORDER_CANCELLED, "An order was cancelled.", order)
        }
        Happening::OrderRefused { product_id, quantity } => origin
            .event(
                Level::Warn,
                event_name::ORDER_REFUSED,
                "An order was refused for want of stock.",
            )
            .on_product(product_id)
            .attribute(attribute::REASON, OUT_OF_STOCK)
            .attribute(attribute::PRODUCT_ID, product_id)
            .attribute(attribute::QUANTITY, quantity),
    };
    event.by_user(user).request_id(&context.request_id).trace_id(&context.trace_id).build()
}
