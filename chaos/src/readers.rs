//! Reads the tables without a proxy, and the topic.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
const RESTOCKED: &str = "SELECT fingerprint, CAST(sum(difference) AS bigint) AS pieces \
                         FROM admin_requests GROUP BY fingerprint";

async fn sums(database: &impl ConnectionTrait, sql: &str) -> Result<BTreeMap<i64, i64>> {
    let rows = rows(database, sql).await?;
    rows.iter().map(|row| Ok((row.try_get("", "product")?, row.try_get("", "pieces")?))).collect()
}

/// Returns the pieces that restocks added, by product.
async fn restocks(database: &impl ConnectionTrait) -> Result<BTreeMap<i64, i64>> {
    let mut restocks = BTreeMap::new();
    for row in rows(database, RESTOCKED).await? {
        let (fingerprint, pieces): (String, i64) =
            (row.try_get("", "fingerprint")?, row.try_get("", "pieces")?);
        *restocks.entry(product_of(&fingerprint)?).or_default() += pieces;
    }
    Ok(restocks)
}

/// Returns the product of a fingerprint such as `v1:product=2,add=5`.
fn product_of(fingerprint: &str) -> Result<i64> {
    let rest = fingerprint.split_once("product=").map(|(_, rest)| rest);
    let product = rest.and_then(|rest| rest.split(',').next()?.parse().ok());
    product.with_context(|| format!("admin_requests has the fingerprint {fingerprint:?}"))
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
    let restocks = Some(restocks(&transaction).await?);
    transaction.rollback().await?;
    Ok(Snapshot { began, ended: now(), server: server.to_owned(), stock, placed, restocks })
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

/// Collects the records of brokers in memory. Each start of the store has another broker, whose
/// topic begins with the newest events again.
#[derive(Debug, Default)]
pub struct TopicLog {
    /// The address of the broker that was read last.
    broker: String,
    /// The next offset of each partition of this broker.
    next: HashMap<i32, i64>,
    /// The events of this broker.
    ids: HashSet<String>,
    /// Where each event is in the records for the first time.
    first: HashMap<String, usize>,
    records: Vec<Record>,
}

impl TopicLog {
    /// Adds the new records of a topic, which are sorted by partition and offset. The first record
    /// of a broker with an earlier broker's event is no repetition, if it has the same content.
    pub fn add(&mut self, broker: &str, topic: Vec<Record>) {
        if self.broker != broker {
            broker.clone_into(&mut self.broker);
            self.next.clear();
            self.ids.clear();
        }
        for mut record in topic {
            let next = self.next.entry(record.partition).or_default();
            if record.offset < *next {
                continue;
            }
            *next = record.offset + 1;
            let repeats = !self.ids.insert(record.id.clone());
            record.offset = i64::try_from(self.records.len()).expect("memory is smaller");
            let first = self.first.get(&record.id).map(|index| &self.records[*index]);
            if !repeats && first.is_some_and(|first| first.is_same_event(&record)) {
                continue;
            }
            self.first.entry(record.id.clone()).or_insert(self.records.len());
            self.records.push(record);
        }
    }

    /// Returns all records.
    #[must_use]
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64, id: &str) -> Record {
        Record { partition, offset, id: id.to_owned(), ..Record::default() }
    }

    fn ids(log: TopicLog) -> Vec<String> {
        log.into_records().into_iter().map(|record| record.id).collect()
    }

    #[test]
    fn repetitions_on_one_broker_are_kept() {
        let mut log = TopicLog::default();
        log.add("one", vec![record(0, 0, "a"), record(0, 1, "b"), record(1, 0, "c")]);
        log.add("one", vec![record(0, 1, "b"), record(0, 2, "a"), record(1, 1, "d")]);
        assert_eq!(ids(log), ["a", "b", "c", "a", "d"]);
    }

    #[test]
    fn next_broker_adds_new_and_changed_events() {
        let mut log = TopicLog::default();
        log.add("one", vec![record(0, 0, "a"), record(0, 1, "b")]);
        let changed = Record { event: "other".to_owned(), ..record(0, 1, "b") };
        log.add("two", vec![record(0, 0, "a"), changed, record(0, 2, "c"), record(0, 3, "a")]);
        assert_eq!(ids(log), ["a", "b", "b", "c", "a"]);
    }

    #[test]
    fn product_of_a_restock_is_in_its_fingerprint() {
        assert_eq!(product_of("v1:product=2,add=5").unwrap(), 2);
        assert!(product_of("v2:2+5").is_err());
    }
}
