//! The whole system in its containers, through NGINX: three api, two db and two logging replicas,
//! hurt in every way that an operator meets.

mod composition;
mod limits;
mod loss;
mod materials;
mod operate;
mod outside;
mod rotate;
mod secrets;
mod trade;

use std::{sync::Mutex, time::Duration};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    audit::{Books, Figures, audit},
    http::{Client, Exchange},
    load::{Buyer, Load},
    shared::{self, figure, seconds},
    stack::Stack,
};

/// What they buy: two products, so that orders of one wait for each other and those of two do not.
const PRODUCTS: [i64; 2] = [1, 2];
/// Between two requests of a buyer: the engine, the databases and the buyers share a machine.
const REST: Duration = Duration::from_millis(40);
const BUYERS: usize = 12;

/// Buyers who shop again in each test.
static ENROLLED: Mutex<Vec<Buyer>> = Mutex::new(Vec::new());

/// Runs a test on the one stack; before the first one its shelves are filled and its buyers logged
/// in.
async fn on_stack(name: &str, test: impl AsyncFnOnce(&Stack) -> Result<()>) {
    let prepare = async |stack: &Stack| {
        restock(stack, &[(1, 1_000_000), (2, 1_000_000)]).await?;
        enrol(stack).await
    };
    shared::on_stack(name, prepare, test).await;
}

/// Sets the stock of products, as a delivery does.
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
    ENROLLED.lock().map_or_else(|_| Vec::new(), |buyers| buyers.clone())
}

/// New buyers, as those that there are have nothing to show any more.
async fn enrol(stack: &Stack) -> Result<()> {
    let client = stack.client()?;
    let mut buyers = Vec::new();
    for _ in 0..BUYERS {
        buyers.push(Buyer::enrol(&client).await.context("a buyer")?);
    }
    *ENROLLED.lock().map_err(|_| anyhow::anyhow!("a test panicked with the buyers"))? = buyers;
    Ok(())
}

/// Buyers at work, and what there was before.
struct Shopping {
    load: Load,
    before: Books,
}

impl Shopping {
    async fn start(stack: &Stack) -> Result<Self> {
        let before = Books::read(stack).await?;
        Ok(Self { load: Load::start(stack.client()?, &buyers(), REST, &PRODUCTS), before })
    }

    /// Ends it, waits until all is healthy, and compares everything.
    async fn audit(self, stack: &Stack, name: &str) -> Result<(Figures, Vec<Exchange>)> {
        let (ledger, exchanges) = self.load.finish().await?;
        stack.settle().await?;
        ensure!(!ledger.orders.is_empty(), "nothing was sold");
        let figures = audit(stack, &ledger, &self.before).await?;
        let failed = exchanges.iter().filter(|exchange| exchange.failed()).count();
        figure(
            name,
            &format!(
                "{} requests, {failed} of them failed; slowest {}",
                exchanges.len(),
                seconds(slowest(&exchanges))
            ),
        );
        figure(name, &figures.to_string());
        Ok((figures, exchanges))
    }
}

fn slowest<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Duration {
    exchanges.into_iter().map(|exchange| exchange.took).max().unwrap_or_default()
}

/// The failed ones among them, as lines.
fn failures<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Vec<String> {
    let line = |exchange: &Exchange| {
        let Exchange { request, outcome, took, code, .. } = exchange;
        format!(
            "{request}: {outcome:?} {} after {}",
            code.as_deref().unwrap_or_default(),
            seconds(*took)
        )
    };
    exchanges.into_iter().filter(|exchange| exchange.failed()).map(line).collect()
}

/// Nothing failed.
fn none_failed(exchanges: &[Exchange]) -> Result<()> {
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
fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until a GET of the catalogue is answered with 200 again, and answers with how long that
/// took.
async fn selling(client: &Client, limit: Duration) -> Result<Duration> {
    let look = async || client.get("/products").send().await?.expect(200).map(drop);
    Ok(merch_deploy_tests::wait::until("the catalogue", limit, look).await?.1)
}
