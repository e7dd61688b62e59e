//! Stock: an order takes exactly its pieces, cancelling gives them back exactly once. Alone, as all
//! cases buy from the same few products.

use futures_util::future::{join, join_all};

use super::steps::{
    cancel, cancelling, equal, expect_stock, moment, order, place_order, read_order, replayed,
    same_thing, stock,
};
use crate::suite::{Answer, Case, Context, Failure, User};

/// How many cancel one order at the same time.
const CANCELLERS: usize = 8;
/// How many orders are placed at the same time where the stock allows it: 24 pieces in all.
const ORDERS: i64 = 12;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "place_order",
            201,
            "takes exactly its pieces out of stock, before it answers",
            takes_its_pieces,
        )
        .alone(),
        Case::new("place_order", 404, "an unknown product sells nothing, at once", unknown_product)
            .alone(),
        Case::new(
            "cancel_order",
            200,
            "cancelling again puts nothing back and returns the same order",
            cancel_again,
        )
        .alone(),
        Case::new(
            "cancel_order",
            200,
            "cancelled by many at the same time, the pieces come back once",
            cancel_at_the_same_time,
        )
        .alone(),
        Case::new(
            "place_order",
            201,
            "orders at the same time take exactly their sum, and give it back",
            conserved,
        )
        .alone(),
        Case::new(
            "cancel_order",
            200,
            "orders and cancellings at the same time lose nothing",
            mixed,
        )
        .alone(),
    ]
}

async fn takes_its_pieces(context: Context) -> Result<(), Failure> {
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

async fn cancel_again(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let (before, _) = stock(&context, product).await?;
    let placed = place_order(&context, &user, product, 3).await?;
    let first = cancel(&context, &user, &placed).await?;
    expect_stock(&context, product, before, "after an order of 3 was cancelled").await?;
    for _ in 0..2 {
        let again = cancel(&context, &user, &placed).await?;
        replayed(&again, &first, "the answer to cancelling again")?;
        equal(
            &again,
            "`cancelled_at`",
            &moment(&again, "cancelled_at")?,
            &moment(&first, "cancelled_at")?,
        )?;
        expect_stock(&context, product, before, "after an order was cancelled again").await?;
    }
    same_thing(
        &read_order(&context, &user, &placed).await?,
        &first,
        "the order after it was cancelled again",
    )
}

async fn cancel_at_the_same_time(context: Context) -> Result<(), Failure> {
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
        replayed(answer, &answers[0], "the answer to one of those who cancel at the same time")?;
    }
    expect_stock(
        &context,
        product,
        before,
        &format!("after an order was cancelled {CANCELLERS} times at once"),
    )
    .await?;
    same_thing(
        &read_order(&context, &user, &placed).await?,
        &answers[0],
        "the order after it was cancelled by many",
    )
}

/// How many orders can be placed twice over from a stock: each takes two pieces on average.
fn orders_from(stock: i64, shown: &Answer) -> Result<i64, Failure> {
    let orders = ORDERS.min(stock / 4);
    ensure!(
        orders >= 2,
        shown,
        "8 pieces of a product are needed to place orders at the same time, but there are {stock}: put some in"
    );
    Ok(orders)
}

/// So many orders of one to three pieces by two users, all at the same time, each with who placed
/// it.
async fn rush<'u>(
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

/// How many pieces a rush of so many orders buys.
fn pieces(orders: i64) -> i64 {
    (0..orders).map(|n| 1 + n % 3).sum()
}

async fn conserved(context: Context) -> Result<(), Failure> {
    let (user, product) = (context.user().await?, context.product().await?.id);
    let other = context.other_user(&user).await?;
    let (before, shown) = stock(&context, product).await?;
    let number = orders_from(before, &shown)?;
    let orders = rush(&context, [&user, &other], product, number).await?;
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
    let first = rush(&context, [&user, &other], product, number).await?;
    // The first lot goes back while the second is bought.
    let back = join_all(first.iter().map(|(user, order)| cancel(&context, user, order)));
    let (second, back) = join(rush(&context, [&other, &user], product, number), back).await;
    back.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (second, kept) = (second?, pieces(number));
    expect_stock(
        &context,
        product,
        before - kept,
        &format!("with {kept} pieces kept and the others given back meanwhile"),
    )
    .await?;
    join_all(second.iter().map(|(user, order)| cancel(&context, user, order)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    expect_stock(&context, product, before, "after all was cancelled").await
}
