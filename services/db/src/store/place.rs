//! Placing many orders in one transaction, with as many statements for a hundred as for one. Each
//! is judged on its own, in arrival order.

use std::collections::{BTreeSet, HashMap};

use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::{event::event_name, rate_limit::Client};
use sea_orm::{ConnectionTrait as _, FromQueryResult, Statement};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Caller, Context, Store,
    events::{Happening, OUT_OF_STOCK, event},
    fault, outbox, plain,
    sql::{Sql, json, plain_id},
};
use crate::{
    database::Transaction,
    db_error::{Intent, meaning},
    entity::orders::Model,
    failure::Failure,
    ids::NEWEST_ORDER,
};

/// An order to place; every member keeps its rule.
#[derive(Clone, Debug)]
pub(crate) struct NewOrder {
    pub(crate) context: Context,
    pub(crate) caller: Caller,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
    pub(crate) idempotency_key: Option<String>,
}

impl NewOrder {
    /// What must be the same when a key comes again.
    fn fingerprint(&self) -> String {
        format!("v1:product={},quantity={}", self.product_id, self.quantity)
    }

    fn key(&self) -> Option<(Uuid, &str)> {
        self.idempotency_key.as_deref().map(|key| (self.caller.user_id, key))
    }
}

/// What came of one order. Nothing of it may be told before the transaction is committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Placed(Model),
    /// The key was used before, for the same: the first order, as it was when it was placed.
    Replayed(Model),
    Refused(ErrorReason),
}

/// Locks the callers against a log-out or deactivation that has not been answered yet; in the order
/// of their ids, as every batch does.
const CALLERS: Sql = Sql {
    postgres: "SELECT id, token_version, is_active FROM users \
               WHERE id IN (SELECT value::uuid FROM json_array_elements_text($1::json)) ORDER BY id FOR SHARE",
    sqlite: "SELECT id, token_version, is_active FROM users WHERE id IN (SELECT unhex(value) FROM json_each($1))",
};
/// Every column by its name, here and below: a statement that stays prepared while a newer program
/// adds a column must go on yielding what it did.
const KEYS: Sql = Sql {
    postgres: "SELECT k.key, k.fingerprint, o.id, o.user_id, o.product_id, o.quantity, o.unit_price_cents, o.total_price_cents, o.currency, \
               o.status, o.created_at, o.cancelled_at, o.version FROM json_to_recordset($1::json) AS w(user_id uuid, key text) \
               JOIN idempotency_keys k ON k.user_id = w.user_id AND k.key = w.key JOIN orders o ON o.id = k.order_id",
    sqlite: "SELECT k.key, k.fingerprint, o.id, o.user_id, o.product_id, o.quantity, o.unit_price_cents, o.total_price_cents, o.currency, \
             o.status, o.created_at, o.cancelled_at, o.version FROM json_each($1) w CROSS JOIN idempotency_keys k \
             ON k.user_id = unhex(w.value ->> 'user_id') AND k.key = w.value ->> 'key' CROSS JOIN orders o ON o.id = k.order_id",
};
/// Locks the products, in the order of their ids: whoever else sells them waits until this batch is
/// committed.
const PRODUCTS: Sql = Sql {
    postgres: "SELECT id, stock FROM products \
               WHERE id IN (SELECT value::integer FROM json_array_elements_text($1::json)) ORDER BY id FOR NO KEY UPDATE",
    sqlite: "SELECT id, stock FROM products WHERE id IN (SELECT value FROM json_each($1))",
};
/// The guard holds whatever this program believes of the stock.
const TAKE: Sql = Sql {
    postgres: "UPDATE products SET stock = stock - t.pieces, version = version + 1 \
               FROM json_to_recordset($1::json) AS t(product_id integer, pieces integer) \
               WHERE products.id = t.product_id AND products.stock >= t.pieces",
    sqlite: "UPDATE products SET stock = stock - (t.value ->> 'pieces'), version = version + 1 FROM json_each($1) t \
             WHERE products.id = t.value ->> 'product_id' AND products.stock >= t.value ->> 'pieces'",
};
/// Price, total and currency are the product's row's own: nobody names them.
const INSERT: Sql = Sql {
    postgres: "INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, total_price_cents, currency, status, created_at, version) \
               SELECT n.id, n.user_id, p.id, n.quantity, p.price_cents, p.price_cents * n.quantity, p.currency, 'placed', $2, 1 \
               FROM json_to_recordset($1::json) AS n(id uuid, user_id uuid, product_id integer, quantity integer) \
               JOIN products p ON p.id = n.product_id ORDER BY n.id \
               RETURNING id, user_id, product_id, quantity, unit_price_cents, total_price_cents, currency, status, created_at, cancelled_at, version",
    sqlite: "INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, total_price_cents, currency, status, created_at, version) \
             SELECT unhex(n.value ->> 'id'), unhex(n.value ->> 'user_id'), p.id, n.value ->> 'quantity', p.price_cents, \
             p.price_cents * (n.value ->> 'quantity'), p.currency, 'placed', $2, 1 \
             FROM json_each($1) n CROSS JOIN products p ON p.id = n.value ->> 'product_id' \
             RETURNING id, user_id, product_id, quantity, unit_price_cents, total_price_cents, currency, status, created_at, cancelled_at, version",
};
/// In the order of the keys, so that two processes with the same keys wait for each other one way
/// only. How old a key is, the database's clock says.
const REMEMBER: Sql = Sql {
    postgres: "INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id, created_at) \
               SELECT user_id, key, fingerprint, order_id, clock_timestamp() \
               FROM json_to_recordset($1::json) AS k(user_id uuid, key text, fingerprint text, order_id uuid) ORDER BY user_id, key",
    sqlite: "INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id, created_at) \
             SELECT unhex(value ->> 'user_id'), value ->> 'key', value ->> 'fingerprint', unhex(value ->> 'order_id'), $2 FROM json_each($1)",
};

#[derive(FromQueryResult)]
struct CallerRow {
    id: Uuid,
    token_version: i64,
    is_active: bool,
}

#[derive(FromQueryResult)]
struct KeyRow {
    key: String,
    fingerprint: String,
    #[sea_orm(nested)]
    order: Model,
}

#[derive(FromQueryResult)]
struct ProductRow {
    id: i32,
    stock: i32,
}

/// What the database knows of a batch. The callers and the products are locked. The keys are not:
/// they are read when the products are locked, and so with every order for one of those products
/// that another process placed before (READ COMMITTED). A key that another process is just using
/// for another product is told by the violation when it is remembered, and the batch is judged
/// anew.
#[derive(Default)]
struct Known {
    callers: HashMap<Uuid, (i64, bool)>,
    keys: HashMap<(Uuid, String), (String, Model)>,
    stock: HashMap<i32, i32>,
    /// The greatest id of an order that any process has placed; not read if no product has stock
    /// left, as no order gets an id then.
    newest: Option<Uuid>,
}

/// What is to be done with an order of a batch.
#[derive(Clone, Debug, PartialEq)]
enum Judgement {
    /// Under this id.
    Place(Uuid),
    Replay(Model),
    /// The order at this place of the batch has the same key and is placed.
    Repeat(usize),
    Refuse(ErrorReason),
    /// Nobody waits for it any more.
    Leave,
}

/// Says of each order of a batch whether somebody still waits for it.
pub(crate) type Waits<'a> = &'a (dyn Fn() -> Vec<bool> + Sync);

impl Store {
    /// Judges `orders` in their order and places those that may be. All are committed, or none.
    ///
    /// `waits` is asked when the rows are locked. An order that nobody waits for then gets no
    /// verdict, and is not placed.
    ///
    /// In one transaction: where the database undid it, it is the caller who runs it again, with
    /// the orders that somebody still waits for.
    pub(crate) async fn place(
        &self,
        orders: &[&NewOrder],
        waits: Waits<'_>,
    ) -> Result<Vec<Option<Verdict>>, Failure> {
        let _turn = self.selling.lock().await;
        self.write_once(
            |transaction| async move { self.place_in(&transaction, orders, waits).await },
        )
        .await
    }

    async fn place_in(
        &self,
        transaction: &Transaction,
        orders: &[&NewOrder],
        waits: Waits<'_>,
    ) -> Result<Vec<Option<Verdict>>, Failure> {
        let mut known = read(transaction, orders).await.map_err(plain)?;
        if let Some(newest) = known.newest {
            self.ids.observe(newest);
        }
        let now = self.clock.now();
        let judgements = judge(orders, &waits(), &mut known, &mut || self.ids.next(now));
        let placed = self.insert(transaction, orders, &judgements, now).await?;
        let verdicts: Vec<Option<Verdict>> = judgements
            .iter()
            .map(|judgement| {
                Ok(Some(match judgement {
                    Judgement::Place(id) => Verdict::Placed(find(&placed, *id)?),
                    Judgement::Replay(order) => Verdict::Replayed(order.clone().into_placed()),
                    Judgement::Repeat(first) => match judgements.get(*first) {
                        Some(Judgement::Place(id)) => Verdict::Replayed(find(&placed, *id)?),
                        Some(
                            Judgement::Replay(_)
                            | Judgement::Repeat(_)
                            | Judgement::Refuse(_)
                            | Judgement::Leave,
                        )
                        | None => {
                            return Err(fault(
                                "a repeated order does not point to one that is placed",
                            ));
                        }
                    },
                    Judgement::Refuse(reason) => Verdict::Refused(*reason),
                    Judgement::Leave => return Ok(None),
                }))
            })
            .collect::<Result<_, Failure>>()?;
        let events: Vec<_> = orders
            .iter()
            .zip(&verdicts)
            .filter_map(|(order, verdict)| {
                let happening = match verdict {
                    Some(Verdict::Placed(placed)) => Happening::OrderPlaced(placed),
                    // Counted by the time it is judged: in a transaction that fails and is run
                    // again, once more.
                    Some(Verdict::Refused(ErrorReason::OutOfStock)) => {
                        let buyer = Client::User(order.caller.user_id);
                        if !self.rate_limiter.admit(buyer, event_name::ORDER_REFUSED, OUT_OF_STOCK)
                        {
                            return None;
                        }
                        Happening::OrderRefused {
                            product_id: order.product_id,
                            quantity: order.quantity,
                        }
                    }
                    Some(Verdict::Replayed(_) | Verdict::Refused(_)) | None => return None,
                };
                Some(event(&self.origin, &order.context, order.caller.user_id, &happening))
            })
            .collect();
        outbox::append(transaction, now, &events).await.map_err(plain)?;
        Ok(verdicts)
    }

    /// Takes the pieces from the stock, writes the orders and remembers their keys.
    async fn insert(
        &self,
        transaction: &Transaction,
        orders: &[&NewOrder],
        judgements: &[Judgement],
        now: OffsetDateTime,
    ) -> Result<HashMap<Uuid, Model>, Failure> {
        #[derive(Serialize)]
        struct Taken {
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
        for (order, judgement) in orders.iter().zip(judgements) {
            let Judgement::Place(id) = judgement else { continue };
            let (id, user_id) = (plain_id(*id), plain_id(order.caller.user_id));
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

        let taken: Vec<Taken> =
            pieces.into_iter().map(|(product_id, pieces)| Taken { product_id, pieces }).collect();
        let statement = TAKE.with(backend, [json(&taken).map_err(plain)?.into()]);
        let updated = transaction.execute_raw(statement).await.map_err(plain)?.rows_affected();
        if updated != taken.len() as u64 {
            return Err(fault("the stock of a locked product is not what was read"));
        }
        let statement = INSERT.with(backend, [json(&rows).map_err(plain)?.into(), now.into()]);
        let placed = Model::find_by_statement(statement).all(transaction).await.map_err(plain)?;
        if !keys.is_empty() {
            let statement = REMEMBER.with_time(
                backend,
                [json(&keys).map_err(plain)?.into()],
                self.clock.steady(),
            );
            transaction
                .execute_raw(statement)
                .await
                .map_err(|error| meaning(error, Intent::PlaceOrders))?;
        }
        Ok(placed.into_iter().map(|order| (order.id, order)).collect())
    }
}

/// Reads what the batch is judged by, and locks it.
async fn read(transaction: &Transaction, orders: &[&NewOrder]) -> Result<Known, sea_orm::DbErr> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        user_id: String,
        key: &'a str,
    }
    let backend = transaction.get_database_backend();
    let mut known = Known::default();

    let callers: BTreeSet<String> =
        orders.iter().map(|order| plain_id(order.caller.user_id)).collect();
    let statement = CALLERS.with(backend, [json(&callers)?.into()]);
    for row in all::<CallerRow>(transaction, statement).await? {
        known.callers.insert(row.id, (row.token_version, row.is_active));
    }
    let products: BTreeSet<i32> = orders.iter().map(|order| order.product_id).collect();
    let statement = PRODUCTS.with(backend, [json(&products)?.into()]);
    for row in all::<ProductRow>(transaction, statement).await? {
        known.stock.insert(row.id, row.stock);
    }
    // Not before the products are locked: whoever took the last piece under the same key has
    // committed by now, and its key is seen.
    let wanted: BTreeSet<(Uuid, &str)> = orders.iter().filter_map(|order| order.key()).collect();
    if !wanted.is_empty() {
        let wanted: Vec<Wanted<'_>> = wanted
            .into_iter()
            .map(|(user_id, key)| Wanted { user_id: plain_id(user_id), key })
            .collect();
        let statement = KEYS.with(backend, [json(&wanted)?.into()]);
        for row in all::<KeyRow>(transaction, statement).await? {
            known.keys.insert((row.order.user_id, row.key), (row.fingerprint, row.order));
        }
    }
    // Not before the products are locked, either: what another process has placed of them since has
    // smaller ids, whatever the clocks say.
    if known.stock.values().any(|stock| *stock > 0) {
        let newest = Statement::from_string(backend, NEWEST_ORDER);
        known.newest = transaction
            .query_one_raw(newest)
            .await?
            .map(|row| row.try_get("", "id"))
            .transpose()?;
    }
    Ok(known)
}

async fn all<T: FromQueryResult>(
    transaction: &Transaction,
    statement: Statement,
) -> Result<Vec<T>, sea_orm::DbErr> {
    T::find_by_statement(statement).all(transaction).await
}

/// Judges each order that somebody waits for, by what is known and by those before it; takes the
/// pieces of what is placed from `known.stock`.
fn judge(
    orders: &[&NewOrder],
    waits: &[bool],
    known: &mut Known,
    next_id: &mut dyn FnMut() -> Uuid,
) -> Vec<Judgement> {
    let mut judgements: Vec<Judgement> = Vec::with_capacity(orders.len());
    let mut keys_here: HashMap<(Uuid, &str), usize> = HashMap::new();
    for (order, waits) in orders.iter().zip(waits) {
        let judgement = if *waits {
            judge_one(order, orders, known, &keys_here, next_id)
        } else {
            Judgement::Leave
        };
        if let (Judgement::Place(_), Some(key)) = (&judgement, order.key()) {
            keys_here.insert(key, judgements.len());
        }
        judgements.push(judgement);
    }
    judgements
}

fn judge_one(
    order: &NewOrder,
    orders: &[&NewOrder],
    known: &mut Known,
    keys_here: &HashMap<(Uuid, &str), usize>,
    next_id: &mut dyn FnMut() -> Uuid,
) -> Judgement {
    if known.callers.get(&order.caller.user_id) != Some(&(order.caller.token_version, true)) {
        return Judgement::Refuse(ErrorReason::TokenRevoked);
    }
    if let Some((user_id, key)) = order.key() {
        let first = keys_here
            .get(&(user_id, key))
            .map(|first| (orders[*first].fingerprint(), Judgement::Repeat(*first)));
        let first = first.or_else(|| {
            known
                .keys
                .get(&(user_id, key.to_owned()))
                .map(|(fingerprint, order)| (fingerprint.clone(), Judgement::Replay(order.clone())))
        });
        if let Some((fingerprint, again)) = first {
            return if fingerprint == order.fingerprint() {
                again
            } else {
                Judgement::Refuse(ErrorReason::IdempotencyKeyReused)
            };
        }
    }
    match known.stock.get_mut(&order.product_id) {
        None => Judgement::Refuse(ErrorReason::ProductNotFound),
        Some(stock) if *stock < order.quantity => Judgement::Refuse(ErrorReason::OutOfStock),
        Some(stock) => {
            *stock -= order.quantity;
            Judgement::Place(next_id())
        }
    }
}

fn find(placed: &HashMap<Uuid, Model>, id: Uuid) -> Result<Model, Failure> {
    placed.get(&id).cloned().ok_or_else(|| fault("an order that was inserted was not returned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUYER: Uuid = Uuid::from_u128(1);

    fn order(quantity: i32, key: Option<&str>) -> NewOrder {
        let caller = Caller { user_id: BUYER, token_version: 1 };
        NewOrder {
            context: Context::default(),
            caller,
            product_id: 1,
            quantity,
            idempotency_key: key.map(str::to_owned),
        }
    }

    fn known(stock: i32) -> Known {
        Known {
            callers: [(BUYER, (1, true))].into(),
            keys: HashMap::new(),
            stock: [(1, stock)].into(),
            newest: None,
        }
    }

    fn judged(orders: &[NewOrder], known: &mut Known) -> Vec<Judgement> {
        judge(
            &orders.iter().collect::<Vec<_>>(),
            &vec![true; orders.len()],
            known,
            &mut Uuid::now_v7,
        )
    }

    #[test]
    fn the_last_pieces_go_to_whoever_comes_first_and_can_have_them() {
        let verdicts = judged(
            &[order(2, None), order(2, None), order(1, None), order(1, None)],
            &mut known(3),
        );
        assert!(matches!(
            verdicts.as_slice(),
            [
                Judgement::Place(first),
                Judgement::Refuse(ErrorReason::OutOfStock),
                Judgement::Place(second),
                Judgement::Refuse(ErrorReason::OutOfStock)
            ] if first < second
        ));
    }

    #[test]
    fn a_key_within_a_batch_is_the_first_orders() {
        let verdicts =
            judged(&[order(1, Some("k")), order(1, Some("k")), order(2, Some("k"))], &mut known(3));
        assert!(matches!(
            verdicts.as_slice(),
            [
                Judgement::Place(_),
                Judgement::Repeat(0),
                Judgement::Refuse(ErrorReason::IdempotencyKeyReused)
            ]
        ));
    }

    #[test]
    fn a_refused_order_does_not_use_its_key_up() {
        let verdicts = judged(&[order(3, Some("k")), order(1, Some("k"))], &mut known(2));
        assert!(matches!(
            verdicts.as_slice(),
            [Judgement::Refuse(ErrorReason::OutOfStock), Judgement::Place(_)]
        ));
    }

    #[test]
    fn what_nobody_waits_for_takes_no_piece_and_no_key() {
        let orders = [order(2, Some("k")), order(2, Some("k")), order(1, None)];
        let judgements = judge(
            &orders.iter().collect::<Vec<_>>(),
            &[false, true, true],
            &mut known(3),
            &mut Uuid::now_v7,
        );
        assert!(
            matches!(
                judgements.as_slice(),
                [Judgement::Leave, Judgement::Place(_), Judgement::Place(_)]
            ),
            "{judgements:?}"
        );
    }

    #[test]
    fn a_void_token_is_told_before_anything_else() {
        let mut stranger = order(1, None);
        stranger.caller.token_version = 0;
        stranger.product_id = 99;
        assert_eq!(
            judged(&[stranger], &mut known(3)),
            [Judgement::Refuse(ErrorReason::TokenRevoked)]
        );
    }
}
