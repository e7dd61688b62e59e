//! Selling a product out: no negative stock, no partial orders, no hanging requests. Needs
//! `--exhaust-stock`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};

use super::{
    pages::Pages,
    steps::{cancel, equal, expect_stock, integer_member, order, replayed, stock},
};
use crate::suite::{Answer, Case, Context, Failure, Requirement, User};

const BUYERS: usize = 16;
const RACERS: usize = 8;
/// Larger stocks would take too long.
const MAX_STOCK: i64 = 30_000;

pub(super) fn cases() -> Vec<Case> {
    [
        Case::new(
            "place_order",
            409,
            "concurrent orders sell exactly the stock, which is never negative",
            sells_exactly_the_stock,
        ),
        Case::new(
            "place_order",
            409,
            "orders are never filled partially, and the last piece is sold once",
            never_partial,
        ),
    ]
    .map(|case| case.serial().requires(Requirement::ExhaustStock))
    .into()
}

/// The product with the smallest usable stock, and that stock.
async fn scarcest(context: &Context) -> Result<(i64, i64), Failure> {
    let products = Pages::of_products(context, None).await?;
    let mut found: Option<(i64, i64)> = None;
    for (page, product) in products.items() {
        let (id, stock) =
            (integer_member(page, product, "id")?, integer_member(page, product, "stock")?);
        // The cases of the last pieces need a stock of six.
        if stock >= 6 && found.is_none_or(|(_, fewest)| stock < fewest) {
            found = Some((id, stock));
        }
    }
    let (id, stock) = found.ok_or_else(|| {
        products.last().fail("expected a product with at least 6 pieces, got none: restock one")
    })?;
    ensure!(
        stock <= MAX_STOCK,
        products.last(),
        "expected a product with at most {MAX_STOCK} pieces, got {stock}: reduce a stock"
    );
    Ok((id, stock))
}

struct Purchase<'u> {
    user: &'u User,
    order: Answer,
    pieces: i64,
}

async fn drain<'u>(
    context: &Context,
    users: &'u [User; 2],
    product: i64,
    stock: i64,
) -> Result<Vec<Purchase<'u>>, Failure> {
    let sold = AtomicI64::new(0);
    let buyers = (0..BUYERS).map(async |n| {
        let user = &users[n % 2];
        let mut bought = Vec::new();
        // Orders of three, then the rest.
        let mut pieces = 3;
        while pieces > 0 && sold.load(Ordering::Relaxed) <= stock {
            let answer = order(context, user, product, pieces).send().await?;
            if answer.status == 409 {
                answer.problem("out_of_stock")?;
                pieces -= 1;
                continue;
            }
            equal(&answer, "the status of an order during the sale", &answer.status, &201)?;
            equal(
                &answer,
                "`quantity`",
                &integer_member(&answer, answer.json(), "quantity")?,
                &pieces,
            )?;
            sold.fetch_add(pieces, Ordering::Relaxed);
            bought.push(Purchase { user, order: answer, pieces });
        }
        Ok(bought)
    });
    let bought: Result<Vec<Vec<Purchase<'_>>>, Failure> =
        join_all(buyers).await.into_iter().collect();
    Ok(bought?.into_iter().flatten().collect())
}

async fn cancel_all(context: &Context, bought: &[Purchase<'_>]) -> Result<(), Failure> {
    // The compiler cannot infer the lifetimes inside a stream.
    let cancels: Vec<_> =
        bought.iter().map(|bought| cancel(context, bought.user, &bought.order)).collect();
    let cancelled: Vec<_> = stream::iter(cancels).buffer_unordered(BUYERS).collect().await;
    cancelled.into_iter().try_for_each(|answer| answer.map(drop))
}

async fn sells_exactly_the_stock(context: Context) -> Result<(), Failure> {
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
    cancel_all(&context, &bought).await?;
    let (left, shown) = left?;
    ensure!(
        sold == before,
        &shown,
        "expected {before} sold pieces of product {product}, got {sold}"
    );
    equal(&shown, "`stock` when all is sold", &left, &0)?;
    watched.0?;
    watched.1?;
    expect_stock(&context, product, before, "after all was cancelled").await
}

/// Fails if the stock is ever negative or grows during the sale.
async fn watch(
    context: &Context,
    product: i64,
    before: i64,
    over: &AtomicBool,
) -> Result<(), Failure> {
    let mut last = before;
    while !over.load(Ordering::Relaxed) {
        let (now, answer) = stock(context, product).await?;
        ensure!(now >= 0, &answer, "expected a stock of at least 0, got {now}");
        ensure!(
            now <= last,
            &answer,
            "expected a falling stock during the sale, got {now} after {last}"
        );
        last = now;
    }
    Ok(())
}

async fn never_partial(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let users = [context.other_user(&user).await?, user];
    let (product, before) = scarcest(&context).await?;
    // Two small orders to return exact quantities later.
    let key = context.fresh_id().to_string();
    let two =
        order(&context, &users[0], product, 2).header("Idempotency-Key", &key).expect(201).await?;
    let one = order(&context, &users[0], product, 1).expect(201).await?;
    let mut bought = drain(&context, &users, product, before).await?;
    let outcome = when_sold_out(&context, &users[0], product, &two, &one, &key).await;
    // Restocks after failures, too; a repeated cancel is harmless.
    bought.extend([two, one].into_iter().map(|order| Purchase {
        user: &users[0],
        order,
        pieces: 0,
    }));
    let back = cancel_all(&context, &bought).await;
    outcome?;
    back?;
    expect_stock(&context, product, before, "after all was cancelled").await
}

/// Checks the sold-out state and restocks with an order of two pieces and one of one.
async fn when_sold_out(
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
    // Replays work without stock.
    replayed(
        &try_for(2).header("Idempotency-Key", key).send().await?,
        two,
        "the replay without stock",
    )?;
    let patience = context.fresh_id().to_string();
    try_for(2).header("Idempotency-Key", &patience).expect(409).await?.problem("out_of_stock")?;
    expect_stock(context, product, 0, "after orders that were refused").await?;

    // Two pieces cannot fill an order of three.
    cancel(context, user, two).await?;
    try_for(3).expect(409).await?.problem("out_of_stock")?;
    expect_stock(context, product, 2, "after an order of 3 that was refused").await?;
    // The refused key can be used now.
    let sold = try_for(2).header("Idempotency-Key", &patience).expect(201).await?;
    expect_stock(context, product, 0, "after an order of the last 2").await?;

    // One piece has one buyer.
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
        "expected one winner of {RACERS} concurrent orders for the last piece, got {}",
        won.len()
    );
    for answer in lost {
        equal(answer, "the status of a loser", &answer.status, &409)?;
        answer.problem("out_of_stock")?;
    }
    expect_stock(context, product, 0, "after the last piece was sold").await?;
    cancel(context, user, won[0]).await?;
    cancel(context, user, &sold).await.map(drop)
}
