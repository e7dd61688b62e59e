//! Places the orders of a batch in one transaction. The number of statements does not depend on the
//! number of orders.

use std::collections::{BTreeSet, HashMap};

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::{event::event_name, rate_limit::Client};
use sea_orm::{ConnectionTrait as _, DbErr, FromQueryResult, Statement};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Caller, Context, Store, db_failure,
    events::{DomainEvent, OUT_OF_STOCK, event},
    internal, outbox,
    sql::{Sql, json, json_uuid},
};
use crate::{
    database::Transaction,
    db_error::{Intent, classify},
    entity::orders::Model,
    failure::Failure,
    ids::NEWEST_ORDER,
    metrics,
};

#[derive(Clone, Debug)]
pub(crate) struct NewOrder {
    pub(crate) context: Context,
    pub(crate) caller: Caller,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
    pub(crate) idempotency_key: Option<String>,
}

impl NewOrder {
    /// What a repetition of the key has to repeat.
    fn fingerprint(&self) -> String {
        // Destructured, so that a new field does not compile until it is part of this or not.
        let Self { context: _, caller: _, product_id, quantity, idempotency_key: _ } = self;
        format!("v1:product={product_id},quantity={quantity}")
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

/// Returns, for each order, whether its caller still waits.
pub(crate) type LivenessCheck<'a> = &'a (dyn Fn() -> Vec<bool> + Sync);

impl Store {
    /// Returns one outcome per order, in the order of the batch.
    ///
    /// `are_live` is called before rows are locked and again afterwards, because locking may take
    /// long. An order whose caller no longer waits is not placed; its outcome is `None`.
    pub(crate) async fn place(
        &self,
        orders: &[&NewOrder],
        are_live: LivenessCheck<'_>,
    ) -> Result<Vec<Option<OrderOutcome>>, Failure> {
        let _stock = self.stock_lock.lock().await;
        self.write(|transaction| async move { self.place_in(&transaction, orders, are_live).await })
            .await
    }

    async fn place_in(
        &self,
        transaction: &Transaction,
        orders: &[&NewOrder],
        are_live: LivenessCheck<'_>,
    ) -> Result<Vec<Option<OrderOutcome>>, Failure> {
        // All callers may have left before this attempt: then no row is locked for them.
        if !are_live().contains(&true) {
            return Ok(orders.iter().map(|_| None).collect());
        }
        metrics::BATCH_SIZE.observe(orders.len() as f64);
        let mut snapshot = BatchSnapshot::lock(transaction, orders).await.map_err(db_failure)?;
        if let Some(newest) = snapshot.newest_order {
            self.ids.observe(newest);
        }
        let now = self.clock.now();
        let decisions = decide(orders, &are_live(), &mut snapshot, &mut || self.ids.next(now));
        let placed = self.insert(transaction, orders, &decisions, now).await?;
        let outcomes: Vec<Option<OrderOutcome>> = decisions
            .iter()
            .map(|decision| outcome(decision, &decisions, &placed))
            .collect::<Result<_, Failure>>()?;
        let events: Vec<_> = orders
            .iter()
            .zip(&outcomes)
            .filter_map(|(order, outcome)| {
                let domain_event = self.event_of(order, outcome.as_ref()?)?;
                Some(event(&self.origin, &order.context, order.caller.user_id, &domain_event))
            })
            .collect();
        outbox::append(transaction, now, &events).await.map_err(db_failure)?;
        Ok(outcomes)
    }

    async fn insert(
        &self,
        transaction: &Transaction,
        orders: &[&NewOrder],
        decisions: &[Decision],
        now: OffsetDateTime,
    ) -> Result<HashMap<Uuid, Model>, Failure> {
        #[derive(Serialize)]
        struct Decrement {
            product_id: i32,
            pieces: i32,
        }
        #[derive(Serialize)]
        struct Row {
            id: String,
            user_id: String,
            product_id: i32,
            quantity: i32,
        }
        #[derive(Serialize)]
        struct Key<'a> {
            user_id: String,
            key: &'a str,
            fingerprint: String,
            order_id: String,
        }
        let (mut pieces, mut rows, mut keys) = (HashMap::<i32, i32>::new(), Vec::new(), Vec::new());
        for (order, decision) in orders.iter().zip(decisions) {
            let Decision::Place(id) = decision else { continue };
            let (id, user_id) = (json_uuid(*id), json_uuid(order.caller.user_id));
            *pieces.entry(order.product_id).or_default() += order.quantity;
            if let Some(key) = order.idempotency_key.as_deref() {
                keys.push(Key {
                    user_id: user_id.clone(),
                    key,
                    fingerprint: order.fingerprint(),
                    order_id: id.clone(),
                });
            }
            rows.push(Row { id, user_id, product_id: order.product_id, quantity: order.quantity });
        }
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let backend = transaction.get_database_backend();

        let decrements: Vec<Decrement> = pieces
            .into_iter()
            .map(|(product_id, pieces)| Decrement { product_id, pieces })
            .collect();
        let statement =
            DECREMENT_STOCK.with(backend, [json(&decrements).map_err(db_failure)?.into()]);
        let updated = transaction.execute_raw(statement).await.map_err(db_failure)?.rows_affected();
        if updated != decrements.len() as u64 {
            return Err(internal("the stock of a locked product has changed"));
        }
        let values = [json(&rows).map_err(db_failure)?.into(), now.into()];
        let statement = INSERT_ORDERS.with(backend, values);
        let placed =
            Model::find_by_statement(statement).all(transaction).await.map_err(db_failure)?;
        if !keys.is_empty() {
            let values = [json(&keys).map_err(db_failure)?.into()];
            let statement =
                INSERT_IDEMPOTENCY_KEYS.with_time(backend, values, self.clock.monotonic());
            transaction
                .execute_raw(statement)
                .await
                .map_err(|error| classify(error, Intent::PlaceOrders))?;
        }
        Ok(placed.into_iter().map(|order| (order.id, order)).collect())
    }

    /// Refusals for lack of stock are limited per user; a retried transaction counts them again.
    fn event_of<'a>(&self, order: &NewOrder, outcome: &'a OrderOutcome) -> Option<DomainEvent<'a>> {
        match outcome {
            OrderOutcome::Placed(placed) => Some(DomainEvent::OrderPlaced(placed)),
            OrderOutcome::Refused(ErrorReason::OutOfStock) => {
                let buyer = Client::User(order.caller.user_id);
                self.rate_limiter.admit(buyer, event_name::ORDER_REFUSED, OUT_OF_STOCK).then_some(
                    DomainEvent::OrderRefused {
                        product_id: order.product_id,
                        quantity: order.quantity,
                    },
                )
            }
            OrderOutcome::Replayed(_) | OrderOutcome::Refused(_) => None,
        }
    }
}

/// The state of the batch's callers and products, read while their rows are locked.
///
/// The keys are read after the products are locked, so they include those of every committed order
/// of these products (READ COMMITTED). If another process uses a key for another product,
/// [`INSERT_IDEMPOTENCY_KEYS`] violates the primary key and the transaction runs again.
#[derive(Default)]
struct BatchSnapshot {
    /// Token version and `is_active`.
    callers: HashMap<Uuid, (i64, bool)>,
    stock: HashMap<i32, i32>,
    /// The fingerprint and the order of each idempotency key.
    keys: HashMap<(Uuid, String), (String, Model)>,
    /// Not read if no product is in stock, because no order then gets an id.
    newest_order: Option<Uuid>,
}

#[derive(FromQueryResult)]
struct CallerRow {
    id: Uuid,
    token_version: i64,
    is_active: bool,
}

#[derive(FromQueryResult)]
struct ProductRow {
    id: i32,
    stock: i32,
}

#[derive(FromQueryResult)]
struct KeyRow {
    key: String,
    fingerprint: String,
    #[sea_orm(nested)]
    order: Model,
}

impl BatchSnapshot {
    /// Locks the callers, then the products, and reads the rest.
    async fn lock(transaction: &Transaction, orders: &[&NewOrder]) -> Result<Self, DbErr> {
        #[derive(Serialize)]
        struct Key<'a> {
            user_id: String,
            key: &'a str,
        }
        let backend = transaction.get_database_backend();
        let mut snapshot = Self::default();

        let callers: BTreeSet<String> =
            orders.iter().map(|order| json_uuid(order.caller.user_id)).collect();
        let statement = LOCK_CALLERS.with(backend, [json(&callers)?.into()]);
        for row in all::<CallerRow>(transaction, statement).await? {
            snapshot.callers.insert(row.id, (row.token_version, row.is_active));
        }
        let products: BTreeSet<i32> = orders.iter().map(|order| order.product_id).collect();
        let statement = LOCK_PRODUCTS.with(backend, [json(&products)?.into()]);
        for row in all::<ProductRow>(transaction, statement).await? {
            snapshot.stock.insert(row.id, row.stock);
        }
        let keys: BTreeSet<(Uuid, &str)> = orders.iter().filter_map(|order| order.key()).collect();
        if !keys.is_empty() {
            let keys: Vec<Key<'_>> = keys
                .into_iter()
                .map(|(user_id, key)| Key { user_id: json_uuid(user_id), key })
                .collect();
            let statement = SELECT_IDEMPOTENCY_KEYS.with(backend, [json(&keys)?.into()]);
            for row in all::<KeyRow>(transaction, statement).await? {
                snapshot.keys.insert((row.order.user_id, row.key), (row.fingerprint, row.order));
            }
        }
        // Read after the products are locked: by then, other processes have given their orders for
        // these products smaller ids, even if their clocks are ahead.
        if snapshot.stock.values().any(|stock| *stock > 0) {
            let row =
                transaction.query_one_raw(Statement::from_string(backend, NEWEST_ORDER)).await?;
            snapshot.newest_order = row.map(|row| row.try_get("", "id")).transpose()?;
        }
        Ok(snapshot)
    }
}

async fn all<T: FromQueryResult>(
    transaction: &Transaction,
    statement: Statement,
) -> Result<Vec<T>, DbErr> {
    T::find_by_statement(statement).all(transaction).await
}

#[derive(Clone, Debug, PartialEq)]
enum Decision {
    Place(Uuid),
    Replay(Model),
    /// Return the placed order at this index of the batch, which has the same key.
    Repeat(usize),
    Refuse(ErrorReason),
    Expired,
}

/// Subtracts the pieces of placed orders from `snapshot.stock`.
fn decide(
    orders: &[&NewOrder],
    are_live: &[bool],
    snapshot: &mut BatchSnapshot,
    next_id: &mut dyn FnMut() -> Uuid,
) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = Vec::with_capacity(orders.len());
    let mut batch_keys: HashMap<(Uuid, &str), usize> = HashMap::new();
    for (order, is_live) in orders.iter().zip(are_live) {
        let decision = if *is_live {
            decide_one(order, orders, snapshot, &batch_keys, next_id)
        } else {
            Decision::Expired
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

/// Returns `None` if the order expired.
fn outcome(
    decision: &Decision,
    decisions: &[Decision],
    placed: &HashMap<Uuid, Model>,
) -> Result<Option<OrderOutcome>, Failure> {
    Ok(Some(match decision {
        Decision::Place(id) => OrderOutcome::Placed(find(placed, *id)?),
        Decision::Replay(order) => OrderOutcome::Replayed(order.clone().into_placed()),
        Decision::Repeat(first) => match decisions.get(*first) {
            Some(Decision::Place(id)) => OrderOutcome::Replayed(find(placed, *id)?),
            Some(
                Decision::Replay(_) | Decision::Repeat(_) | Decision::Refuse(_) | Decision::Expired,
            )
            | None => {
                return Err(internal("the first order with a repeated key is not placed"));
            }
        },
        Decision::Refuse(reason) => OrderOutcome::Refused(*reason),
        Decision::Expired => return Ok(None),
    }))
}

fn find(placed: &HashMap<Uuid, Model>, id: Uuid) -> Result<Model, Failure> {
    placed.get(&id).cloned().ok_or_else(|| internal("an inserted order was not returned"))
}

/// Locks by id. A log-out or a deactivation waits for the batch.
const LOCK_CALLERS: Sql = Sql {
    postgres: "
        SELECT id, token_version, is_active
        FROM users
        WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json))
        ORDER BY id
        FOR SHARE",
    sqlite: "
        SELECT id, token_version, is_active
        FROM users
        WHERE id IN (SELECT unhex(value) FROM json_each($1))",
};

/// Locks by id. Other stock changes wait for the batch.
const LOCK_PRODUCTS: Sql = Sql {
    postgres: "
        SELECT id, stock
        FROM products
        WHERE id IN (SELECT value::integer FROM json_array_elements_text($1::json))
        ORDER BY id
        FOR NO KEY UPDATE",
    sqlite: "
        SELECT id, stock
        FROM products
        WHERE id IN (SELECT value FROM json_each($1))",
};

/// Names every column: `SELECT *` of a prepared statement fails after a newer release adds one.
const SELECT_IDEMPOTENCY_KEYS: Sql = Sql {
    postgres: "
        SELECT k.key, k.fingerprint, o.id, o.user_id, o.product_id, o.quantity,
            o.unit_price_cents, o.total_price_cents, o.currency, o.status, o.created_at,
            o.cancelled_at, o.version
        FROM json_to_recordset($1::json) AS w(user_id uuid, key text)
        JOIN idempotency_keys k ON k.user_id = w.user_id AND k.key = w.key
        JOIN orders o ON o.id = k.order_id",
    sqlite: "
        SELECT k.key, k.fingerprint, o.id, o.user_id, o.product_id, o.quantity,
            o.unit_price_cents, o.total_price_cents, o.currency, o.status, o.created_at,
            o.cancelled_at, o.version
        FROM json_each($1) w
        CROSS JOIN idempotency_keys k
            ON k.user_id = unhex(w.value ->> 'user_id') AND k.key = w.value ->> 'key'
        CROSS JOIN orders o ON o.id = k.order_id",
};

/// Never makes the stock negative, even if this program decides wrongly.
const DECREMENT_STOCK: Sql = Sql {
    postgres: "
        UPDATE products
        SET stock = stock - t.pieces, version = version + 1
        FROM json_to_recordset($1::json) AS t(product_id integer, pieces integer)
        WHERE products.id = t.product_id AND products.stock >= t.pieces",
    sqlite: "
        UPDATE products
        SET stock = stock - (t.value ->> 'pieces'), version = version + 1
        FROM json_each($1) t
        WHERE products.id = t.value ->> 'product_id' AND products.stock >= t.value ->> 'pieces'",
};

/// Takes price and currency from the product's row, never from the request.
const INSERT_ORDERS: Sql = Sql {
    postgres: "
        INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents,
            total_price_cents, currency, status, created_at, version)
        SELECT n.id, n.user_id, p.id, n.quantity, p.price_cents,
            p.price_cents * n.quantity, p.currency, 'placed', $2, 1
        FROM json_to_recordset($1::json)
            AS n(id uuid, user_id uuid, product_id integer, quantity integer)
        JOIN products p ON p.id = n.product_id
        ORDER BY n.id
        RETURNING id, user_id, product_id, quantity, unit_price_cents,
            total_price_cents, currency, status, created_at, cancelled_at, version",
    sqlite: "
        INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents,
            total_price_cents, currency, status, created_at, version)
        SELECT unhex(n.value ->> 'id'), unhex(n.value ->> 'user_id'), p.id,
            n.value ->> 'quantity', p.price_cents, p.price_cents * (n.value ->> 'quantity'),
            p.currency, 'placed', $2, 1
        FROM json_each($1) n
        CROSS JOIN products p ON p.id = n.value ->> 'product_id'
        RETURNING id, user_id, product_id, quantity, unit_price_cents,
            total_price_cents, currency, status, created_at, cancelled_at, version",
};

/// Inserts in the order of the keys, so that two processes do not deadlock. The database's clock
/// gives the age of a key.
const INSERT_IDEMPOTENCY_KEYS: Sql = Sql {
    postgres: "
        INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id, created_at)
        SELECT user_id, key, fingerprint, order_id, clock_timestamp()
        FROM json_to_recordset($1::json)
            AS k(user_id uuid, key text, fingerprint text, order_id uuid)
        ORDER BY user_id, key",
    sqlite: "
        INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id, created_at)
        SELECT unhex(value ->> 'user_id'), value ->> 'key', value ->> 'fingerprint',
            unhex(value ->> 'order_id'), $2
        FROM json_each($1)",
};

#[cfg(test)]
mod tests;
