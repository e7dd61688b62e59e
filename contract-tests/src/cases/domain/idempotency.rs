//! `Idempotency-Key`: asked again, an order is answered again, and never placed again.

use futures_util::future::join_all;
use serde_json::json;

use super::{
    pages::Pages,
    steps::{
        cancel, equal, expect_stock, order, place_order, read_order, replayed, same_thing, stock,
        text, token,
    },
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

/// How many send the same request at the same time.
const AT_ONCE: usize = 8;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "the same key and body are the same answer, byte for byte, also after the order was cancelled",
            replay,
        ),
        Case::new(
            "place_order",
            201,
            "the same key at the same time is one order",
            at_the_same_time,
        )
        .alone(),
        Case::new(
            "place_order",
            201,
            "a key belongs to its user, and not to a token",
            key_of_a_user,
        ),
        Case::new(
            "place_order",
            201,
            "an order that was refused is not remembered",
            refused_is_not_remembered,
        ),
        Case::new(
            "place_order",
            201,
            "the longest key, and keys that are alike, are keys of their own",
            keys_of_their_own,
        ),
        Case::new("place_order", 422, "the same key with another body sells nothing", another_body)
            .alone(),
        Case::new(
            "place_order",
            422,
            "of different bodies with one key at the same time, one is an order",
            different_at_the_same_time,
        )
        .alone(),
        Case::new(
            "place_order",
            201,
            "the same order written otherwise is never a second order",
            written_otherwise,
        )
        .alone(),
    ]
}

/// An order with a key.
fn with_key(context: &Context, user: &User, product: i64, quantity: i64, key: &str) -> Call {
    order(context, user, product, quantity).header("Idempotency-Key", key)
}

async fn replay(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.own_user().await?, context.product().await?.id, context.fresh_id().to_string());
    let before = Pages::of_orders(&context, &user, Some("placed")).await?;
    let first = with_key(&context, &user, product, 2, &key).expect(201).await?;
    let again = with_key(&context, &user, product, 2, &key).send().await?;
    replayed(&again, &first, "the answer to the same key and body")?;

    // What is asked again is what was answered then, whatever became of the order.
    let cancelled = cancel(&context, &user, &first).await?;
    let again = with_key(&context, &user, product, 2, &key).send().await?;
    replayed(
        &again,
        &first,
        "the answer to the same key and body, after the order was cancelled,",
    )?;
    same_thing(
        &read_order(&context, &user, &first).await?,
        &cancelled,
        "the order, which was cancelled and asked for again,",
    )?;
    let after = Pages::of_orders(&context, &user, Some("placed")).await?;
    equal(
        after.last(),
        "the ids of the placed orders, after asking again with the same key,",
        &after.ids(),
        &before.ids(),
    )?;
    same_thing(
        &cancel(&context, &user, &first).await?,
        &cancelled,
        "the order, cancelled once more,",
    )
}

async fn at_the_same_time(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let answers =
        all((0..AT_ONCE).map(|_| with_key(&context, &user, product, 2, &key).send())).await?;
    let first = &answers[0];
    for answer in &answers {
        equal(answer, "the status of a new order", &answer.status, &201)?;
        replayed(
            answer,
            first,
            "the answer to one of those who send the same key and body at the same time",
        )?;
    }
    expect_stock(
        &context,
        product,
        before - 2,
        &format!("after {AT_ONCE} times the same order of 2 with one key"),
    )
    .await?;
    cancel(&context, &user, first).await?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

/// All answers, or the first failure; waits for all, so that nothing goes on behind the case.
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
        "each user has a space of keys, but another user's key returned this user's order"
    );
    equal(&others, "`user_id`", text(&others, "user_id")?, other.id.as_str())?;
    // Another body of another user is no fault of this one.
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
    replayed(&again, &first, "the answer to the same key and body with a newer token")?;
    for (user, order) in [(&*user, &first), (&user, &second), (&other, &others), (&other, &third)] {
        cancel(&context, user, order).await?;
    }
    Ok(())
}

async fn refused_is_not_remembered(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    with_key(&context, &user, product, 4, &key).expect(400).await?.problem("invalid_request")?;
    with_key(&context, &user, unknown_product(&context).await?, 1, &key)
        .expect(404)
        .await?
        .problem("product_not_found")?;
    let placed = with_key(&context, &user, product, 1, &key).expect(201).await?;
    // What was placed is remembered: what was refused before is now another body.
    with_key(&context, &user, product, 2, &key)
        .expect(422)
        .await?
        .problem("idempotency_key_reused")?;
    cancel(&context, &user, &placed).await.map(drop)
}

/// An id that no product has: the greatest of an int32 that is free.
pub(super) async fn unknown_product(context: &Context) -> Result<i64, Failure> {
    let products = Pages::of_products(context, None).await?;
    let known: std::collections::BTreeSet<i64> =
        products.ids().into_iter().filter_map(serde_json::Value::as_i64).collect();
    let free = (1..=i64::from(i32::MAX)).rev().find(|id| !known.contains(id));
    free.ok_or_else(|| Failure::of(products.last(), "expected a catalogue that leaves an id free"))
}

async fn keys_of_their_own(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let stem = context.fresh_id().to_string();
    // The whole length, one less, another case, and letters that a careless store folds, trims or
    // reads as a pattern.
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
            "the key {key:?} was not used before, but it returned an order from before"
        );
        orders.push(placed);
    }
    for (key, first) in keys.iter().zip(&orders) {
        replayed(
            &with_key(&context, &user, product, 1, key).send().await?,
            first,
            &format!("the answer to the key {key:?} again"),
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
        "the answer to the first body again",
    )?;
    cancel(&context, &user, &first).await?;
    with_key(&context, &user, product, 1, &key)
        .expect(422)
        .await?
        .problem("idempotency_key_reused")?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

async fn different_at_the_same_time(context: Context) -> Result<(), Failure> {
    let (user, product, key) =
        (context.user().await?, context.product().await?.id, context.fresh_id().to_string());
    let (before, _) = stock(&context, product).await?;
    let answers = all(
        (0..AT_ONCE as i64).map(|n| with_key(&context, &user, product, 1 + n % 2, &key).send())
    )
    .await?;
    let (placed, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 201);
    for answer in refused {
        equal(answer, "the status of another body with the same key", &answer.status, &422)?;
        answer.problem("idempotency_key_reused")?;
    }
    let Some(first) = placed.first() else {
        return Err(Failure::of(
            &answers[0],
            "of those who send one key at the same time one must get an order, but nobody did",
        ));
    };
    for answer in &placed {
        replayed(answer, first, "the answer to the body that was an order")?;
    }
    equal(first, "the number of those whose body was the order", &placed.len(), &(AT_ONCE / 2))?;
    let sold = first.json()["quantity"].as_i64().unwrap_or_default();
    expect_stock(&context, product, before - sold, &format!("after one order of {sold}")).await?;
    cancel(&context, &user, first).await?;
    expect_stock(&context, product, before, "after that order was cancelled").await
}

/// The document does not say whether a body is its bytes or its meaning: the first order again is
/// right, a refusal too, and no other order.
async fn written_otherwise(context: Context) -> Result<(), Failure> {
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
                &format!("the answer to the same order, written as {body:?},"),
            )?;
        }
    }
    expect_stock(&context, product, before - 1, "after one order, written in other ways,").await?;
    cancel(&context, &user, &first).await?;
    // A key of its own makes it an order of its own.
    let second = place_order(&context, &user, product, 1).await?;
    ensure!(
        text(&second, "id")? != text(&first, "id")?,
        &second,
        "an order without a key must be a new order"
    );
    cancel(&context, &user, &second).await.map(drop)
}
