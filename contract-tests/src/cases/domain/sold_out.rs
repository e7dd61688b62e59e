//! A product sold to the last piece: nothing below zero, nothing clipped, nobody kept waiting. Only
//! when the suite may drain the stock.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};

use super::{
    pages::Pages,
    steps::{cancel, equal, expect_stock, order, replayed, stock, whole},
};
use crate::suite::{Answer, Case, Context, Failure, Need, User};

/// How many buy at the same time.
const BUYERS: usize = 16;
/// How many race for the last piece.
const RACERS: usize = 8;
/// A product with more pieces is not drained: it would take too long.
const AT_MOST: i64 = 30_000;

pub(super) fn cases() -> Vec<Case> {
    [
        Case::new(
            "place_order",
            409,
            "a rush sells exactly what there is, and the stock is never negative",
            sells_exactly_what_there_is,
        ),
        Case::new(
            "place_order",
            409,
            "an order is filled whole or not at all, and the last piece is sold once",
            whole_or_not_at_all,
        ),
    ]
    .map(|case| case.alone().needs(Need::ExhaustStock))
    .into()
}

/// The product with the fewest pieces to sell, and how many it has.
async fn scarcest(context: &Context) -> Result<(i64, i64), Failure> {
    let products = Pages::of_products(context, None).await?;
    let mut found: Option<(i64, i64)> = None;
    for (page, product) in products.items() {
        let (id, stock) = (whole(page, product, "id")?, whole(page, product, "stock")?);
        // Enough for what is tried with the last pieces.
        if stock >= 6 && found.is_none_or(|(_, fewest)| stock < fewest) {
            found = Some((id, stock));
        }
    }
    let (id, stock) = found.ok_or_else(|| {
        Failure::of(products.last(), "no product has 6 pieces left, which is too few to drain one")
    })?;
    ensure!(
        stock <= AT_MOST,
        products.last(),
        "the scarcest product has {stock} pieces, and more than {AT_MOST} take too long to drain; try it on a smaller stock"
    );
    Ok((id, stock))
}

/// What was bought, each order with its buyer.
struct Bought<'u> {
    user: &'u User,
    order: Answer,
    pieces: i64,
}

/// Buys as fast as `BUYERS` can until nothing is left of the `stock`, or more was sold than there
/// was.
async fn drain<'u>(
    context: &Context,
    users: &'u [User; 2],
    product: i64,
    stock: i64,
) -> Result<Vec<Bought<'u>>, Failure> {
    let sold = AtomicI64::new(0);
    let buyers = (0..BUYERS).map(async |n| {
        let user = &users[n % 2];
        let mut bought = Vec::new();
        // Threes while there are threes, then what is left.
        let mut pieces = 3;
        while pieces > 0 && sold.load(Ordering::Relaxed) <= stock {
            let answer = order(context, user, product, pieces).send().await?;
            if answer.status == 409 {
                answer.problem("out_of_stock")?;
                pieces -= 1;
                continue;
            }
            equal(
                &answer,
                "the status of an order while there is stock, or none is left,",
                &answer.status,
                &201,
            )?;
            equal(
                &answer,
                "`quantity`, which is never clipped,",
                &whole(&answer, answer.json(), "quantity")?,
                &pieces,
            )?;
            sold.fetch_add(pieces, Ordering::Relaxed);
            bought.push(Bought { user, order: answer, pieces });
        }
        Ok(bought)
    });
    let bought: Result<Vec<Vec<Bought<'_>>>, Failure> =
        join_all(buyers).await.into_iter().collect();
    Ok(bought?.into_iter().flatten().collect())
}

/// Cancels everything, `BUYERS` at the same time.
async fn put_back(context: &Context, bought: &[Bought<'_>]) -> Result<(), Failure> {
    // Collected first: a closure that lends to its future, inside of a stream, is more than the
    // compiler can follow.
    let cancels: Vec<_> =
        bought.iter().map(|bought| cancel(context, bought.user, &bought.order)).collect();
    let cancelled: Vec<_> = stream::iter(cancels).buffer_unordered(BUYERS).collect().await;
    cancelled.into_iter().try_for_each(|answer| answer.map(drop))
}

async fn sells_exactly_what_there_is(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let users = [context.other_user(&user).await?, user];
    let (product, before) = scarcest(&context).await?;
    let over = AtomicBool::new(false);
    let buying = async {
        let bought = drain(&context, &users, product, before).await;
        over.store(true, Ordering::Relaxed);
        bought
    };
    let (bought, watched) = join(
        buying,
        join(watch(&context, product, before, &over), watch(&context, product, before, &over)),
    )
    .await;
    let bought = bought?;
    let sold: i64 = bought.iter().map(|bought| bought.pieces).sum();
    let left = stock(&context, product).await;
    put_back(&context, &bought).await?;
    let (left, shown) = left?;
    ensure!(
        sold == before,
        &shown,
        "of product {product} there were {before} pieces, so as many must be sold, but {sold} were"
    );
    equal(&shown, "`stock` when all is sold", &left, &0)?;
    watched.0?;
    watched.1?;
    expect_stock(&context, product, before, "after all was cancelled").await
}

/// Reads the stock until it is over, and fails if it is ever negative, or greater than before:
/// meanwhile pieces are only sold.
async fn watch(
    context: &Context,
    product: i64,
    before: i64,
    over: &AtomicBool,
) -> Result<(), Failure> {
    let mut last = before;
    while !over.load(Ordering::Relaxed) {
        let (now, answer) = stock(context, product).await?;
        ensure!(now >= 0, &answer, "the stock must never be negative, but it is {now}");
        ensure!(
            now <= last,
            &answer,
            "while pieces are only sold the stock must not grow, but it was {last} and is {now}"
        );
        last = now;
    }
    Ok(())
}

async fn whole_or_not_at_all(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let users = [context.other_user(&user).await?, user];
    let (product, before) = scarcest(&context).await?;
    // Two small orders first: to give back exactly so many pieces later.
    let key = context.fresh_id().to_string();
    let two =
        order(&context, &users[0], product, 2).header("Idempotency-Key", &key).expect(201).await?;
    let one = order(&context, &users[0], product, 1).expect(201).await?;
    let mut bought = drain(&context, &users, product, before).await?;
    let outcome = with_nothing_left(&context, &users[0], product, &two, &one, &key).await;
    // Whatever came of it, the shelves are filled again; cancelling again does no harm.
    bought.extend([two, one].into_iter().map(|order| Bought { user: &users[0], order, pieces: 0 }));
    let back = put_back(&context, &bought).await;
    outcome?;
    back?;
    expect_stock(&context, product, before, "after all was cancelled").await
}

/// What is tried when nothing is left, with an order of two pieces and one of one to give back. All
/// that it buys it gives back.
async fn with_nothing_left(
    context: &Context,
    user: &User,
    product: i64,
    two: &Answer,
    one: &Answer,
    key: &str,
) -> Result<(), Failure> {
    let try_for = |pieces: i64| order(context, user, product, pieces);
    expect_stock(context, product, 0, "when all is sold").await?;
    for pieces in 1..=3 {
        try_for(pieces).expect(409).await?.problem("out_of_stock")?;
    }
    // What was sold is answered again, also now.
    replayed(
        &try_for(2).header("Idempotency-Key", key).send().await?,
        two,
        "the answer to the same key and body with nothing left",
    )?;
    let patience = context.fresh_id().to_string();
    try_for(2).header("Idempotency-Key", &patience).expect(409).await?.problem("out_of_stock")?;
    expect_stock(context, product, 0, "after orders that were refused").await?;

    // Two pieces are left, and three are not sold.
    cancel(context, user, two).await?;
    try_for(3).expect(409).await?.problem("out_of_stock")?;
    expect_stock(context, product, 2, "after an order of 3 that was refused").await?;
    // The key whose order was refused buys them now.
    let sold = try_for(2).header("Idempotency-Key", &patience).expect(201).await?;
    expect_stock(context, product, 0, "after an order of the last 2").await?;

    // One piece is left, and one gets it.
    cancel(context, user, one).await?;
    let answers = join_all((0..RACERS).map(|_| try_for(1).send()))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 201);
    ensure!(
        won.len() == 1,
        &answers[0],
        "of {RACERS} who want the last piece at the same time one must get it, but {} did",
        won.len()
    );
    for answer in lost {
        equal(answer, "the status for one who comes too late", &answer.status, &409)?;
        answer.problem("out_of_stock")?;
    }
    expect_stock(context, product, 0, "after the last piece was sold").await?;
    cancel(context, user, won[0]).await?;
    cancel(context, user, &sold).await.map(drop)
}
