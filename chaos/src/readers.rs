//! Reads the tables without a proxy, and the topic.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr,
    QueryResult, Statement, TransactionTrait as _,
};
use uuid::Uuid;

use crate::{
    books::{Record, Snapshot, StoredOrder, Tables},
    history::{Moment, Order},
};

const TOPIC: &str = "log-channel";

/// Connects to a database with one connection.
pub async fn connect(url: &str) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .connect_timeout(Duration::from_secs(5))
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    Ok(Database::connect(options).await?)
}

/// Reads a UUID, which SQLite stores as 16 bytes.
fn id(row: &QueryResult, column: &str) -> Result<Uuid, DbErr> {
    row.try_get::<Uuid>("", column)
}

async fn rows(database: &impl ConnectionTrait, sql: &str) -> Result<Vec<QueryResult>> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    database.query_all_raw(statement).await.with_context(|| sql.to_owned())
}

/// Reads all tables in one transaction.
pub async fn tables(database: &DatabaseConnection) -> Result<Tables> {
    let isolation = match database.get_database_backend() {
        DatabaseBackend::Postgres => Some(sea_orm::IsolationLevel::RepeatableRead),
        _ => None,
    };
    let transaction = database.begin_with_config(isolation, None).await?;
    let mut tables = Tables::default();
    let orders = "SELECT id, user_id, CAST(product_id AS bigint) AS product, \
                  CAST(quantity AS bigint) AS quantity, unit_price_cents, status, version FROM orders";
    for row in rows(&transaction, orders).await? {
        let order = Order {
            id: id(&row, "id")?,
            user: id(&row, "user_id")?,
            product: row.try_get("", "product")?,
            quantity: row.try_get("", "quantity")?,
            unit_price_cents: row.try_get("", "unit_price_cents")?,
            cancelled: row.try_get::<String>("", "status")? == "cancelled",
        };
        let stored = StoredOrder { version: row.try_get("", "version")?, order };
        tables.orders.insert(stored.order.id, stored);
    }
    for row in rows(&transaction, "SELECT user_id, key, order_id FROM idempotency_keys").await? {
        let key = (id(&row, "user_id")?, row.try_get("", "key")?);
        tables.keys.insert(key, id(&row, "order_id")?);
    }
    for row in rows(&transaction, "SELECT id, username FROM users").await? {
        tables.users.insert(id(&row, "id")?, row.try_get("", "username")?);
    }
    tables.stock = sums(&transaction, STOCK).await?;
    let restocks = "SELECT key, CAST(difference AS bigint) AS pieces FROM admin_requests";
    for row in rows(&transaction, restocks).await? {
        tables.restocks.insert(row.try_get("", "key")?, row.try_get("", "pieces")?);
    }
    let outbox = "SELECT id, CASE WHEN set_aside IS NULL THEN 0 ELSE 1 END AS dead FROM outbox";
    for row in rows(&transaction, outbox).await? {
        tables.outbox.insert(id(&row, "id")?);
        tables.dead_letters += u64::from(row.try_get::<i32>("", "dead")? == 1);
    }
    transaction.commit().await?;
    Ok(tables)
}

const STOCK: &str =
    "SELECT CAST(id AS bigint) AS product, CAST(stock AS bigint) AS pieces FROM products";
const PLACED: &str = "SELECT CAST(product_id AS bigint) AS product, \
                      CAST(sum(quantity) AS bigint) AS pieces FROM orders \
                      WHERE status = 'placed' GROUP BY product_id";
const RESTOCKED: &str = "SELECT CAST(0 AS bigint) AS product, \
                         CAST(coalesce(sum(difference), 0) AS bigint) AS pieces FROM admin_requests";

async fn sums(database: &impl ConnectionTrait, sql: &str) -> Result<BTreeMap<i64, i64>> {
    let rows = rows(database, sql).await?;
    rows.iter().map(|row| Ok((row.try_get("", "product")?, row.try_get("", "pieces")?))).collect()
}

/// Reads the sums in one snapshot.
pub async fn snapshot(
    database: &DatabaseConnection,
    server: &str,
    now: impl Fn() -> Moment,
) -> Result<Snapshot> {
    let isolation = match database.get_database_backend() {
        DatabaseBackend::Postgres => Some(sea_orm::IsolationLevel::RepeatableRead),
        _ => None,
    };
    let began = now();
    let transaction = database.begin_with_config(isolation, None).await?;
    let stock = sums(&transaction, STOCK).await?;
    let placed = sums(&transaction, PLACED).await?;
    let restocked = sums(&transaction, RESTOCKED).await?.values().sum();
    transaction.rollback().await?;
    Ok(Snapshot { began, ended: now(), server: server.to_owned(), stock, placed, restocked })
}

/// Returns the number of events in the outbox that were not shipped.
pub async fn outbox_backlog(database: &DatabaseConnection) -> Result<i64> {
    let sql = "SELECT CAST(0 AS bigint) AS product, CAST(count(*) AS bigint) AS pieces FROM outbox \
               WHERE shipped_at IS NULL AND set_aside IS NULL";
    Ok(sums(database, sql).await?.values().sum())
}

/// Returns the sizes of tables with their indexes, in bytes, and whether they should not grow. Only
/// PostgreSQL has them; SQLite has the size of its file.
pub async fn sizes(database: &DatabaseConnection) -> Result<Vec<(String, bool, f64)>> {
    let (sql, outbox_alone) = match database.get_database_backend() {
        DatabaseBackend::Postgres => (
            "SELECT relname AS name, CAST(pg_total_relation_size(relid) AS bigint) AS bytes \
             FROM pg_stat_user_tables ORDER BY relname",
            true,
        ),
        _ => (
            "SELECT 'database' AS name, CAST(page_count * page_size AS bigint) AS bytes \
             FROM pragma_page_count(), pragma_page_size()",
            false,
        ),
    };
    let mut sizes = Vec::new();
    for row in rows(database, sql).await? {
        let (name, bytes): (String, i64) = (row.try_get("", "name")?, row.try_get("", "bytes")?);
        let flat = outbox_alone && name != "orders" && name != "idempotency_keys";
        sizes.push((format!("size of {name}"), flat, bytes as f64));
    }
    Ok(sizes)
}

/// Returns the number of records on the topic. Blocks.
pub fn topic_length(bootstrap_servers: &str) -> Result<f64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "chaos")
        .create()?;
    let limit = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(TOPIC), limit)?;
    let mut records = 0;
    for partition in metadata.topics().first().context("a topic")?.partitions() {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition.id(), limit)?;
        records += high - low;
    }
    Ok(records as f64)
}

/// Reads the whole topic. Blocks: each request up to the limit, and all records three times it.
pub fn topic(bootstrap_servers: &str, limit: Duration) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", "chaos")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(TOPIC), limit)?;
    let partitions = metadata.topics().first().context("a topic")?.partitions();
    ensure!(!partitions.is_empty(), "{TOPIC} has no partitions");
    let (mut assignment, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition.id(), limit)?;
        assignment.add_partition_offset(TOPIC, partition.id(), Offset::Offset(low))?;
        if low < high {
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment)?;
    let (mut records, began) = (Vec::new(), Instant::now());
    while !ends.is_empty() {
        ensure!(began.elapsed() < 3 * limit, "the topic was not read in time; missing: {ends:?}");
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message?;
        let payload = message.payload().context("a record without a value")?;
        let mut record: Record = serde_json::from_slice(payload)
            .with_context(|| format!("no event: {}", String::from_utf8_lossy(payload)))?;
        (record.partition, record.offset) = (message.partition(), message.offset());
        if ends.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
            ends.remove(&record.partition);
        }
        records.push(record);
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// Collects the events of a broker in memory. Each start of the broker creates a new topic with
/// the newest events again.
#[derive(Debug, Default)]
pub struct TopicLog {
    known: HashSet<String>,
    records: Vec<Record>,
}

impl TopicLog {
    /// Adds the events whose ids are new, in the order of the topic.
    pub fn add(&mut self, topic: Vec<Record>) {
        for mut record in topic {
            if self.known.insert(record.id.clone()) {
                record.offset = i64::try_from(self.records.len()).expect("memory is smaller");
                self.records.push(record);
            }
        }
    }

    /// Returns all events.
    #[must_use]
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}
