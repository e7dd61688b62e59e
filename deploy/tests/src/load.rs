//! Buyers that shop without pause, and do what good clients do: they repeat an order with its key
//! until they know what has become of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use crate::{
    http::{Answer, Client, Exchange, Request},
    ledger::{Ledger, Told},
};

/// How long a buyer goes on asking what has become of an order.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who has logged in.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// The user's id.
    pub user: Uuid,
    /// The name to log in with.
    pub name: String,
    /// The token.
    pub token: String,
}

/// The password of every buyer.
pub const PASSWORD: &str = "correct horse battery staple";

impl Buyer {
    /// Registers a new user and logs in.
    ///
    /// # Errors
    /// When either is refused.
    pub async fn enrol(client: &Client) -> Result<Self> {
        let unique = Uuid::new_v4().simple().to_string();
        let (sid, name) = (&unique[..15], format!("b{unique}"));
        let registration = json!({ "sid": sid, "username": name, "email": format!("{unique}@mail.example.com"), "password": PASSWORD });
        let user = client.post("/users").json(&registration).send().await?.expect(201)?;
        let token = Self::log_in(client, &name).await?;
        Ok(Self { user: id(&user)?, name, token })
    }

    /// Proves the password and answers with a token.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn log_in(client: &Client, name: &str) -> Result<String> {
        let answer = client
            .post("/login")
            .json(&json!({ "username": name, "password": PASSWORD }))
            .send()
            .await?
            .expect(200)?;
        answer.body["access_token"].as_str().map(str::to_owned).context("log_in: no access_token")
    }
}

/// Some buyers at work, each with one request at a time.
#[derive(Debug)]
pub struct Load {
    client: Client,
    stop: Arc<Notify>,
    buyers: JoinSet<Result<Ledger>>,
}

impl Load {
    /// Sets `buyers` to work through `client`; each rests for `rest` between two requests.
    /// `products` are those that they buy.
    #[must_use]
    pub fn start(client: Client, buyers: &[Buyer], rest: Duration, products: &[i64]) -> Self {
        let stop = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for buyer in buyers {
            let shopper =
                Shopper { client: client.clone(), buyer: buyer.clone(), ledger: Ledger::default() };
            tasks.spawn(shopper.shop(rest, products.to_vec(), Arc::clone(&stop)));
        }
        Self { client, stop, buyers: tasks }
    }

    /// Lets them shop for some time.
    pub async fn run(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets each finish what is under way; what they were told, and every exchange in the order of
    /// ending.
    ///
    /// # Errors
    /// When an order's fate cannot be learned, or an answer is not as the contract has it.
    pub async fn finish(mut self) -> Result<(Ledger, Vec<Exchange>)> {
        let mut ledger = Ledger::default();
        while !self.buyers.is_empty() {
            // Again and again, as a buyer hears it only while it rests.
            self.stop.notify_waiters();
            if let Ok(Some(done)) =
                tokio::time::timeout(Duration::from_millis(20), self.buyers.join_next()).await
            {
                ledger.merge(done.context("a buyer panicked")??);
            }
        }
        Ok((ledger, self.client.take()))
    }
}

struct Shopper {
    client: Client,
    buyer: Buyer,
    ledger: Ledger,
}

impl Shopper {
    async fn shop(
        mut self,
        rest: Duration,
        products: Vec<i64>,
        stop: Arc<Notify>,
    ) -> Result<Ledger> {
        self.ledger.users.insert(self.buyer.user);
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
                6 => self.show_a_bad_token().await,
                _ => self.order(product, quantity).await?,
            }
            tokio::select! {
                () = stop.notified() => break,
                () = tokio::time::sleep(rest) => {}
            }
        }
        Ok(self.ledger)
    }

    fn told(&self, product: i64, quantity: i64) -> Told {
        Told { user: self.buyer.user, product, quantity, cancelled: false }
    }

    async fn order(&mut self, product: i64, quantity: i64) -> Result<()> {
        let key = Uuid::new_v4().to_string();
        let body = json!({ "product_id": product, "quantity": quantity });
        let answer = insist(|| {
            self.client
                .post("/orders")
                .bearer(&self.buyer.token)
                .header("Idempotency-Key", &key)
                .json(&body)
        })
        .await?;
        match answer.status {
            201 => {
                let (id, told) = (id(&answer)?, self.told(product, quantity));
                self.ledger.placed(id, told);
            }
            409 => self.ledger.refused.push((self.buyer.user, key)),
            _ => bail!("an order with a key: {} {}", answer.status, answer.text),
        }
        Ok(())
    }

    async fn order_without_key(&mut self, product: i64, quantity: i64) -> Result<()> {
        let told = self.told(product, quantity);
        let body = json!({ "product_id": product, "quantity": quantity });
        match self.client.post("/orders").bearer(&self.buyer.token).json(&body).send().await {
            Ok(answer) if answer.status == 201 => {
                let id = id(&answer)?;
                self.ledger.placed(id, told);
            }
            Ok(answer) if answer.status == 409 => {}
            Ok(answer) if answer.status < 500 => {
                bail!("an order without a key: {} {}", answer.status, answer.text)
            }
            // Whether it was placed is not known.
            Ok(_) | Err(_) => self.ledger.unknown.push(told),
        }
        Ok(())
    }

    /// Cancels one of its orders; to cancel twice is harmless, so it insists.
    async fn cancel_one(&mut self) -> Result<()> {
        let Some((&id, _)) = self.ledger.orders.iter().find(|(_, told)| !told.cancelled) else {
            return Ok(());
        };
        let path = format!("/orders/{id}/cancel");
        let answer = insist(|| self.client.post(&path).bearer(&self.buyer.token)).await?;
        ensure!(answer.status == 200, "cancelling {id}: {} {}", answer.status, answer.text);
        if let Some(told) = self.ledger.orders.get_mut(&id) {
            told.cancelled = true;
        }
        Ok(())
    }

    async fn show_a_bad_token(&mut self) {
        if let Ok(answer) = self.client.get("/orders").bearer("nonsense").send().await
            && answer.status == 401
        {
            self.ledger.unauthorized.push(answer.header("x-request-id").to_owned());
        }
    }
}

/// Sends again until an answer below 500 comes.
async fn insist(request: impl Fn() -> Request) -> Result<Answer> {
    let began = Instant::now();
    loop {
        let seen = match request().send().await {
            Ok(answer) if answer.status < 500 && answer.status != 429 => return Ok(answer),
            Ok(answer) => format!("{} {}", answer.status, answer.text),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            began.elapsed() < PATIENCE,
            "no answer for {} s; the last time: {seen}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn id(answer: &Answer) -> Result<Uuid> {
    answer.body["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .with_context(|| format!("expected an id: {}", answer.text))
}
