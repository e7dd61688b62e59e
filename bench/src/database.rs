//! What the benchmark does to the databases between the measurements, and what it reads of their
//! statistics.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chaos::readers;
use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, Statement, Value};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Rows of one INSERT. Each has two values, and SQLite allows 32,766.
const ROWS: usize = 1000;
/// The pause between two looks at the outbox.
const POLL: Duration = Duration::from_millis(5);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

/// Orders of one statement of [`Database::grow`].
pub(crate) const CHUNK: i64 = 500_000;
/// Pieces of each product before a measurement.
pub(crate) const STOCK: i32 = 1_000_000_000;

/// A database with the schema of the store.
#[derive(Debug)]
pub(crate) struct Database {
    connection: DatabaseConnection,
    name: String,
}

/// Counters of PostgreSQL since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) statements: f64,
    /// Of the statements, those that end a transaction.
    pub(crate) commits: f64,
    /// Of all databases of the server, in bytes.
    pub(crate) wal: f64,
}

impl Counters {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            statements: self.statements - earlier.statements,
            commits: self.commits - earlier.commits,
            wal: self.wal - earlier.wal,
        }
    }

    pub(crate) fn per(self, count: f64) -> Self {
        let count = count.max(1.0);
        Self {
            statements: self.statements / count,
            commits: self.commits / count,
            wal: self.wal / count,
        }
    }
}

impl Database {
    /// Connects. The last part of a PostgreSQL URL is the name of the database.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connection = readers::connect(url).await.with_context(|| format!("database {url}"))?;
        Ok(Self { connection, name: url.rsplit('/').next().unwrap_or_default().to_owned() })
    }

    fn backend(&self) -> DatabaseBackend {
        self.connection.get_database_backend()
    }

    fn is_postgres(&self) -> bool {
        self.backend() == DatabaseBackend::Postgres
    }

    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        self.connection.execute_unprepared(sql).await.with_context(|| sql.to_owned())?;
        Ok(())
    }

    async fn execute_with(&self, sql: &str, values: Vec<Value>) -> Result<()> {
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.connection.execute_raw(statement).await.with_context(|| sql.to_owned())?;
        Ok(())
    }

    /// Returns the number in the first row and column `value`.
    pub(crate) async fn number(&self, sql: &str) -> Result<i64> {
        let statement = Statement::from_string(self.backend(), sql);
        let row = self.connection.query_one_raw(statement).await;
        let row = row.with_context(|| sql.to_owned())?.with_context(|| format!("no row: {sql}"))?;
        Ok(row.try_get("", "value")?)
    }

    async fn text(&self, sql: &str) -> Result<String> {
        let statement = Statement::from_string(self.backend(), sql);
        let row = self.connection.query_one_raw(statement).await;
        let row = row.with_context(|| sql.to_owned())?.with_context(|| format!("no row: {sql}"))?;
        Ok(row.try_get("", "value")?)
    }

    /// Returns the password hash of a user.
    pub(crate) async fn password_hash(&self, username: &str) -> Result<String> {
        let sql = format!("SELECT password_hash AS value FROM users WHERE username = '{username}'");
        self.text(&sql).await
    }

    /// Adds active users with names that [`username`] returns, and this password hash.
    pub(crate) async fn insert_users(&self, ids: &[Uuid], password_hash: &str) -> Result<()> {
        let now = OffsetDateTime::now_utc();
        for (chunk, ids) in ids.chunks(ROWS).enumerate() {
            let mut values: Vec<Value> = vec![password_hash.into(), now.into()];
            let mut rows = Vec::with_capacity(ids.len());
            for (index, id) in ids.iter().enumerate() {
                rows.push(format!("(${}, ${})", values.len() + 1, values.len() + 2));
                values.extend([(*id).into(), username(chunk * ROWS + index).into()]);
            }
            let sql = format!(
                "WITH new (id, name) AS (VALUES {}) \
                 INSERT INTO users (id, sid, sid_key, username, username_key, email, email_key, \
                 password_hash, is_active, token_version, version, created_at, updated_at) \
                 SELECT id, name, name, name, name, name || '@mail.example.com', \
                 name || '@mail.example.com', $1, TRUE, 1, 1, $2, $2 FROM new",
                rows.join(", ")
            );
            self.execute_with(&sql, values).await?;
        }
        Ok(())
    }

    /// Makes products 1 to `count` the only ones, and removes all orders.
    pub(crate) async fn set_products(&self, count: i32) -> Result<()> {
        self.remove_orders().await?;
        self.execute(&format!("DELETE FROM products WHERE id > {count}")).await?;
        let numbers = if self.is_postgres() {
            format!("generate_series(4, {count}) AS numbers (number)")
        } else {
            format!(
                "(WITH RECURSIVE n (number) AS (SELECT 4 WHERE 4 <= {count} UNION ALL \
                 SELECT number + 1 FROM n WHERE number < {count}) SELECT number FROM n) AS numbers"
            )
        };
        self.execute(&format!(
            "INSERT INTO products (id, name, category, slogan, description, price_cents, currency, \
             stock, version) \
             SELECT number, 'Product ' || number, category, slogan, description, \
             price_cents, currency, stock, version FROM {numbers} \
             JOIN products ON products.id = 1 + number % 3 \
             WHERE number NOT IN (SELECT id FROM products WHERE id > 3)"
        ))
        .await
    }

    pub(crate) async fn set_stock(&self, pieces: i32) -> Result<()> {
        self.execute(&format!("UPDATE products SET stock = {pieces}, version = version + 1")).await
    }

    async fn remove_orders(&self) -> Result<()> {
        if self.is_postgres() {
            return self.execute("TRUNCATE orders, idempotency_keys").await;
        }
        self.execute("DELETE FROM idempotency_keys").await?;
        self.execute("DELETE FROM orders").await
    }

    /// Removes orders and dead rows, and waits for a checkpoint, so that each measurement has the
    /// same start.
    pub(crate) async fn reset(&self) -> Result<()> {
        self.remove_orders().await?;
        self.restock().await
    }

    /// As [`reset`](Self::reset), but keeps the orders.
    pub(crate) async fn restock(&self) -> Result<()> {
        self.set_stock(STOCK).await?;
        self.clean().await
    }

    /// Adds a million users and this many orders of products 1 to 3, in chunks; calls `report` with
    /// the number of orders after each. The ids are those of the last weeks.
    pub(crate) async fn grow(&self, orders: i64, report: &mut dyn FnMut(i64)) -> Result<()> {
        self.execute(
            "INSERT INTO users (id, sid, sid_key, username, username_key, email, email_key, \
             password_hash, is_active, token_version, version, created_at, updated_at) \
             SELECT gen_random_uuid(), name, name, name, name, name || '@mail.example.com', \
             name || '@mail.example.com', password_hash, TRUE, 1, 1, created_at, created_at \
             FROM (SELECT 'reader' || number AS name FROM generate_series(1, 1000000) AS number) \
             AS names, (SELECT password_hash, created_at FROM users LIMIT 1) AS one",
        )
        .await?;
        self.execute(
            "CREATE TEMPORARY TABLE numbered AS \
             SELECT row_number() OVER () - 1 AS number, id FROM users",
        )
        .await?;
        for first in (0..orders).step_by(usize::try_from(CHUNK)?) {
            let end = (first + CHUNK).min(orders);
            // Version 7: milliseconds, then random digits. One order every 200 ms.
            self.execute(&format!(
                "INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, \
                 total_price_cents, currency, status, created_at, version) \
                 SELECT CAST(lpad(to_hex(milliseconds), 12, '0') || '7' \
                 || substr(md5(milliseconds::text), 1, 3) || '8' \
                 || substr(md5(milliseconds::text), 4, 15) AS uuid), \
                 user_id, product, 1, 4999, 4999, 'CNY', 'placed', \
                 to_timestamp(milliseconds / 1000.0), 1 \
                 FROM (SELECT numbered.id AS user_id, \
                 CAST(1 + o.number % 3 AS integer) AS product, \
                 CAST(extract(epoch FROM now()) * 1000 AS bigint) - 200 * ({orders} - o.number) \
                 AS milliseconds \
                 FROM generate_series(CAST({first} AS bigint), {end} - 1) AS o (number) \
                 JOIN numbered ON numbered.number = o.number * 7919 \
                 % (SELECT count(*) FROM numbered)) AS new"
            ))
            .await?;
            report(end);
        }
        self.execute("DROP TABLE numbered").await
    }

    /// Removes dead rows, and waits for a checkpoint.
    pub(crate) async fn clean(&self) -> Result<()> {
        if !self.is_postgres() {
            return Ok(());
        }
        self.execute("VACUUM (ANALYZE) products, outbox, orders, users").await?;
        self.execute("CHECKPOINT").await
    }

    /// Removes the events of the baseline, which has no service that ships them.
    pub(crate) async fn truncate_outbox(&self) -> Result<()> {
        self.execute("TRUNCATE outbox").await
    }

    /// Waits until Kafka has confirmed all events.
    pub(crate) async fn wait_until_shipped(&self) -> Result<()> {
        let sql = "SELECT CAST(count(*) AS bigint) AS value FROM (SELECT 1 FROM outbox \
                   WHERE shipped_at IS NULL AND set_aside IS NULL LIMIT 1) AS waiting";
        let began = Instant::now();
        while self.number(sql).await? > 0 {
            ensure!(
                began.elapsed() < DRAIN_TIMEOUT,
                "events waited in the outbox for {DRAIN_TIMEOUT:?} after the load; see the log of \
                 the logging service"
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Reads the counters of PostgreSQL. They do not contain the statements of this program, which
    /// connects as another user.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        let calls = |filter: &str| {
            format!(
                "SELECT CAST(coalesce(sum(calls), 0) AS bigint) AS value \
                 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                 JOIN pg_roles r ON r.oid = s.userid \
                 WHERE d.datname = '{}' AND r.rolname = 'merch' {filter}",
                self.name
            )
        };
        let wal = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bigint) AS value";
        Ok(Counters {
            statements: self.number(&calls("")).await? as f64,
            commits: self.number(&calls("AND query ILIKE 'commit%'")).await? as f64,
            wal: self.number(wal).await? as f64,
        })
    }
}

/// Returns the name of the user with this number.
pub(crate) fn username(number: usize) -> String {
    format!("buyer{number:07}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_divided_by_operations() {
        let before = Counters { statements: 10.0, commits: 1.0, wal: 1000.0 };
        let after = Counters { statements: 80.0, commits: 11.0, wal: 6000.0 };
        let each = after.since(before).per(10.0);
        assert_eq!(each, Counters { statements: 7.0, commits: 1.0, wal: 500.0 });
    }

    #[test]
    fn username_fits_into_a_sid() {
        assert!(username(9_999_999).len() <= 15);
    }
}
