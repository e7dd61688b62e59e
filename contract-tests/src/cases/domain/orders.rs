//! Orders: what a new one is, what cancelling makes of it, and that they are nobody else's.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::Duration;

use super::{
    pages::Pages,
    steps::{
        answered_at, cancel, equal, follow, moment, place_order, read_order, same_problem,
        same_thing, text,
    },
};
use crate::suite::{Case, Context, Failure};

/// How far the clocks of a store, of what stands before it and of this machine may be apart.
const CLOCKS: Duration = Duration::minutes(10);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "a new order is as asked for, placed, and of this moment",
            as_asked_for,
        ),
        Case::new("place_order", 201, "later orders have greater ids", ids_grow),
        Case::new("place_order", 201, "two orders without a key are two orders", two_are_two),
        Case::new(
            "get_order",
            200,
            "the same at its `Location`, by its id and in the list",
            one_thing,
        ),
        Case::new("get_order", 304, "the entity tag is another after each change", tags),
        Case::new("cancel_order", 200, "cancelled now, and all else as it was", cancelled),
        Case::new(
            "list_orders",
            200,
            "newest first, by status, and all of them",
            sorted_and_filtered,
        ),
        Case::new("list_orders", 200, "a page token carries the filter", token_carries_the_filter),
        Case::new(
            "list_orders",
            200,
            "nobody sees another's orders, not with another's page token either",
            own_only,
        ),
        Case::new(
            "get_order",
            404,
            "somebody else's order is as one that does not exist, to read and to cancel",
            somebody_elses,
        ),
    ]
}

async fn as_asked_for(context: Context) -> Result<(), Failure> {
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
    let (created, now) = (moment(&placed, "created_at")?, answered_at(&placed));
    ensure!(
        (now - created).abs() < CLOCKS,
        &placed,
        "`created_at` must be the moment of the order, but the answer came at {now}"
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
            "a later order must have a greater id, but {id} is not greater than {}",
            before.unwrap_or_default()
        );
        before = Some(id);
        cancel(&context, &user, &placed).await?;
    }
    Ok(())
}

async fn two_are_two(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (first, second) = (
        place_order(&context, &user, product, 1).await?,
        place_order(&context, &user, product, 1).await?,
    );
    ensure!(
        text(&first, "id")? != text(&second, "id")?,
        &second,
        "two orders without an `Idempotency-Key` must be two orders"
    );
    same_thing(&read_order(&context, &user, &first).await?, &first, "the first order")?;
    cancel(&context, &user, &first).await?;
    same_thing(
        &read_order(&context, &user, &second).await?,
        &second,
        "the second order, after the first was cancelled",
    )?;
    cancel(&context, &user, &second).await.map(drop)
}

async fn one_thing(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    // Of three pieces, as what is kept may be fewer than what was answered.
    let placed = place_order(&context, &user, product, 3).await?;
    let found = follow(&context, &placed, placed.header("location")?, Some(&user.token)).await?;
    equal(&found, "the status at `Location`", &found.status, &200)?;
    same_thing(&found, &placed, "the order at its `Location`")?;
    same_thing(&read_order(&context, &user, &placed).await?, &placed, "the order by its id")?;
    Pages::of_orders(&context, &user, None).await?.expect(&placed, "the list of all orders")?;
    let cancelled = cancel(&context, &user, &placed).await?;
    same_thing(
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
    ensure!(
        new != old,
        &cancelled,
        "the order has changed, so the entity tag must not be {old} any more"
    );
    same_thing(
        &read(old).expect(200).await?,
        &cancelled,
        "the order, for one who has the version from before,",
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
    let (from, until) = (moment(&cancelled, "created_at")?, moment(&cancelled, "cancelled_at")?);
    ensure!(until >= from, &cancelled, "`cancelled_at` must not be before `created_at`");
    let now = answered_at(&cancelled);
    ensure!(
        (now - until).abs() < CLOCKS,
        &cancelled,
        "`cancelled_at` must be the moment of cancelling, but the answer came at {now}"
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
            "orders must come newest first, but {newer:?} comes before {older:?}"
        );
    }

    // The filter divides the whole: each order is in one of the two lists, in the same order.
    let statuses = ["placed", "cancelled"];
    for status in statuses {
        let some = Pages::of_orders(&context, &user, Some(status)).await?;
        let wanted: Vec<&Value> =
            all.items().map(|(_, order)| order).filter(|order| order["status"] == status).collect();
        let came: Vec<&Value> = some.items().map(|(_, order)| order).collect();
        equal(some.last(), &format!("the list of {status} orders"), &came, &wanted)?;
    }
    let others: Vec<&Value> = all
        .items()
        .map(|(_, order)| &order["status"])
        .filter(|status| !statuses.map(Value::from).contains(status))
        .collect();
    ensure!(
        others.is_empty(),
        all.last(),
        "an order is placed or cancelled, but there are {others:?}"
    );
    all.expect(&gone, "the list of all orders")?;
    cancel(&context, &user, &first).await?;
    cancel(&context, &user, &third).await.map(drop)
}

async fn token_carries_the_filter(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.own_user().await?, context.product().await?.id);
    // Placed and cancelled by turns, so that a forgotten filter shows on the second page.
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
        "the ids of the placed orders, walked one at a time",
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

    // With the token the filter may be sent again, and another may not.
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
    let (stranger, product) = (context.other_user(&user).await?, context.product().await?.id);
    let orders = [
        place_order(&context, &user, product, 1).await?,
        place_order(&context, &user, product, 1).await?,
    ];
    let foreign = place_order(&context, &stranger, product, 1).await?;
    for (who, own, others) in [
        (&*user, &orders[..], std::slice::from_ref(&foreign)),
        (&stranger, std::slice::from_ref(&foreign), &orders[..]),
    ] {
        let list = Pages::of_orders(&context, who, None).await?;
        for (page, order) in list.items() {
            equal(
                page,
                "`user_id` of an order in one's own list",
                order["user_id"].as_str().unwrap_or_default(),
                who.id.as_str(),
            )?;
        }
        own.iter().try_for_each(|order| list.expect(order, "the list of one's own orders"))?;
        others
            .iter()
            .try_for_each(|order| list.expect_not(order, "the list of one's own orders"))?;
    }

    // A page token is a place in a list, and no key to it.
    let first = context.call("list_orders").as_user(&user).query("limit", 1).expect(200).await?;
    let stolen = context
        .call("list_orders")
        .as_user(&stranger)
        .query("page_token", text(&first, "next_page")?)
        .send()
        .await?;
    ensure!(
        [200, 400].contains(&stolen.status),
        &stolen,
        "another's page token must lead to one's own orders or be refused with 400, but the answer is {}",
        stolen.status
    );
    let owners: BTreeSet<&str> = stolen.json()["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|order| order["user_id"].as_str())
        .collect();
    ensure!(
        owners.iter().all(|owner| *owner == stranger.id),
        &stolen,
        "another's page token must not show another's orders, but these are of {owners:?}"
    );

    for order in &orders {
        cancel(&context, &user, order).await?;
    }
    cancel(&context, &stranger, &foreign).await.map(drop)
}

async fn somebody_elses(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let (stranger, product) = (context.other_user(&user).await?, context.product().await?.id);
    let placed = place_order(&context, &user, product, 1).await?;
    let (id, nobodys) = (text(&placed, "id")?, context.fresh_id().to_string());
    let attempts = |id: &str| {
        let call =
            |operation: &str| context.call(operation).path("order_id", id).as_user(&stranger);
        [call("get_order"), call("get_order").header("If-None-Match", "*"), call("cancel_order")]
    };
    for (theirs, nobodys_answer) in attempts(id).into_iter().zip(attempts(&nobodys)) {
        let theirs = theirs.expect(404).await?;
        theirs.problem("order_not_found")?;
        same_problem(
            &theirs,
            &nobodys_answer.expect(404).await?,
            [id, &nobodys],
            "the answer for somebody else's order, held against the one for nobody's,",
        )?;
    }
    same_thing(
        &read_order(&context, &user, &placed).await?,
        &placed,
        "the order after a stranger tried",
    )?;
    cancel(&context, &user, &placed).await?;
    // Cancelled, it is no more a stranger's than placed: cancelling it again does nothing, but for
    // its owner alone.
    context
        .call("cancel_order")
        .path("order_id", id)
        .as_user(&stranger)
        .expect(404)
        .await?
        .problem("order_not_found")
}
