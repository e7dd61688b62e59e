//! Places the orders of a batch: first in one statement (`direct`), which leaves some orders
//! undecided, then those in one transaction. The number of statements does not depend on the number
//! of orders.
//!
//! The decisions are pure, and the statements are behind traits, so that the simulation runs both.

pub(crate) mod direct;
pub(crate) mod sql;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use merch_contract::grpc::{assistant::v1::ErrorReason, logging::v1::LogMessage};
use merch_logging::client::{
    event::{Origin, event_name},
    rate_limit::{Client, EventRateLimiter},
};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    direct::{DirectOutcome, ProductsForSale, place_directly},
    sql::{SqlStatement, SqlStatements},
};
use super::{
    Caller, Context, Store,
    events::{DomainEvent, OUT_OF_STOCK, event},
    internal,
};
use crate::{entity::orders::Model, failure::Failure, ids::Ids, metrics};

#[derive(Clone, Debug)]
pub(crate) struct NewOrder {
    pub(crate) context: Context,
    pub(crate) caller: Caller,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
    pub(crate) idempotency_key: Option<String>,
    /// Until when its buyer waits; `None` for ever.
    pub(crate) deadline: Option<Instant>,
}

impl NewOrder {
    /// What a repetition of the key has to repeat.
    pub(crate) fn fingerprint(&self) -> String {
        // Destructured, so that a new field does not compile until it is part of this or not.
        let Self { context: _, caller: _, product_id, quantity, idempotency_key: _, deadline: _ } =
            self;
        format!("v1:product={product_id},quantity={quantity}")
    }

    /// Returns how long its buyer waits; `None` if the deadline has passed.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let Some(deadline) = self.deadline else { return Some(Duration::MAX) };
        Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn key(&self) -> Option<(Uuid, &str)> {
        self.idempotency_key.as_deref().map(|key| (self.caller.user_id, key))
    }
}

/// Valid only after the transaction has committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OrderOutcome {
    Placed(Model),
    /// The order as it was when it was placed.
    Replayed(Model),
    Refused(ErrorReason),
}

/// Returns, for each order, how long its caller waits; `None` if it no longer waits.
pub(crate) type TimeLeft<'a> = &'a (dyn Fn() -> Vec<Option<Duration>> + Sync);

/// Places the orders of a batch.
pub(crate) trait PlaceOrders: Sync {
    /// See [`place_directly`].
    fn place_directly(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> impl Future<Output = Result<Vec<DirectOutcome>, Failure>> + Send;

    /// See [`place_batch`].
    fn place(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> impl Future<Output = Result<Vec<OrderOutcome>, Failure>> + Send;
}

impl PlaceOrders for Store {
    async fn place_directly(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> Result<Vec<DirectOutcome>, Failure> {
        let _stock = self.stock_lock.lock().await;
        let now = || self.clock.now();
        let statement = SqlStatement { database: &self.database, clock: &self.clock };
        let outcomes =
            place_directly(&self.place_context(&now), &statement, orders, time_left).await?;
        if outcomes.iter().any(|outcome| matches!(outcome, DirectOutcome::Placed(_))) {
            self.outbox.notify();
        }
        Ok(outcomes)
    }

    async fn place(
        &self,
        orders: &[&NewOrder],
        time_left: TimeLeft<'_>,
    ) -> Result<Vec<OrderOutcome>, Failure> {
        let _stock = self.stock_lock.lock().await;
        let now = || self.clock.now();
        let context = &self.place_context(&now);
        self.write(|transaction| async move {
            let statements = SqlStatements { transaction: &transaction, clock: &self.clock };
            place_batch(context, &statements, orders, time_left).await
        })
        .await
    }
}

impl Store {
    fn place_context<'a>(
        &'a self,
        now: &'a (dyn Fn() -> OffsetDateTime + Sync),
    ) -> PlaceContext<'a> {
        PlaceContext {
            ids: &self.ids,
            origin: &self.origin,
            rate_limiter: &self.rate_limiter,
            products: &self.products_for_sale,
            now,
        }
    }
}

/// The statements of a batch, in one transaction.
pub(crate) trait Statements: Sync {
    /// Locks the callers, then the products, and reads the rest.
    fn lock(
        &self,
        orders: &[&NewOrder],
    ) -> impl Future<Output = Result<BatchSnapshot, Failure>> + Send;

    /// Subtracts pieces from the stock of each product that has enough. Returns the number of
    /// changed products.
    fn decrement_stock(
        &self,
        decrements: &[Decrement],
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Returns the orders as stored, with prices of the products.
    fn insert_orders(
        &self,
        rows: &[OrderRow],
        now: OffsetDateTime,
    ) -> impl Future<Output = Result<Vec<Model>, Failure>> + Send;

    /// Fails with [`Failure::Retryable`] if another transaction has used one of the keys.
    fn insert_keys(&self, keys: &[KeyRow<'_>]) -> impl Future<Output = Result<(), Failure>> + Send;

    fn append_events(
        &self,
        now: OffsetDateTime,
        events: Vec<LogMessage>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decrement {
    pub(crate) product_id: i32,
    pub(crate) pieces: i32,
    /// The greatest id of the orders for these pieces.
    #[serde(with = "uuid::serde::simple")]
    pub(crate) newest_order: Uuid,
}

/// Ids have no hyphens: SQLite reads them with `unhex`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OrderRow {
    #[serde(with = "uuid::serde::simple")]
    pub(crate) id: Uuid,
    #[serde(with = "uuid::serde::simple")]
    pub(crate) user_id: Uuid,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyRow<'a> {
    #[serde(with = "uuid::serde::simple")]
    pub(crate) user_id: Uuid,
    pub(crate) key: &'a str,
    pub(crate) fingerprint: String,
    #[serde(with = "uuid::serde::simple")]
    pub(crate) order_id: Uuid,
}

/// What placing orders needs besides the database.
pub(crate) struct PlaceContext<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) origin: &'a Origin,
    pub(crate) rate_limiter: &'a EventRateLimiter,
    pub(crate) products: &'a ProductsForSale,
    pub(crate) now: &'a (dyn Fn() -> OffsetDateTime + Sync),
}

/// Places the orders of a batch. Returns one outcome per order, in the order of the batch.
///
/// `time_left` is called before rows are locked and again afterwards, because locking may take
/// long. An order whose caller no longer waits is refused.
pub(crate) async fn place_batch(
    context: &PlaceContext<'_>,
    statements: &impl Statements,
    orders: &[&NewOrder],
    time_left: TimeLeft<'_>,
) -> Result<Vec<OrderOutcome>, Failure> {
    // All callers may have left before this attempt: then no row is locked for them.
    if time_left().iter().all(Option::is_none) {
        return Ok(vec![OrderOutcome::Refused(ErrorReason::OrderExpired); orders.len()]);
    }
    metrics::BATCH_SIZE.observe(orders.len() as f64);
    let mut snapshot = statements.lock(orders).await?;
    if let Some(newest) = snapshot.newest_order {
        context.ids.observe(newest);
    }
    let now = (context.now)();
    let decisions = decide(orders, &time_left(), &mut snapshot, &mut || context.ids.next(now));
    let placed = insert(statements, orders, &decisions, now).await?;
    let outcomes: Vec<OrderOutcome> = decisions
        .iter()
        .map(|decision| outcome(decision, &decisions, &placed))
        .collect::<Result<_, Failure>>()?;
    let events: Vec<_> = orders
        .iter()
        .zip(&outcomes)
        .filter_map(|(order, outcome)| {
            let domain_event = event_of(context.rate_limiter, order, outcome)?;
            Some(event(context.origin, &order.context, order.caller.user_id, &domain_event))
        })
        .collect();
    statements.append_events(now, events).await?;
    context.products.observe(orders, &outcomes);
    Ok(outcomes)
}

async fn insert(
    statements: &impl Statements,
    orders: &[&NewOrder],
    decisions: &[Decision],
    now: OffsetDateTime,
) -> Result<HashMap<Uuid, Model>, Failure> {
    let (mut decrements, mut rows, mut keys) =
        (BTreeMap::<i32, Decrement>::new(), Vec::new(), Vec::new());
    for (order, decision) in orders.iter().zip(decisions) {
        let Decision::Place(id) = decision else { continue };
        let (id, user_id) = (*id, order.caller.user_id);
        let product_id = order.product_id;
        let decrement = decrements.entry(product_id).or_insert(Decrement {
            product_id,
            pieces: 0,
            newest_order: id,
        });
        decrement.pieces += order.quantity;
        decrement.newest_order = id;
        if let Some(key) = order.idempotency_key.as_deref() {
            keys.push(KeyRow { user_id, key, fingerprint: order.fingerprint(), order_id: id });
        }
        rows.push(OrderRow { id, user_id, product_id, quantity: order.quantity });
    }
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let decrements: Vec<Decrement> = decrements.into_values().collect();
    if statements.decrement_stock(&decrements).await? != decrements.len() as u64 {
        return Err(internal("the stock of a locked product has changed"));
    }
    let placed = statements.insert_orders(&rows, now).await?;
    if !keys.is_empty() {
        statements.insert_keys(&keys).await?;
    }
    Ok(placed.into_iter().map(|order| (order.id, order)).collect())
}

/// Refusals for lack of stock are limited per user; a retried transaction counts them again.
fn event_of<'a>(
    rate_limiter: &EventRateLimiter,
    order: &NewOrder,
    outcome: &'a OrderOutcome,
) -> Option<DomainEvent<'a>> {
    match outcome {
        OrderOutcome::Placed(placed) => Some(DomainEvent::OrderPlaced(placed)),
        OrderOutcome::Refused(ErrorReason::OutOfStock) => {
            let buyer = Client::User(order.caller.user_id);
            rate_limiter.admit(buyer, event_name::ORDER_REFUSED, OUT_OF_STOCK).then_some(
                DomainEvent::OrderRefused {
                    product_id: order.product_id,
                    quantity: order.quantity,
                },
            )
        }
        OrderOutcome::Replayed(_) | OrderOutcome::Refused(_) => None,
    }
}

/// The state of the batch's callers and products, read while their rows are locked.
///
/// The keys are read after the products are locked, so they include those of every committed order
/// of these products (READ COMMITTED). If another process uses a key for another product,
/// [`Statements::insert_keys`] violates the primary key and the transaction runs again.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchSnapshot {
    /// Token version and `is_active`.
    pub(crate) callers: HashMap<Uuid, (i64, bool)>,
    pub(crate) stock: HashMap<i32, i32>,
    /// The fingerprint and the order of each idempotency key.
    pub(crate) keys: HashMap<(Uuid, String), (String, Model)>,
    /// Not read if no product is in stock, because no order then gets an id.
    pub(crate) newest_order: Option<Uuid>,
}

#[derive(Clone, Debug, PartialEq)]
enum Decision {
    Place(Uuid),
    Replay(Model),
    /// Return the placed order at this index of the batch, which has the same key.
    Repeat(usize),
    Refuse(ErrorReason),
}

/// Subtracts the pieces of placed orders from `snapshot.stock`.
fn decide(
    orders: &[&NewOrder],
    time_left: &[Option<Duration>],
    snapshot: &mut BatchSnapshot,
    next_id: &mut dyn FnMut() -> Uuid,
) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = Vec::with_capacity(orders.len());
    let mut batch_keys: HashMap<(Uuid, &str), usize> = HashMap::new();
    for (order, time_left) in orders.iter().zip(time_left) {
        let decision = if time_left.is_some() {
            decide_one(order, orders, snapshot, &batch_keys, next_id)
        } else {
            Decision::Refuse(ErrorReason::OrderExpired)
        };
        if let (Decision::Place(_), Some(key)) = (&decision, order.key()) {
            batch_keys.insert(key, decisions.len());
        }
        decisions.push(decision);
    }
    decisions
}

fn decide_one(
    order: &NewOrder,
    orders: &[&NewOrder],
    snapshot: &mut BatchSnapshot,
    batch_keys: &HashMap<(Uuid, &str), usize>,
    next_id: &mut dyn FnMut() -> Uuid,
) -> Decision {
    if snapshot.callers.get(&order.caller.user_id) != Some(&(order.caller.token_version, true)) {
        return Decision::Refuse(ErrorReason::TokenRevoked);
    }
    if let Some((user_id, key)) = order.key() {
        let first = batch_keys
            .get(&(user_id, key))
            .map(|first| (orders[*first].fingerprint(), Decision::Repeat(*first)));
        let first = first.or_else(|| {
            snapshot
                .keys
                .get(&(user_id, key.to_owned()))
                .map(|(fingerprint, order)| (fingerprint.clone(), Decision::Replay(order.clone())))
        });
        if let Some((fingerprint, replay)) = first {
            return if fingerprint == order.fingerprint() {
                replay
            } else {
                Decision::Refuse(ErrorReason::IdempotencyKeyReused)
            };
        }
    }
    match snapshot.stock.get_mut(&order.product_id) {
        None => Decision::Refuse(ErrorReason::ProductNotFound),
        Some(stock) if *stock < order.quantity => Decision::Refuse(ErrorReason::OutOfStock),
        Some(stock) => {
            *stock -= order.quantity;
            Decision::Place(next_id())
        }
    }
}

fn outcome(
    decision: &Decision,
    decisions: &[Decision],
    placed: &HashMap<Uuid, Model>,
) -> Result<OrderOutcome, Failure> {
    Ok(match decision {
        Decision::Place(id) => OrderOutcome::Placed(find(placed, *id)?),
        Decision::Replay(order) => OrderOutcome::Replayed(order.clone().into_placed()),
        Decision::Repeat(first) => match decisions.get(*first) {
            Some(Decision::Place(id)) => OrderOutcome::Replayed(find(placed, *id)?),
            Some(Decision::Replay(_) | Decision::Repeat(_) | Decision::Refuse(_)) | None => {
                return Err(internal("the first order with a repeated key is not placed"));
            }
        },
        Decision::Refuse(reason) => OrderOutcome::Refused(*reason),
    })
}

fn find(placed: &HashMap<Uuid, Model>, id: Uuid) -> Result<Model, Failure> {
    placed.get(&id).cloned().ok_or_else(|| internal("an inserted order was not returned"))
}

#[cfg(test)]
mod tests;
