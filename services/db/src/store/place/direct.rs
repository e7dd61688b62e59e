//! Places orders in one statement and one round trip, without a transaction of several messages.
//!
//! The statement decides by simple rules that hold for most orders: the token and the price are as
//! this process believes, the key is new, and the pieces suffice for all orders of the product. It
//! places these orders. All others stay undecided, and [`super::place_batch`] decides on them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use merch_contract::grpc::{assistant::v1::ErrorReason, logging::v1::LogMessage};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{NewOrder, OrderOutcome, PlaceContext, TimeLeft};
use crate::{
    entity::orders::{Model, Status},
    failure::Failure,
    metrics,
    store::{
        events::{DomainEvent, event},
        transaction,
    },
};

/// Longer than any deadline.
const MAX_TIME_LEFT: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
pub(crate) enum DirectOutcome {
    Placed(Model),
    /// Nothing was written for this order.
    Undecided,
}

/// An order that the statement places unchanged, or not at all.
#[derive(Clone, Debug)]
pub(crate) struct DirectRow<'a> {
    pub(crate) model: Model,
    pub(crate) token_version: i64,
    pub(crate) key: Option<&'a str>,
    pub(crate) fingerprint: String,
    /// When it is over, the order is not placed, even if the statement arrives late.
    pub(crate) time_left: Duration,
    pub(crate) event: LogMessage,
}

/// The statement. It commits by itself.
pub(crate) trait PlaceStatement: Sync {
    fn is_supported(&self) -> bool;

    /// Places the valid orders of each product that has pieces for all of them, with their keys and
    /// events. Returns their ids. Ids increase in `rows`, and placed ones are greater than those of
    /// earlier orders of their product.
    ///
    /// # Errors
    /// [`Failure::Retryable`] if nothing was written, and another attempt may succeed.
    fn place(
        &self,
        rows: &[DirectRow<'_>],
        now: OffsetDateTime,
    ) -> impl Future<Output = Result<HashSet<Uuid>, Failure>> + Send;
}

/// What this process knows of the products. The statement verifies it.
#[derive(Debug, Default)]
pub(crate) struct ProductsForSale(Mutex<HashMap<i32, ProductForSale>>);

#[derive(Clone, Debug)]
struct ProductForSale {
    price_cents: i64,
    currency: String,
}

impl ProductsForSale {
    fn get(&self, product_id: i32) -> Option<ProductForSale> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&product_id).cloned()
    }

    /// Remembers the prices of placed orders. A product that is sold out is forgotten: the
    /// statement places none of its orders.
    pub(super) fn observe(&self, orders: &[&NewOrder], outcomes: &[OrderOutcome]) {
        let mut products = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (order, outcome) in orders.iter().zip(outcomes) {
            match outcome {
                OrderOutcome::Placed(placed) => {
                    let product = ProductForSale {
                        price_cents: placed.unit_price_cents,
                        currency: placed.currency.clone(),
                    };
                    products.insert(order.product_id, product);
                }
                OrderOutcome::Refused(ErrorReason::OutOfStock) => {
                    products.remove(&order.product_id);
                }
                OrderOutcome::Replayed(_) | OrderOutcome::Refused(_) => {}
            }
        }
    }
}

/// Places orders in one statement. Returns one outcome per order, in the order of the batch.
///
/// # Errors
/// [`Failure::Internal`] if nothing was written; other failures leave the outcome unknown.
pub(crate) async fn place_directly(
    context: &PlaceContext<'_>,
    statement: &impl PlaceStatement,
    orders: &[&NewOrder],
    time_left: TimeLeft<'_>,
) -> Result<Vec<DirectOutcome>, Failure> {
    if !statement.is_supported() {
        return Ok(orders.iter().map(|_| DirectOutcome::Undecided).collect());
    }
    transaction::retry(|| async {
        let now = (context.now)();
        let rows = rows(context, orders, &time_left(), now);
        let mut outcomes: Vec<_> = orders.iter().map(|_| DirectOutcome::Undecided).collect();
        if rows.is_empty() {
            return Ok(outcomes);
        }
        metrics::BATCH_SIZE.observe(rows.len() as f64);
        let (positions, rows): (Vec<usize>, Vec<DirectRow<'_>>) = rows.into_iter().unzip();
        let placed = statement.place(&rows, now).await?;
        for (position, row) in positions.into_iter().zip(rows) {
            if placed.contains(&row.model.id) {
                outcomes[position] = DirectOutcome::Placed(row.model);
            }
        }
        Ok(outcomes)
    })
    .await
}

/// Returns the orders that the statement may place, with their positions in the batch.
///
/// Orders of a product are placed in their order: if one is left out, so are the later ones.
fn rows<'a>(
    context: &PlaceContext<'_>,
    orders: &[&'a NewOrder],
    time_left: &[Option<Duration>],
    now: OffsetDateTime,
) -> Vec<(usize, DirectRow<'a>)> {
    let (mut rows, mut keys, mut left_out) = (Vec::new(), HashSet::new(), HashSet::new());
    for (position, (order, time_left)) in orders.iter().zip(time_left).enumerate() {
        let Some(time_left) = time_left else { continue };
        let product = context.products.get(order.product_id);
        let is_repeated = order.key().is_some_and(|key| !keys.insert(key));
        let (Some(product), false, false) =
            (product, is_repeated, left_out.contains(&order.product_id))
        else {
            left_out.insert(order.product_id);
            continue;
        };
        let model = Model {
            id: context.ids.next(now),
            user_id: order.caller.user_id,
            product_id: order.product_id,
            quantity: order.quantity,
            unit_price_cents: product.price_cents,
            total_price_cents: product.price_cents * i64::from(order.quantity),
            currency: product.currency,
            status: Status::Placed,
            created_at: now,
            cancelled_at: None,
            version: 1,
        };
        let placed = DomainEvent::OrderPlaced(&model);
        let event = event(context.origin, &order.context, order.caller.user_id, &placed);
        let row = DirectRow {
            token_version: order.caller.token_version,
            key: order.idempotency_key.as_deref(),
            fingerprint: order.fingerprint(),
            time_left: (*time_left).min(MAX_TIME_LEFT),
            event,
            model,
        };
        rows.push((position, row));
    }
    rows
}
