//! The baselines: what PostgreSQL, poem and scrypt do alone.

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use merch_test_kafka::free_port;
use poem::{
    Endpoint, Request, Response as PoemResponse, Server,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    listener::TcpListener,
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use scrypt::{Params, scrypt};
use sea_orm::sqlx::{
    self, Connection as _,
    postgres::{PgConnectOptions, PgConnection},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::{Child, Command},
};
use uuid::Uuid;

use crate::{
    clients::Get,
    load::{Client, Outcome},
};

/// The length of the event of a placed order.
const PAYLOAD: usize = 330;
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Headers that the server writes by itself.
const OWN_HEADERS: [&str; 3] = ["content-length", "date", "connection"];

/// Places orders in bare PostgreSQL, through the driver that the db service uses, on the tables of
/// the store.
#[derive(Debug)]
pub(crate) struct BareOrders {
    connection: PgConnection,
    user: Uuid,
    /// Orders of a transaction.
    batch: usize,
    products: i32,
    random: SmallRng,
}

impl BareOrders {
    pub(crate) async fn open(
        url: &str,
        user: Uuid,
        batch: usize,
        products: i32,
        number: usize,
    ) -> Result<Self> {
        let options: PgConnectOptions = url.parse()?;
        let connection = PgConnection::connect_with(&options).await?;
        let random = SmallRng::seed_from_u64(number as u64);
        Ok(Self { connection, user, batch, products, random })
    }

    async fn place_one(&mut self, product: i32) -> Result<(), sqlx::Error> {
        let now = OffsetDateTime::now_utc();
        let mut transaction = self.connection.begin().await?;
        sqlx::query(
            "UPDATE products SET stock = stock - 1, version = version + 1 \
             WHERE id = $1 AND stock >= 1",
        )
        .bind(product)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, \
             total_price_cents, currency, status, created_at, version) \
             VALUES ($1, $2, $3, 1, 4999, 4999, 'CNY', 'placed', $4, 1)",
        )
        .bind(Uuid::now_v7())
        .bind(self.user)
        .bind(product)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO outbox (id, payload, created_at) VALUES ($1, $2, $3)")
            .bind(Uuid::now_v7())
            .bind(vec![7_u8; PAYLOAD])
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    async fn place_batch(&mut self, product: i32) -> Result<(), sqlx::Error> {
        let now = OffsetDateTime::now_utc();
        let ids: Vec<Uuid> = (0..self.batch).map(|_| Uuid::now_v7()).collect();
        let payloads = vec![vec![7_u8; PAYLOAD]; self.batch];
        let mut transaction = self.connection.begin().await?;
        sqlx::query(
            "UPDATE products SET stock = stock - $2, version = version + 1 \
             WHERE id = $1 AND stock >= $2",
        )
        .bind(product)
        .bind(i32::try_from(self.batch).unwrap_or(i32::MAX))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, \
             total_price_cents, currency, status, created_at, version) \
             SELECT id, $2, $3, 1, 4999, 4999, 'CNY', 'placed', $4, 1 FROM UNNEST($1) AS id",
        )
        .bind(&ids)
        .bind(self.user)
        .bind(product)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO outbox (id, payload, created_at) \
             SELECT id, payload, $3 FROM UNNEST($1, $2) AS event (id, payload)",
        )
        .bind(&ids)
        .bind(&payloads)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }
}

impl Client for BareOrders {
    async fn next(&mut self) -> Result<Outcome> {
        let product = self.random.random_range(1..=self.products);
        match self.batch {
            1 => self.place_one(product).await?,
            _ => self.place_batch(product).await?,
        }
        Ok(Outcome { count: self.batch as u64, ..Outcome::of(200, 200) })
    }
}

/// One order a transaction, as [`BareOrders`] places them.
const PGBENCH_SCRIPT: &str = "\
BEGIN;
UPDATE products SET stock = stock - 1, version = version + 1 WHERE id = 1 AND stock >= 1;
INSERT INTO orders (id, user_id, product_id, quantity, unit_price_cents, total_price_cents,
    currency, status, created_at, version)
SELECT gen_random_uuid(), id, 1, 1, 4999, 4999, 'CNY', 'placed', now(), 1
FROM users WHERE username_key = 'buyer' || lpad(:client_id::text, 7, '0');
INSERT INTO outbox (id, payload, created_at)
VALUES (gen_random_uuid(), decode(repeat('07', 330), 'hex'), now());
COMMIT;
";

/// Returns whether pgbench is installed.
pub(crate) async fn has_pgbench() -> bool {
    let output = Command::new("pgbench").arg("--version").output().await;
    output.is_ok_and(|output| output.status.success())
}

/// Places orders with pgbench. Returns orders per second and the mean latency in milliseconds.
pub(crate) async fn pgbench(url: &str, connections: usize, length: Duration) -> Result<(f64, f64)> {
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), PGBENCH_SCRIPT)?;
    let (connections, threads) = (connections.to_string(), connections.min(2).to_string());
    let seconds = length.as_secs().max(1).to_string();
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol", "prepared", "--client", &connections])
        .args(["--jobs", &threads, "--time", &seconds, "--file"])
        .arg(script.path())
        .arg(url)
        .kill_on_drop(true)
        .output()
        .await
        .context("pgbench cannot be started")?;
    let (text, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "pgbench: {}: {}", output.status, error.trim());
    pgbench_result(&text).with_context(|| format!("pgbench printed no rate: {text}"))
}

fn pgbench_result(text: &str) -> Option<(f64, f64)> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some((value("tps = ")?, value("latency average = ")?))
}

/// A response that the bare server repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Recorded {
    /// Gets `path` from a store.
    pub(crate) async fn of(store: SocketAddr, path: &str) -> Result<Self> {
        let mut client = Get::open(store, path, "").await?;
        let response = client.response().await?;
        ensure!(response.status == 200, "GET {path}: {}", response.status);
        let lines = String::from_utf8_lossy(response.headers).into_owned();
        let headers = lines.lines().filter_map(|line| line.split_once(": "));
        let headers = headers
            .filter(|(name, _)| !OWN_HEADERS.contains(&name.to_lowercase().as_str()))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self { path: path.to_owned(), headers, body: response.body.to_vec() })
    }

    /// Returns the response for another path.
    pub(crate) fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }
}

/// A process with a bare poem server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct BareServer {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl BareServer {
    /// Starts this program again, as a server of these responses.
    pub(crate) async fn start(responses: &[Recorded]) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the bare server cannot be started")?;
        let mut stdin = child.stdin.take().context("a piped input")?;
        stdin.write_all(&serde_json::to_vec(responses)?).await?;
        drop(stdin);
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(
                began.elapsed() < START_TIMEOUT,
                "the bare server did not listen on {address} within {START_TIMEOUT:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, child })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the bare server has ended")
    }
}

struct Bare(HashMap<String, (HeaderMap, Bytes)>);

impl Endpoint for Bare {
    type Output = PoemResponse;

    async fn call(&self, request: Request) -> poem::Result<PoemResponse> {
        let Some((headers, body)) = self.0.get(request.uri().path()) else {
            return Ok(PoemResponse::builder().status(StatusCode::NOT_FOUND).finish());
        };
        let mut response = PoemResponse::builder().body(body.clone());
        *response.headers_mut() = headers.clone();
        Ok(response)
    }
}

/// Repeats the responses of standard input until the process is killed.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let responses: Vec<Recorded> = serde_json::from_reader(std::io::stdin())?;
    let mut known = HashMap::new();
    for response in responses {
        let mut headers = HeaderMap::new();
        for (name, value) in &response.headers {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        known.insert(response.path, (headers, response.body.into()));
    }
    Ok(Server::new(TcpListener::bind(address.to_string())).run(Bare(known)).await?)
}

/// Hashes on all processors for a while, and returns the hashes per second.
pub(crate) async fn hash_rate(log2_n: u8, length: Duration) -> Result<f64> {
    let params = Params::new(log2_n, 8, 1).context("the cost of a hash")?;
    let threads = thread::available_parallelism()?.get();
    tokio::task::spawn_blocking(move || {
        let (hashes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (hashes, stop) = (Arc::clone(&hashes), Arc::clone(&stop));
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let mut hash = [0; 32];
                        scrypt(b"password", b"salt", &params, &mut hash).expect("a length");
                        hashes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(length);
            stop.store(true, Ordering::Relaxed);
        });
        hashes.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    })
    .await
    .context("the hashes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_pgbench_has_rate_and_latency() {
        let text = "number of clients: 64\nlatency average = 38.695 ms\n\
                    initial connection time = 60.1 ms\n\
                    tps = 1653.9 (without initial connection time)\n";
        assert_eq!(pgbench_result(text), Some((1653.9, 38.695)));
        assert_eq!(pgbench_result("nothing"), None);
    }
}
