//! A buyer's journey, from registration to deactivation.

use serde_json::json;

use super::{
    pages::Pages,
    steps::{
        PASSWORD, email, equal, follow, integer, integer_member, log_in, new_password, new_user,
        same_resource, text, token,
    },
};
use crate::suite::{Call, Case, Context, Failure};

const NEXT_PASSWORD: &str = "eleven lychees and no kite";

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("register", 201, "a buyer registers, shops and closes the account", journey)]
}

async fn journey(context: Context) -> Result<(), Failure> {
    let name = context.fresh_name();
    let registered = context.call("register").json(&new_user(&name)).expect(201).await?;
    let id = text(&registered, "id")?;
    let first = token(&context, &name, PASSWORD).await?;
    let me =
        |operation: &str, token: &str| context.call(operation).path("user_id", id).bearer(token);
    same_resource(
        &me("get_user", &first).expect(200).await?,
        &registered,
        "the user, as registered",
    )?;

    shop(&context, &first, id).await?;

    // Change the user, then the password, which revokes the token.
    let other_email = email(&format!("{name}.2"));
    let changed =
        me("update_user", &first).json(&json!({ "email": other_email })).expect(200).await?;
    equal(&changed, "`email` after the change", text(&changed, "email")?, other_email.as_str())?;
    same_resource(
        &me("get_user", &first).expect(200).await?,
        &changed,
        "the user, after the change",
    )?;
    new_password(&context, id, &first, PASSWORD, NEXT_PASSWORD).expect(204).await?;
    me("get_user", &first).expect(401).await?.problem("token_invalid")?;
    log_in(&context, &name, PASSWORD).expect(401).await?.problem("invalid_credentials")?;
    let second = token(&context, &name, NEXT_PASSWORD).await?;
    let read = me("get_user", &second).expect(200).await?;
    equal(
        &read,
        "`email` after the change of the password",
        text(&read, "email")?,
        other_email.as_str(),
    )?;

    context.call("log_out").bearer(&second).expect(204).await?;
    me("get_user", &second).expect(401).await?.problem("token_invalid")?;
    let third = token(&context, &name, NEXT_PASSWORD).await?;
    me("deactivate_user", &third).expect(204).await?;
    me("get_user", &third).expect(401).await?.problem("token_invalid")?;
    log_in(&context, &name, NEXT_PASSWORD).expect(401).await?.problem("invalid_credentials")
}

async fn shop(context: &Context, token: &str, user_id: &str) -> Result<(), Failure> {
    let call = |operation: &str| -> Call { context.call(operation).bearer(token) };
    let wanted = context.product().await?.id;
    let catalogue = Pages::of_products(context, None).await?;
    let shown = catalogue.items().find(|(_, product)| product["id"] == wanted);
    let (page, product) = shown.ok_or_else(|| {
        catalogue.last().fail(format!("expected product {wanted} in the catalogue"))
    })?;
    let price = integer_member(page, product, "price_cents")?;

    let body = json!({ "product_id": wanted, "quantity": 2 });
    let placed = call("place_order")
        .header("Idempotency-Key", context.fresh_id().to_string())
        .json(&body)
        .expect(201)
        .await?;
    equal(&placed, "`user_id`", text(&placed, "user_id")?, user_id)?;
    equal(&placed, "`total_price_cents`", &integer(&placed, "total_price_cents")?, &(2 * price))?;
    let read = follow(context, &placed, placed.header("location")?, Some(token)).await?;
    same_resource(&read, &placed, "the order at its `Location`")?;

    let orders = |status: Option<&'static str>| {
        Pages::read(
            move || context.call("list_orders").bearer(token),
            status.map(|status| ("status", status)),
            100,
        )
    };
    orders(None).await?.expect(&placed, "the list of all orders")?;
    orders(Some("placed")).await?.expect(&placed, "the list of placed orders")?;
    let cancelled = call("cancel_order").path("order_id", text(&placed, "id")?).expect(200).await?;
    equal(&cancelled, "`status` after cancelling", text(&cancelled, "status")?, "cancelled")?;
    orders(Some("placed"))
        .await?
        .expect_not(&placed, "the list of placed orders, after cancelling,")?;
    orders(Some("cancelled")).await?.expect(&cancelled, "the list of cancelled orders")
}
