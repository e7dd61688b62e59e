//! Money: integers, the store's price, and total = unit price × quantity.

use serde_json::{Value, json};

use super::{
    pages::Pages,
    steps::{
        cancel, equal, expect_stock, integer, integer_member, place_order, read_order,
        read_product, stock, text,
    },
};
use crate::suite::{Answer, Case, Context, Failure};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("place_order", 201, "the total is the price times the quantity", totals),
        Case::new(
            "place_order",
            400,
            "the client cannot set price, buyer or status",
            client_cannot_set_members,
        )
        .serial(),
    ]
}

async fn totals(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let products = Pages::of_products(&context, None).await?;
    for (page, listed) in products.items().take(3) {
        let id = integer_member(page, listed, "id")?;
        for quantity in 1..=3 {
            let product = read_product(&context, id).await?;
            if integer(&product, "stock")? < quantity {
                continue;
            }
            let placed = place_order(&context, &user, id, quantity).await?;
            costs(&placed, placed.json(), &product, quantity)?;
            let read = read_order(&context, &user, &placed).await?;
            costs(&read, read.json(), &product, quantity)?;
            let list = Pages::of_orders(&context, &user, Some("placed")).await?;
            let shown = list.find(&placed)?.ok_or_else(|| {
                list.last().fail(format!("expected {} in the list", placed.json()["id"]))
            })?;
            costs(list.last(), shown, &product, quantity)?;
            let cancelled = cancel(&context, &user, &placed).await?;
            costs(&cancelled, cancelled.json(), &product, quantity)?;
        }
    }
    Ok(())
}

fn costs(answer: &Answer, order: &Value, product: &Answer, quantity: i64) -> Result<(), Failure> {
    let price = integer(product, "price_cents")?;
    equal(answer, "`quantity`", &integer_member(answer, order, "quantity")?, &quantity)?;
    equal(
        answer,
        "`unit_price_cents`",
        &integer_member(answer, order, "unit_price_cents")?,
        &price,
    )?;
    equal(
        answer,
        "`total_price_cents`",
        &integer_member(answer, order, "total_price_cents")?,
        &(price * quantity),
    )?;
    equal(
        answer,
        "`currency`",
        order["currency"].as_str().unwrap_or_default(),
        text(product, "currency")?,
    )
}

async fn client_cannot_set_members(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let other = context.other_user(&user).await?;
    let product = context.product().await?.id;
    let orders = Pages::of_orders(&context, &user, None).await?;
    let (before, _) = stock(&context, product).await?;
    for (member, value) in [
        ("price_cents", json!(1)),
        ("unit_price_cents", json!(1)),
        ("total_price_cents", json!(0)),
        ("currency", json!("XXX")),
        ("user_id", json!(other.id)),
        ("status", json!("cancelled")),
        ("id", json!(context.fresh_id().to_string())),
        ("created_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut body = json!({ "product_id": product, "quantity": 1 });
        body[member] = value;
        let refused = context.call("place_order").as_user(&user).json(&body).expect(400).await?;
        refused.problem("invalid_request")?;
        let named = refused.json()["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|fault| fault["in"] == "body" && fault["pointer"] == format!("/{member}"));
        ensure!(named, &refused, "`errors` must name the fault in the body at \"/{member}\"");
        expect_stock(&context, product, before, &format!("after a refused order with `{member}`"))
            .await?;
    }
    let after = Pages::of_orders(&context, &user, None).await?;
    equal(
        after.last(),
        "the ids of the user's orders after refused ones",
        &after.ids(),
        &orders.ids(),
    )?;
    // A store may ignore the member, but not use it.
    let placed = place_order(&context, &user, product, 1).await?;
    equal(&placed, "`user_id`", text(&placed, "user_id")?, user.id.as_str())?;
    cancel(&context, &user, &placed).await.map(drop)
}
