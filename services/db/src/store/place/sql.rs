//! The statements of a batch in SQL.

use std::collections::BTreeSet;

use merch_contract::grpc::logging::v1::LogMessage;
use sea_orm::{ConnectionTrait as _, DbErr, FromQueryResult, Statement};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::{Uuid, fmt::Simple};

use super::{BatchSnapshot, Decrement, KeyRow, NewOrder, OrderRow, Statements};
use crate::{
    clock::Clock,
    database::Transaction,
    db_error::{Intent, classify},
    entity::orders::Model,
    failure::Failure,
    ids::NEWEST_ORDER,
    store::{
        db_failure, outbox,
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
