//! Stock: orders take their pieces, cancelling restocks them once. Serial, because all cases buy
//! the same few products.

use futures_util::future::{join, join_all};

use super::steps::{
    cancel, cancelling, equal, expect_stock, order, place_order, read_order, replayed,
    same_resource, stock, timestamp,
};
use crate::suite::{Answer, Case, Context, Failure, User};

const CANCELLERS: usize = 8;
/// Concurrent orders, if the stock allows: 24 pieces in all.
const ORDERS: i64 = 12;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "an order takes its pieces out of stock before the response",
            orders_take_stock,
        )
        .serial(),
        Case::new("place_order", 404, "an unknown product is refused", unknown_product).serial(),
        Case::new(
            "cancel_order",
            200,
            "a repeated cancel returns the same order and restocks nothing",
            repeated_cancel,
        )
        .serial(),
        Case::new("cancel_order", 200, "concurrent cancels restock once", concurrent_cancels)
            .serial(),
        Case::new(
            "place_order",
            201,
            "concurrent orders take and return exactly their pieces",
            conserved,
        )
        .serial(),
        Case::new("cancel_order", 200, "concurrent orders and cancels conserve the stock", mixed)
            .serial(),
    ]
}

async fn orders_take_stock(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (before, _) = stock(&context, product).await?;
    let (mut left, mut orders) = (before, Vec::new());
    for quantity in 1..=3 {
        orders.push(place_order(&context, &user, product, quantity).await?);
        left -= quantity;
        expect_stock(&context, product, left, &format!("after an order of {quantity}")).await?;
    }
    for (order, quantity) in orders.iter().zip(1..) {
        cancel(&context, &user, order).await?;
        left += quantity;
        expect_stock(
            &context,
            product,
            left,
            &format!("after an order of {quantity} was cancelled"),
        )
        .await?;
    }
    Ok(())
}

async fn unknown_product(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (before, _) = stock(&context, product).await?;
    order(&context, &user, super::idempotency::unknown_product(&context).await?, 3)
        .expect(404)
        .await?
        .problem("product_not_found")?;
    expect_stock(&context, product, before, "after an order of an unknown product").await
}

async fn repeated_cancel(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (before, _) = stock(&context, product).await?;
    let placed = place_order(&context, &user, product, 3).await?;
    let first = cancel(&context, &user, &placed).await?;
    expect_stock(&context, product, before, "after an order of 3 was cancelled").await?;
    for _ in 0..2 {
        let again = cancel(&context, &user, &placed).await?;
        replayed(&again, &first, "the response to a repeated cancel")?;
        equal(
            &again,
            "`cancelled_at`",
            &timestamp(&again, "cancelled_at")?,
            &timestamp(&first, "cancelled_at")?,
        )?;
        expect_stock(&context, product, before, "after an order was cancelled again").await?;
    }
    same_resource(
        &read_order(&context, &user, &placed).await?,
        &first,
        "the order after it was cancelled again",
    )
}

async fn concurrent_cancels(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (before, _) = stock(&context, product).await?;
    let placed = place_order(&context, &user, product, 2).await?;
    let calls = (0..CANCELLERS)
        .map(|_| cancelling(&context, &user, &placed))
        .collect::<Result<Vec<_>, _>>()?;
    let answers = join_all(calls.into_iter().map(|call| call.expect(200)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    for answer in &answers {
        replayed(answer, &answers[0], "the response to a concurrent cancel")?;
    }
    expect_stock(
        &context,
        product,
        before,
        &format!("after {CANCELLERS} concurrent cancels of an order"),
    )
    .await?;
    same_resource(
        &read_order(&context, &user, &placed).await?,
        &answers[0],
        "the order after concurrent cancels",
    )
}

/// How many orders the stock allows twice; each has two pieces on average.
fn orders_from(stock: i64, shown: &Answer) -> Result<i64, Failure> {
    let orders = ORDERS.min(stock / 4);
    ensure!(
        orders >= 2,
        shown,
        "expected a product with at least 8 pieces, got {stock}: restock one"
    );
    Ok(orders)
}

async fn place_concurrently<'u>(
    context: &Context,
    users: [&'u User; 2],
    product: i64,
    orders: i64,
) -> Result<Vec<(&'u User, Answer)>, Failure> {
    let orders = (0..orders).map(async |n| {
        let user = users[usize::from(n % 2 == 1)];
        Ok((user, place_order(context, user, product, 1 + n % 3).await?))
    });
    join_all(orders).await.into_iter().collect()
}

fn pieces(orders: i64) -> i64 {
    (0..orders).map(|n| 1 + n % 3).sum()
}

async fn conserved(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let other = context.other_user(&user).await?;
    let (before, shown) = stock(&context, product).await?;
    let number = orders_from(before, &shown)?;
    let orders = place_concurrently(&context, [&user, &other], product, number).await?;
    let sold = pieces(number);
    expect_stock(
        &context,
        product,
        before - sold,
        &format!("after {number} orders at the same time, of {sold} pieces in all,"),
    )
    .await?;
    join_all(orders.iter().map(|(user, order)| cancel(&context, user, order)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    expect_stock(
        &context,
        product,
        before,
        "after all those orders were cancelled at the same time",
    )
    .await
}

async fn mixed(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let other = context.other_user(&user).await?;
    let (before, shown) = stock(&context, product).await?;
    let number = orders_from(before, &shown)?;
    let first = place_concurrently(&context, [&user, &other], product, number).await?;
    // Cancels the first batch while the second is placed.
    let back = join_all(first.iter().map(|(user, order)| cancel(&context, user, order)));
    let (second, back) =
        join(place_concurrently(&context, [&other, &user], product, number), back).await;
    back.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (second, kept) = (second?, pieces(number));
    expect_stock(
        &context,
        product,
        before - kept,
        &format!("with {kept} pieces kept and the others returned"),
    )
    .await?;
    join_all(second.iter().map(|(user, order)| cancel(&context, user, order)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    expect_stock(&context, product, before, "after all was cancelled").await
}
