//! The statements of a batch in SQL.

use std::collections::{BTreeSet, HashSet};

use merch_contract::grpc::logging::v1::LogMessage;
use prost::Message as _;
use sea_orm::{
    ConnectionTrait as _, DbBackend, DbErr, FromQueryResult, Statement, Value, sea_query::ArrayType,
};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::{Uuid, fmt::Simple};

use super::{
    BatchSnapshot, Decrement, KeyRow, NewOrder, OrderRow, Statements,
    direct::{DirectRow, PlaceStatement},
};
use crate::{
    clock::{self, Clock},
    database::{Database, Transaction},
    db_error::{Intent, classify, classify_alone},
    entity::orders::Model,
    failure::Failure,
    ids::NEWEST_ORDER,
    store::{
        db_failure, internal, outbox,
        sql::{Sql, json},
    },
};

pub(crate) struct SqlStatements<'a> {
    pub(crate) transaction: &'a Transaction,
    pub(crate) clock: &'a Clock,
}

impl Statements for SqlStatements<'_> {
    async fn lock(&self, orders: &[&NewOrder]) -> Result<BatchSnapshot, Failure> {
        lock(self.transaction, orders).await.map_err(db_failure)
    }

    async fn decrement_stock(&self, decrements: &[Decrement]) -> Result<u64, Failure> {
        let backend = self.transaction.get_database_backend();
        let values = [json(decrements).map_err(db_failure)?.into()];
        let statement = DECREMENT_STOCK.with(backend, values);
        let updated = self.transaction.execute_raw(statement).await.map_err(db_failure)?;
        Ok(updated.rows_affected())
    }

    async fn insert_orders(
        &self,
        rows: &[OrderRow],
        now: OffsetDateTime,
    ) -> Result<Vec<Model>, Failure> {
        let backend = self.transaction.get_database_backend();
        let values = [json(rows).map_err(db_failure)?.into(), now.into()];
        all(self.transaction, INSERT_ORDERS.with(backend, values)).await.map_err(db_failure)
    }

    async fn insert_keys(&self, keys: &[KeyRow<'_>]) -> Result<(), Failure> {
        let backend = self.transaction.get_database_backend();
        let values = [json(keys).map_err(db_failure)?.into()];
        let statement = INSERT_IDEMPOTENCY_KEYS.with_time(backend, values, self.clock.monotonic());
        let inserted = self.transaction.execute_raw(statement).await;
        inserted.map(|_| ()).map_err(|error| classify(error, Intent::PlaceOrders))
    }

    async fn append_events(
        &self,
        now: OffsetDateTime,
        events: Vec<LogMessage>,
    ) -> Result<(), Failure> {
        outbox::append(self.transaction, now, events).await.map_err(db_failure)
    }
}

/// [`PLACE`] on a connection of its own. SQLite has no round trips to save.
pub(crate) struct SqlStatement<'a> {
    pub(crate) database: &'a Database,
    pub(crate) clock: &'a Clock,
}

impl PlaceStatement for SqlStatement<'_> {
    fn is_supported(&self) -> bool {
        self.database.backend() == DbBackend::Postgres
    }

    async fn place(
        &self,
        rows: &[DirectRow<'_>],
        now: OffsetDateTime,
    ) -> Result<HashSet<Uuid>, Failure> {
        let column = |value: &dyn Fn(&DirectRow<'_>) -> Value, kind| {
            Value::Array(kind, Some(Box::new(rows.iter().map(value).collect())))
        };
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(HashSet::new());
        };
        let event_ids = rows.iter().map(|row| row.event.id.parse::<Uuid>().map(Value::from));
        let event_ids = event_ids
            .collect::<Result<_, _>>()
            .map_err(|_| internal("the id of an event is not a UUID"))?;
        let clock = self.clock.monotonic();
        let event = |row: &DirectRow<'_>| {
            let event = LogMessage { time: Some(clock::timestamp(now)), ..row.event.clone() };
            event.encode_to_vec()
        };
        let values = [
            now.into(),
            first.model.id.into(),
            last.model.id.into(),
            column(&|row| row.model.id.into(), ArrayType::Uuid),
            column(&|row| row.model.user_id.into(), ArrayType::Uuid),
            column(&|row| row.token_version.into(), ArrayType::BigInt),
            column(&|row| row.model.product_id.into(), ArrayType::Int),
            column(&|row| row.model.quantity.into(), ArrayType::Int),
            column(&|row| row.model.unit_price_cents.into(), ArrayType::BigInt),
            column(&|row| row.model.currency.as_str().into(), ArrayType::String),
            column(&|row| row.key.unwrap_or_default().into(), ArrayType::String),
            column(&|row| row.fingerprint.as_str().into(), ArrayType::String),
            column(&|row| (clock + row.time_left).into(), ArrayType::TimeDateTimeWithTimeZone),
            Value::Array(ArrayType::Uuid, Some(Box::new(event_ids))),
            column(&|row| event(row).into(), ArrayType::Bytes),
        ];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, PLACE, values);
        let placing = self.database.writer().query_all_raw(statement);
        let placed = tokio::time::timeout(self.database.transaction_timeout(), placing)
            .await
            .map_err(|_| Failure::TimedOut)?
            .map_err(classify_alone)?;
        let ids = placed.iter().map(|row| row.try_get("", "id"));
        ids.collect::<Result<_, _>>().map_err(Failure::Unavailable)
    }
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
struct StoredKey {
    key: String,
    fingerprint: String,
    #[sea_orm(nested)]
    order: Model,
}

/// Locks the callers, then the products, and reads the rest.
async fn lock(transaction: &Transaction, orders: &[&NewOrder]) -> Result<BatchSnapshot, DbErr> {
    #[derive(Serialize)]
    struct Key<'a> {
        #[serde(with = "uuid::serde::simple")]
        user_id: Uuid,
        key: &'a str,
    }
    let backend = transaction.get_database_backend();
    let mut snapshot = BatchSnapshot::default();

    let callers: BTreeSet<Uuid> = orders.iter().map(|order| order.caller.user_id).collect();
    let callers: Vec<Simple> = callers.into_iter().map(Uuid::simple).collect();
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
        let keys: Vec<Key<'_>> =
            keys.into_iter().map(|(user_id, key)| Key { user_id, key }).collect();
        let statement = SELECT_IDEMPOTENCY_KEYS.with(backend, [json(&keys)?.into()]);
        for row in all::<StoredKey>(transaction, statement).await? {
            snapshot.keys.insert((row.order.user_id, row.key), (row.fingerprint, row.order));
        }
    }
    // Read after the products are locked: by then, other processes have given their orders for
    // these products smaller ids, even if their clocks are ahead.
    if snapshot.stock.values().any(|stock| *stock > 0) {
        let row = transaction.query_one_raw(Statement::from_string(backend, NEWEST_ORDER)).await?;
        snapshot.newest_order = row.map(|row| row.try_get("", "id")).transpose()?;
    }
    Ok(snapshot)
}

async fn all<T: FromQueryResult>(
    transaction: &Transaction,
    statement: Statement,
) -> Result<Vec<T>, DbErr> {
    T::find_by_statement(statement).all(transaction).await
}

/// Decides and writes a batch in one round trip. Places all orders for a product, or none, by what
/// the locked rows say; returns the ids of the placed ones.
///
/// - `callers`, then `locked`: the locks of a transaction, in its order.
/// - `valid`: the orders with a valid token, a new key, time left, and the price of the product. A
///   key that another process inserts meanwhile violates the primary key.
/// - `taken`: the products with enough pieces. Ids follow the commits, although the clocks of two
///   processes differ: they are greater than those of the snapshot, and than `newest_order`, which
///   is that of the locked row.
///
/// `$1` the time, `$2` and `$3` the least and the greatest id, then the columns of `o`.
const PLACE: &str = "
    WITH o AS MATERIALIZED (
        SELECT *
        FROM unnest($4::uuid[], $5::uuid[], $6::bigint[], $7::integer[], $8::integer[],
                $9::bigint[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                $14::uuid[], $15::bytea[])
            AS o(id, user_id, token_version, product_id, quantity, price_cents, currency, key,
                fingerprint, until, event_id, payload)
    ), callers AS MATERIALIZED (
        SELECT id, token_version
        FROM users
        WHERE id = ANY ($5) AND is_active
        ORDER BY id
        FOR SHARE
    ), locked AS MATERIALIZED (
        SELECT id, price_cents, currency
        FROM products
        WHERE id = ANY ($7) AND EXISTS (SELECT 1 FROM callers)
        ORDER BY id
        FOR NO KEY UPDATE
    ), valid AS MATERIALIZED (
        SELECT o.*
        FROM o
        JOIN callers c ON c.id = o.user_id AND c.token_version = o.token_version
        JOIN locked l ON l.id = o.product_id AND l.price_cents = o.price_cents
            AND l.currency = o.currency
        WHERE clock_timestamp() < o.until
            AND (o.key = '' OR NOT EXISTS (
                SELECT 1 FROM idempotency_keys k WHERE k.user_id = o.user_id AND k.key = o.key))
    ), taken AS (
        UPDATE products
        SET stock = stock - v.pieces, version = version + 1, newest_order = $3
        FROM (SELECT product_id, sum(quantity) AS pieces FROM valid GROUP BY product_id) v
        WHERE products.id = v.product_id AND stock >= v.pieces
            AND (newest_order IS NULL OR newest_order < $2)
            AND NOT EXISTS (SELECT 1 FROM orders WHERE id >= $2)
        RETURNING products.id
    ), placed AS (
        INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents,
            total_price_cents, currency, status, created_at, version)
        SELECT v.id, v.user_id, v.product_id, v.quantity, v.price_cents,
            v.price_cents * v.quantity, v.currency, 'placed', $1, 1
        FROM valid v
        JOIN taken t ON t.id = v.product_id
        RETURNING id
    ), keys AS (
        INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id, created_at)
        SELECT v.user_id, v.key, v.fingerprint, v.id, clock_timestamp()
        FROM valid v
        JOIN taken t ON t.id = v.product_id
        WHERE v.key <> ''
        ORDER BY v.user_id, v.key
    ), events AS (
        INSERT INTO outbox (id, payload, created_at)
        SELECT v.event_id, v.payload, $1
        FROM valid v
        JOIN taken t ON t.id = v.product_id
        ORDER BY v.id
    )
    SELECT id
    FROM placed";

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
        SET stock = stock - t.pieces, version = version + 1, newest_order = t.newest_order
        FROM json_to_recordset($1::json)
            AS t(product_id integer, pieces integer, newest_order uuid)
        WHERE products.id = t.product_id AND products.stock >= t.pieces",
    sqlite: "
        UPDATE products
        SET stock = stock - (t.value ->> 'pieces'), version = version + 1,
            newest_order = unhex(t.value ->> 'newest_order')
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
