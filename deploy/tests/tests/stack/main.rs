//! The whole system in containers, through NGINX: three api, two db and two logging replicas, under
//! faults and operations.

mod chaos;
mod compose_config;
mod isolation;
mod log_in_limits;
mod operations;
mod replicas;
mod rotation;
mod sbom;
mod secrets;

use std::{sync::Mutex, time::Duration};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    checker::{DatabaseState, Totals, check_consistency},
    http::{Client, Exchange},
    load::{Buyer, LoadGenerator},
    shared::{self, format_duration, progress},
    stack::Stack,
};

/// Two products: orders of one wait for each other, those of two do not.
const PRODUCTS: [i64; 2] = [1, 2];
/// Pause between a buyer's requests; the stack and the buyers share a machine.
const PAUSE: Duration = Duration::from_millis(40);
const BUYER_COUNT: usize = 12;

/// The buyers of all tests.
static BUYERS: Mutex<Vec<Buyer>> = Mutex::new(Vec::new());

/// Runs a test on the shared stack, with stock and logged-in buyers.
async fn with_stack(name: &str, test: impl AsyncFnOnce(&Stack) -> Result<()>) {
    let prepare = async |stack: &Stack| {
        restock(stack, &[(1, 1_000_000), (2, 1_000_000)]).await?;
        register_buyers(stack).await
    };
    shared::with_stack(name, prepare, test).await;
}

/// Sets the stock of products.
async fn restock(stack: &Stack, stock: &[(i64, i64)]) -> Result<()> {
    for (product, stock) in stock {
        stack
            .psql(&format!(
                "UPDATE products SET stock = {stock}, version = version + 1 WHERE id = {product}"
            ))
            .await?;
    }
    Ok(())
}

fn buyers() -> Vec<Buyer> {
    BUYERS.lock().map_or_else(|_| Vec::new(), |buyers| buyers.clone())
}

/// Registers new buyers; the tokens of the previous ones are no longer valid.
async fn register_buyers(stack: &Stack) -> Result<()> {
    let client = stack.client()?;
    let mut buyers = Vec::new();
    for _ in 0..BUYER_COUNT {
        buyers.push(Buyer::register(&client).await.context("a buyer")?);
    }
    *BUYERS.lock().map_err(|_| anyhow::anyhow!("a test panicked with the buyers"))? = buyers;
    Ok(())
}

/// Running buyers, and the database before they started.
struct Workload {
    load: LoadGenerator,
    before: DatabaseState,
}

impl Workload {
    async fn start(stack: &Stack) -> Result<Self> {
        let before = DatabaseState::read(stack).await?;
        Ok(Self {
            load: LoadGenerator::start(stack.client()?, &buyers(), PAUSE, &PRODUCTS),
            before,
        })
    }

    /// Stops the load, waits until the stack is healthy, and checks consistency.
    async fn check(self, stack: &Stack, name: &str) -> Result<(Totals, Vec<Exchange>)> {
        let (history, exchanges) = self.load.finish().await?;
        stack.wait_healthy().await?;
        ensure!(!history.orders.is_empty(), "nothing was sold");
        let totals = check_consistency(stack, &history, &self.before).await?;
        let failed = exchanges.iter().filter(|exchange| exchange.failed()).count();
        progress(
            name,
            &format!(
                "{} requests, {failed} of them failed; slowest {}",
                exchanges.len(),
                format_duration(slowest(&exchanges))
            ),
        );
        progress(name, &totals.to_string());
        Ok((totals, exchanges))
    }
}

fn slowest<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Duration {
    exchanges.into_iter().map(|exchange| exchange.took).max().unwrap_or_default()
}

/// Formats the failed exchanges.
fn failures<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Vec<String> {
    let line = |exchange: &Exchange| {
        let Exchange { request, outcome, took, code, .. } = exchange;
        format!(
            "{request}: {outcome:?} {} after {}",
            code.as_deref().unwrap_or_default(),
            format_duration(*took)
        )
    };
    exchanges.into_iter().filter(|exchange| exchange.failed()).map(line).collect()
}

fn expect_no_failures(exchanges: &[Exchange]) -> Result<()> {
    let failed = failures(exchanges);
    ensure!(
        failed.is_empty(),
        "{} of {} requests failed:\n- {}",
        failed.len(),
        exchanges.len(),
        failed.join("\n- ")
    );
    Ok(())
}

/// The sum of a metric over its labels.
fn sum_metric(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until the catalogue is served again. Returns how long that took.
async fn wait_until_selling(client: &Client, limit: Duration) -> Result<Duration> {
    let look = async || client.get("/products").send().await?.expect(200).map(drop);
    Ok(merch_deploy_tests::wait::wait_until("the catalogue", limit, look).await?.1)
}
