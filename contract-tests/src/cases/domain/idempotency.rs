//! `Idempotency-Key`: a repeated order is replayed and never placed again.

use futures_util::future::join_all;
use serde_json::json;

use super::{
    pages::Pages,
    steps::{
        cancel, equal, expect_stock, order, place_order, read_order, replayed, same_resource,
        stock, text, token,
    },
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

const CONCURRENT_REQUESTS: usize = 8;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "the same key and body replay the response, even after cancellation",
            replay,
        ),
        Case::new(
            "place_order",
            201,
            "concurrent requests with one key place one order",
            concurrent_requests,
        )
        .serial(),
        Case::new("place_order", 201, "a key belongs to the user, not to the token", key_of_a_user),
        Case::new(
            "place_order",
            201,
            "a refused order does not consume its key",
            refused_order_frees_the_key,
        ),
        Case::new(
            "place_order",
            201,
            "the longest key and similar keys are distinct",
            distinct_keys,
        ),
        Case::new(
            "place_order",
            422,
            "the same key with another body places no order",
            another_body,
        )
        .serial(),
        Case::new(
            "place_order",
            422,
            "concurrent bodies with one key have one winner",
            concurrent_bodies,
        )
        .serial(),
        Case::new(
            "place_order",
            201,
            "the same order in other bytes is never placed twice",
            reformatted_body,
        )
        .serial(),
    ]
}

fn with_key(context: &Context, user: &User, product: i64, quantity: i64, key: &str) -> Call {
    order(context, user, product, quantity).header("Idempotency-Key", key)
}

async fn replay(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.own_user().await?, context.product().await?.id, context.fresh_id().to_string());
    let before = Pages::of_orders(&context, &user, Some("placed")).await?;
    let first = with_key(&context, &user, product, 2, &key).expect(201).await?;
    let again = with_key(&context, &user, product, 2, &key).send().await?;
    replayed(&again, &first, "the replay")?;

    // A replay returns the original response, regardless of later changes to the order.
    let cancelled = cancel(&context, &user, &first).await?;
    let again = with_key(&context, &user, product, 2, &key).send().await?;
    replayed(&again, &first, "the replay after cancellation")?;
    same_resource(
        &read_order(&context, &user, &first).await?,
        &cancelled,
        "the cancelled order after a replay",
    )?;
    let after = Pages::of_orders(&context, &user, Some("placed")).await?;
    equal(after.last(), "the ids of placed orders after a replay", &after.ids(), &before.ids())?;
    same_resource(
        &cancel(&context, &user, &first).await?,
        &cancelled,
        "the order, cancelled once more,",
    )
}

async fn concurrent_requests(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let answers =
        all((0..CONCURRENT_REQUESTS).map(|_| with_key(&context, &user, product, 2, &key).send()))
            .await?;
    let first = &answers[0];
    for answer in &answers {
        equal(answer, "the status of a new order", &answer.status, &201)?;
        replayed(answer, first, "the response to a concurrent request with the same key")?;
    }
    expect_stock(
        &context,
        product,
        before - 2,
        &format!("after {CONCURRENT_REQUESTS} requests for one order of 2"),
    )
    .await?;
    cancel(&context, &user, first).await?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

/// All responses, or the first failure. Waits for all, so that no request outlives the case.
async fn all(
    calls: impl Iterator<Item = impl Future<Output = Result<Answer, Failure>>>,
) -> Result<Vec<Answer>, Failure> {
    join_all(calls).await.into_iter().collect()
}

async fn key_of_a_user(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let (other, product, key) = (
        context.other_user(&user).await?,
        context.product().await?.id,
        context.fresh_id().to_string(),
    );
    let first = with_key(&context, &user, product, 1, &key).expect(201).await?;
    let others = with_key(&context, &other, product, 1, &key).expect(201).await?;
    ensure!(
        text(&others, "id")? != text(&first, "id")?,
        &others,
        "expected a new order for another user's key, got this user's order"
    );
    equal(&others, "`user_id`", text(&others, "user_id")?, other.id.as_str())?;
    // Keys belong to users.
    let third = with_key(&context, &other, product, 2, &format!("{key}.2")).expect(201).await?;
    let second = with_key(&context, &user, product, 1, &format!("{key}.2")).expect(201).await?;

    let fresh = token(&context, &user.username, &user.password).await?;
    let body = json!({ "product_id": product, "quantity": 1 });
    let again = context
        .call("place_order")
        .bearer(&fresh)
        .header("Idempotency-Key", &key)
        .json(&body)
        .send()
        .await?;
    replayed(&again, &first, "the replay with a newer token")?;
    for (user, order) in [(&*user, &first), (&user, &second), (&other, &others), (&other, &third)] {
        cancel(&context, user, order).await?;
    }
    Ok(())
}

async fn refused_order_frees_the_key(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    with_key(&context, &user, product, 4, &key).expect(400).await?.problem("invalid_request")?;
    with_key(&context, &user, unknown_product(&context).await?, 1, &key)
        .expect(404)
        .await?
        .problem("product_not_found")?;
    let placed = with_key(&context, &user, product, 1, &key).expect(201).await?;
    // The key now belongs to the placed order.
    with_key(&context, &user, product, 2, &key)
        .expect(422)
        .await?
        .problem("idempotency_key_reused")?;
    cancel(&context, &user, &placed).await.map(drop)
}

/// An unused id near the maximum of int32.
pub(super) async fn unknown_product(context: &Context) -> Result<i64, Failure> {
    let products = Pages::of_products(context, None).await?;
    let known: std::collections::BTreeSet<i64> =
        products.ids().into_iter().filter_map(serde_json::Value::as_i64).collect();
    let free = (1..=i64::from(i32::MAX)).rev().find(|id| !known.contains(id));
    free.ok_or_else(|| products.last().fail("expected an unused product id"))
}

async fn distinct_keys(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let stem = context.fresh_id().to_string();
    // Maximum length, one character less, another case, and characters that a store might fold,
    // trim or expand.
    let longest = format!("{stem:~<255}");
    let keys = [
        longest.clone(),
        longest[..254].to_owned(),
        format!("{stem}a"),
        format!("{stem}A"),
        format!("{stem}%"),
        format!("{stem}_"),
        format!("'{stem}\""),
    ];
    let mut orders: Vec<Answer> = Vec::new();
    for key in &keys {
        let placed = with_key(&context, &user, product, 1, key).expect(201).await?;
        let id = text(&placed, "id")?;
        let new = !orders.iter().any(|order| order.json()["id"] == *id);
        ensure!(
            new,
            &placed,
            "expected a new order for the unused key {key:?}, got an earlier one"
        );
        orders.push(placed);
    }
    for (key, first) in keys.iter().zip(&orders) {
        replayed(
            &with_key(&context, &user, product, 1, key).send().await?,
            first,
            &format!("the replay of the key {key:?}"),
        )?;
        cancel(&context, &user, first).await?;
    }
    Ok(())
}

async fn another_body(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.own_user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let first = with_key(&context, &user, product, 2, &key).expect(201).await?;
    for (other_product, quantity) in
        [(product, 1), (product, 3), (unknown_product(&context).await?, 2)]
    {
        with_key(&context, &user, other_product, quantity, &key)
            .expect(422)
            .await?
            .problem("idempotency_key_reused")?;
    }
    expect_stock(&context, product, before - 2, "after an order of 2 and others with its key")
        .await?;
    replayed(
        &with_key(&context, &user, product, 2, &key).send().await?,
        &first,
        "the replay of the first body",
    )?;
    cancel(&context, &user, &first).await?;
    with_key(&context, &user, product, 1, &key)
        .expect(422)
        .await?
        .problem("idempotency_key_reused")?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

async fn concurrent_bodies(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let answers = all((0..CONCURRENT_REQUESTS as i64)
        .map(|n| with_key(&context, &user, product, 1 + n % 2, &key).send()))
    .await?;
    let (placed, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 201);
    for answer in refused {
        equal(answer, "the status of another body with the same key", &answer.status, &422)?;
        answer.problem("idempotency_key_reused")?;
    }
    let Some(first) = placed.first() else {
        return Err(
            answers[0].fail("expected one order from concurrent requests with one key, got none")
        );
    };
    for answer in &placed {
        replayed(answer, first, "the replay of the winning body")?;
    }
    equal(
        first,
        "the number of requests with the winning body",
        &placed.len(),
        &(CONCURRENT_REQUESTS / 2),
    )?;
    let sold = first.json()["quantity"].as_i64().unwrap_or_default();
    expect_stock(&context, product, before - sold, &format!("after one order of {sold}")).await?;
    cancel(&context, &user, first).await?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

/// The document leaves open whether equal JSON in different bytes is the same body: a replay or a
/// refusal passes, a second order does not.
async fn reformatted_body(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let first = with_key(&context, &user, product, 1, &key).expect(201).await?;
    for body in [
        format!("{{\"quantity\":1,\"product_id\":{product}}}"),
        format!("{{\"product_id\":{product},\"quantity\":1}}"),
        format!(" {{\n\t\"product_id\": {product},\r\n\t\"quantity\": 1\n}}\n"),
    ] {
        let call = context
            .call("place_order")
            .as_user(&user)
            .header("Idempotency-Key", &key)
            .body(Some("application/json"), body.clone());
        let again = call.send().await?;
        if again.status == 422 {
            again.problem("idempotency_key_reused")?;
        } else {
            replayed(
                &again,
                &first,
                &format!("the response to the same order, written as {body:?},"),
            )?;
        }
    }
    expect_stock(&context, product, before - 1, "after one order in several spellings").await?;
    cancel(&context, &user, &first).await?;
    let second = place_order(&context, &user, product, 1).await?;
    ensure!(
        text(&second, "id")? != text(&first, "id")?,
        &second,
        "expected a new order for a request without a key, got an earlier one"
    );
    cancel(&context, &user, &second).await.map(drop)
}
