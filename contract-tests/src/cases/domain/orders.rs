//! Orders: creation, cancellation, ownership.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::Duration;

use super::{
    pages::Pages,
    steps::{
        answered_at, cancel, equal, follow, place_order, read_order, same_problem, same_resource,
        text, timestamp,
    },
};
use crate::suite::{Case, Context, Failure};

const MAX_CLOCK_SKEW: Duration = Duration::minutes(10);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "a new order has the requested items, the status placed and the current time",
            as_requested,
        ),
        Case::new("place_order", 201, "later orders have greater ids", ids_grow),
        Case::new(
            "place_order",
            201,
            "two requests without a key place two orders",
            two_requests_two_orders,
        ),
        Case::new(
            "get_order",
            200,
            "an order is the same at its `Location`, by its id and in the list",
            same_everywhere,
        ),
        Case::new("get_order", 304, "each change of an order changes its entity tag", tags),
        Case::new(
            "cancel_order",
            200,
            "cancelling changes only the status and its time",
            cancelled,
        ),
        Case::new(
            "list_orders",
            200,
            "the list is complete, newest first, and filtered by status",
            sorted_and_filtered,
        ),
        Case::new("list_orders", 200, "a page token carries the filter", token_carries_the_filter),
        Case::new(
            "list_orders",
            200,
            "a user sees only their own orders, even with another user's page token",
            own_only,
        ),
        Case::new(
            "get_order",
            404,
            "another user's order is answered like an unknown one",
            another_users,
        ),
    ]
}

async fn as_requested(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?);
    let id = product.id;
    let placed = place_order(&context, &user, id, 2).await?;
    for (member, wanted) in [
        ("user_id", json!(user.id)),
        ("product_id", json!(id)),
        ("quantity", json!(2)),
        ("status", json!("placed")),
        ("cancelled_at", Value::Null),
    ] {
        equal(&placed, &format!("`{member}` of a new order"), &placed.json()[member], &wanted)?;
    }
    let (created, now) = (timestamp(&placed, "created_at")?, answered_at(&placed));
    ensure!(
        (now - created).abs() < MAX_CLOCK_SKEW,
        &placed,
        "expected the current time in `created_at`, but the response came at {now}"
    );
    cancel(&context, &user, &placed).await.map(drop)
}

async fn ids_grow(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let mut before: Option<uuid::Uuid> = None;
    for _ in 0..5 {
        let placed = place_order(&context, &user, product, 1).await?;
        let id = text(&placed, "id")?
            .parse::<uuid::Uuid>()
            .map_err(|error| placed.fail(format!("`id` must be a UUID: {error}")))?;
        ensure!(
            before.is_none_or(|before| before < id),
            &placed,
            "expected a greater id for a later order, got {id} after {}",
            before.unwrap_or_default()
        );
        before = Some(id);
        cancel(&context, &user, &placed).await?;
    }
    Ok(())
}

async fn two_requests_two_orders(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (first, second) = (
        place_order(&context, &user, product, 1).await?,
        place_order(&context, &user, product, 1).await?,
    );
    ensure!(
        text(&first, "id")? != text(&second, "id")?,
        &second,
        "expected two orders for two requests without `Idempotency-Key`, got one"
    );
    same_resource(&read_order(&context, &user, &first).await?, &first, "the first order")?;
    cancel(&context, &user, &first).await?;
    same_resource(
        &read_order(&context, &user, &second).await?,
        &second,
        "the second order, after the first was cancelled",
    )?;
    cancel(&context, &user, &second).await.map(drop)
}

async fn same_everywhere(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    // Three pieces, to detect an order stored with fewer.
    let placed = place_order(&context, &user, product, 3).await?;
    let found = follow(&context, &placed, placed.header("location")?, Some(&user.token)).await?;
    equal(&found, "the status at `Location`", &found.status, &200)?;
    same_resource(&found, &placed, "the order at its `Location`")?;
    same_resource(&read_order(&context, &user, &placed).await?, &placed, "the order by its id")?;
    Pages::of_orders(&context, &user, None).await?.expect(&placed, "the list of all orders")?;
    let cancelled = cancel(&context, &user, &placed).await?;
    same_resource(
        &read_order(&context, &user, &placed).await?,
        &cancelled,
        "the cancelled order by its id",
    )?;
    Pages::of_orders(&context, &user, None)
        .await?
        .expect(&cancelled, "the list of all orders, after cancelling,")
}

async fn tags(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let placed = place_order(&context, &user, product, 1).await?;
    let id = text(&placed, "id")?;
    let read = |tag: &str| {
        context.call("get_order").path("order_id", id).as_user(&user).header("If-None-Match", tag)
    };
    let old = placed.header("etag")?;
    let unchanged = read(old).expect(304).await?;
    equal(&unchanged, "the entity tag of a 304", unchanged.header("etag")?, old)?;

    let cancelled = cancel(&context, &user, &placed).await?;
    let new = cancelled.header("etag")?;
    ensure!(new != old, &cancelled, "expected a new entity tag after a change, got {old} again");
    same_resource(
        &read(old).expect(200).await?,
        &cancelled,
        "the order, requested with the old tag,",
    )?;
    read(new).expect(304).await?;
    read(&format!("{old}, {new}")).expect(304).await?;
    read("*").expect(304).await.map(drop)
}

async fn cancelled(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let placed = place_order(&context, &user, product, 2).await?;
    let cancelled = cancel(&context, &user, &placed).await?;
    let mut wanted = placed.json().clone();
    wanted["status"] = json!("cancelled");
    wanted["cancelled_at"] = cancelled.json()["cancelled_at"].clone();
    equal(&cancelled, "the order after cancelling", cancelled.json(), &wanted)?;
    let (from, until) =
        (timestamp(&cancelled, "created_at")?, timestamp(&cancelled, "cancelled_at")?);
    ensure!(until >= from, &cancelled, "`cancelled_at` must not be before `created_at`");
    let now = answered_at(&cancelled);
    ensure!(
        (now - until).abs() < MAX_CLOCK_SKEW,
        &cancelled,
        "expected the current time in `cancelled_at`, but the response came at {now}"
    );
    Ok(())
}

async fn sorted_and_filtered(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.own_user().await?, context.product().await?.id);
    let (first, second, third) = (
        place_order(&context, &user, product, 1).await?,
        place_order(&context, &user, product, 2).await?,
        place_order(&context, &user, product, 1).await?,
    );
    let gone = cancel(&context, &user, &second).await?;

    let all = Pages::of_orders(&context, &user, None).await?;
    let newest: Vec<&Value> = all.ids().into_iter().take(3).collect();
    equal(
        all.last(),
        "the ids of the three newest orders",
        &newest,
        &[&third, &second, &first].map(|order| &order.json()["id"]).to_vec(),
    )?;
    for (before, after) in all.items().zip(all.items().skip(1)) {
        let (newer, older) = (before.1["id"].as_str(), after.1["id"].as_str());
        ensure!(
            newer > older,
            after.0,
            "expected the newest order first, got {newer:?} before {older:?}"
        );
    }

    // The filters partition the list and keep its order.
    let statuses = ["placed", "cancelled"];
    for status in statuses {
        let some = Pages::of_orders(&context, &user, Some(status)).await?;
        let wanted: Vec<&Value> =
            all.items().map(|(_, order)| order).filter(|order| order["status"] == status).collect();
        let found: Vec<&Value> = some.items().map(|(_, order)| order).collect();
        equal(some.last(), &format!("the list of {status} orders"), &found, &wanted)?;
    }
    let others: Vec<&Value> = all
        .items()
        .map(|(_, order)| &order["status"])
        .filter(|status| !statuses.map(Value::from).contains(status))
        .collect();
    ensure!(
        others.is_empty(),
        all.last(),
        "expected only placed and cancelled orders, got {others:?}"
    );
    all.expect(&gone, "the list of all orders")?;
    cancel(&context, &user, &first).await?;
    cancel(&context, &user, &third).await.map(drop)
}

async fn token_carries_the_filter(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.own_user().await?, context.product().await?.id);
    // Placed and cancelled orders alternate, so that a lost filter shows on the second page.
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(place_order(&context, &user, product, 1).await?);
        let gone = place_order(&context, &user, product, 1).await?;
        cancel(&context, &user, &gone).await?;
    }
    let list = || context.call("list_orders").as_user(&user);
    let walked = Pages::read(list, Some(("status", "placed")), 1).await?;
    let whole = Pages::of_orders(&context, &user, Some("placed")).await?;
    equal(
        walked.last(),
        "the ids of the placed orders, page by page",
        &walked.ids(),
        &whole.ids(),
    )?;
    let wanted: Vec<&Value> = kept.iter().rev().map(|order| &order.json()["id"]).collect();
    equal(
        walked.last(),
        "the ids of the three newest placed orders",
        &walked.ids().into_iter().take(3).collect(),
        &wanted,
    )?;

    // The same filter may be repeated; a different one may not.
    let first = list().query("status", "placed").query("limit", 1).expect(200).await?;
    let token = text(&first, "next_page")?;
    let again = list()
        .query("page_token", token)
        .query("status", "placed")
        .query("limit", 1)
        .expect(200)
        .await?;
    equal(
        &again,
        "the second page, with the filter sent again,",
        &again.json()["items"][0]["id"],
        wanted[1],
    )?;
    list()
        .query("page_token", token)
        .query("status", "cancelled")
        .expect(400)
        .await?
        .problem("invalid_request")?;
    for order in &kept {
        cancel(&context, &user, order).await?;
    }
    Ok(())
}

async fn own_only(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let (other, product) = (context.other_user(&user).await?, context.product().await?.id);
    let orders = [
        place_order(&context, &user, product, 1).await?,
        place_order(&context, &user, product, 1).await?,
    ];
    let foreign = place_order(&context, &other, product, 1).await?;
    for (who, own, others) in [
        (&*user, &orders[..], std::slice::from_ref(&foreign)),
        (&other, std::slice::from_ref(&foreign), &orders[..]),
    ] {
        let list = Pages::of_orders(&context, who, None).await?;
        for (page, order) in list.items() {
            equal(
                page,
                "`user_id` of an order in the user's list",
                order["user_id"].as_str().unwrap_or_default(),
                who.id.as_str(),
            )?;
        }
        own.iter().try_for_each(|order| list.expect(order, "the list of the user's orders"))?;
        others
            .iter()
            .try_for_each(|order| list.expect_not(order, "the list of the user's orders"))?;
    }

    // A page token grants no access.
    let first = context.call("list_orders").as_user(&user).query("limit", 1).expect(200).await?;
    let stolen = context
        .call("list_orders")
        .as_user(&other)
        .query("page_token", text(&first, "next_page")?)
        .send()
        .await?;
    ensure!(
        [200, 400].contains(&stolen.status),
        &stolen,
        "expected the user's own orders or 400 for another user's page token, got {}",
        stolen.status
    );
    let owners: BTreeSet<&str> = stolen.json()["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|order| order["user_id"].as_str())
        .collect();
    ensure!(
        owners.iter().all(|owner| *owner == other.id),
        &stolen,
        "expected only the user's own orders for another user's page token, got orders of \
         {owners:?}"
    );

    for order in &orders {
        cancel(&context, &user, order).await?;
    }
    cancel(&context, &other, &foreign).await.map(drop)
}

async fn another_users(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let (other, product) = (context.other_user(&user).await?, context.product().await?.id);
    let placed = place_order(&context, &user, product, 1).await?;
    let (id, unknown) = (text(&placed, "id")?, context.fresh_id().to_string());
    let attempts = |id: &str| {
        let call = |operation: &str| context.call(operation).path("order_id", id).as_user(&other);
        [call("get_order"), call("get_order").header("If-None-Match", "*"), call("cancel_order")]
    };
    for (others, unknown_response) in attempts(id).into_iter().zip(attempts(&unknown)) {
        let others = others.expect(404).await?;
        others.problem("order_not_found")?;
        same_problem(
            &others,
            &unknown_response.expect(404).await?,
            [id, &unknown],
            "the response for another user's order, compared with an unknown one,",
        )?;
    }
    same_resource(
        &read_order(&context, &user, &placed).await?,
        &placed,
        "the order after another user's attempt",
    )?;
    cancel(&context, &user, &placed).await?;
    // A cancelled order stays private.
    context
        .call("cancel_order")
        .path("order_id", id)
        .as_user(&other)
        .expect(404)
        .await?
        .problem("order_not_found")
}
