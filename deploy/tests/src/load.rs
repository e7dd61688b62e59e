//! Load: clients that order without pause and repeat an order with its key until they get an
//! response.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use crate::{
    history::{History, ObservedOrder},
    http::{Client, Exchange, Request, Response},
};

/// How long a client repeats a request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// A user who has logged in.
#[derive(Clone, Debug)]
pub struct Buyer {
    pub user: Uuid,
    pub name: String,
    pub token: String,
}

pub const PASSWORD: &str = "correct horse battery staple";

impl Buyer {
    /// Registers a new user and logs in.
    pub async fn register(client: &Client) -> Result<Self> {
        let unique = Uuid::new_v4().simple().to_string();
        let (sid, name) = (&unique[..15], format!("b{unique}"));
        let registration = json!({ "sid": sid, "username": name, "email": format!("{unique}@mail.example.com"), "password": PASSWORD });
        let user = client.post("/users").json(&registration).send().await?.expect(201)?;
        let token = Self::log_in(client, &name).await?;
        Ok(Self { user: id(&user)?, name, token })
    }

    /// Logs in and returns the token.
    pub async fn log_in(client: &Client, name: &str) -> Result<String> {
        let response = client
            .post("/login")
            .json(&json!({ "username": name, "password": PASSWORD }))
            .send()
            .await?
            .expect(200)?;
        response.body["access_token"].as_str().map(str::to_owned).context("log_in: no access_token")
    }
}

/// Concurrent buyers, each with one request at a time.
#[derive(Debug)]
pub struct LoadGenerator {
    client: Client,
    stop: Arc<Notify>,
    buyers: JoinSet<Result<History>>,
}

impl LoadGenerator {
    /// Starts a task for each buyer; it pauses for `pause` between requests and orders from
    /// `products`.
    #[must_use]
    pub fn start(client: Client, buyers: &[Buyer], pause: Duration, products: &[i64]) -> Self {
        let stop = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for buyer in buyers {
            let task = BuyerTask {
                client: client.clone(),
                buyer: buyer.clone(),
                history: History::default(),
            };
            tasks.spawn(task.run(pause, products.to_vec(), Arc::clone(&stop)));
        }
        Self { client, stop, buyers: tasks }
    }

    pub async fn run(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Stops the buyers after their current request. Returns their observations and all exchanges
    /// in the order of their ends.
    pub async fn finish(mut self) -> Result<(History, Vec<Exchange>)> {
        let mut history = History::default();
        while !self.buyers.is_empty() {
            // Repeatedly, because a buyer only sees it during a pause.
            self.stop.notify_waiters();
            if let Ok(Some(done)) =
                tokio::time::timeout(Duration::from_millis(20), self.buyers.join_next()).await
            {
                history.merge(done.context("a buyer panicked")??);
            }
        }
        Ok((history, self.client.take()))
    }
}

struct BuyerTask {
    client: Client,
    buyer: Buyer,
    history: History,
}

impl BuyerTask {
    async fn run(
        mut self,
        pause: Duration,
        products: Vec<i64>,
        stop: Arc<Notify>,
    ) -> Result<History> {
        self.history.users.insert(self.buyer.user);
        for turn in 0_usize.. {
            let (product, quantity) =
                (products[turn % products.len()], i64::try_from(turn % 3 + 1)?);
            match turn % 8 {
                0 => self.order_without_key(product, quantity).await?,
                2 => self.cancel_one().await?,
                4 => drop(self.client.get("/products").send().await),
                5 => {
                    drop(self.client.get("/orders?limit=5").bearer(&self.buyer.token).send().await)
                }
                6 => self.send_invalid_token().await,
                _ => self.order(product, quantity).await?,
            }
            tokio::select! {
                () = stop.notified() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(self.history)
    }

    fn observed(&self, product: i64, quantity: i64) -> ObservedOrder {
        ObservedOrder { user: self.buyer.user, product, quantity, cancelled: false }
    }

    async fn order(&mut self, product: i64, quantity: i64) -> Result<()> {
        let key = Uuid::new_v4().to_string();
        let body = json!({ "product_id": product, "quantity": quantity });
        let response = retry_until_answered(|| {
            self.client
                .post("/orders")
                .bearer(&self.buyer.token)
                .header("Idempotency-Key", &key)
                .json(&body)
        })
        .await?;
        match response.status {
            201 => {
                let (id, order) = (id(&response)?, self.observed(product, quantity));
                self.history.placed(id, order);
            }
            409 => self.history.refused.push((self.buyer.user, key)),
            _ => bail!("an order with a key: {} {}", response.status, response.text),
        }
        Ok(())
    }

    async fn order_without_key(&mut self, product: i64, quantity: i64) -> Result<()> {
        let order = self.observed(product, quantity);
        let body = json!({ "product_id": product, "quantity": quantity });
        match self.client.post("/orders").bearer(&self.buyer.token).json(&body).send().await {
            Ok(response) if response.status == 201 => {
                let id = id(&response)?;
                self.history.placed(id, order);
            }
            Ok(response) if response.status == 409 => {}
            Ok(response) if response.status < 500 => {
                bail!("an order without a key: {} {}", response.status, response.text)
            }
            // Unknown whether it was placed.
            Ok(_) | Err(_) => self.history.unknown.push(order),
        }
        Ok(())
    }

    /// Cancels one of its orders. Cancelling is idempotent, so it repeats the request.
    async fn cancel_one(&mut self) -> Result<()> {
        let Some((&id, _)) = self.history.orders.iter().find(|(_, order)| !order.cancelled) else {
            return Ok(());
        };
        let path = format!("/orders/{id}/cancel");
        let response =
            retry_until_answered(|| self.client.post(&path).bearer(&self.buyer.token)).await?;
        ensure!(response.status == 200, "cancelling {id}: {} {}", response.status, response.text);
        if let Some(order) = self.history.orders.get_mut(&id) {
            order.cancelled = true;
        }
        Ok(())
    }

    async fn send_invalid_token(&mut self) {
        if let Ok(response) = self.client.get("/orders").bearer("nonsense").send().await
            && response.status == 401
        {
            self.history.unauthorized.push(response.header("x-request-id").to_owned());
        }
    }
}

/// Repeats a request until its response is below 500 and not 429.
async fn retry_until_answered(request: impl Fn() -> Request) -> Result<Response> {
    let began = Instant::now();
    loop {
        let seen = match request().send().await {
            Ok(response) if response.status < 500 && response.status != 429 => return Ok(response),
            Ok(response) => format!("{} {}", response.status, response.text),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            began.elapsed() < RETRY_TIMEOUT,
            "no response for {} s; the last time: {seen}",
            RETRY_TIMEOUT.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn id(response: &Response) -> Result<Uuid> {
    response.body["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .with_context(|| format!("expected an id: {}", response.text))
}
