//! Clients of the store, each with a connection and a user of its own.

use std::{io::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    http::{Connection, Response, request},
    load::{Client, Outcome},
    store,
};

/// The pause of a client after 503.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(50);
/// One in this number of keyed orders repeats the last key.
const REPLAYS: u32 = 5;

/// Sends one request again and again.
#[derive(Debug)]
pub(crate) struct Get {
    connection: Connection,
    request: Vec<u8>,
}

impl Get {
    /// `headers` are whole lines, each with its line break.
    pub(crate) async fn open(address: SocketAddr, path: &str, headers: &str) -> Result<Self> {
        let connection = Connection::open(address).await?;
        Ok(Self { connection, request: request("GET", path, headers, "") })
    }

    /// Returns the whole response, for a server that repeats it.
    pub(crate) async fn response(&mut self) -> Result<Response<'_>> {
        self.connection.send(&self.request).await
    }
}

impl Client for Get {
    async fn next(&mut self) -> Result<Outcome> {
        Ok(Outcome::of(self.connection.send(&self.request).await?.status, 200))
    }

    fn bytes(&self) -> (u64, u64) {
        (self.connection.sent, self.connection.received)
    }
}

/// Gets products, each by its id.
#[derive(Debug)]
pub(crate) struct GetProduct {
    connection: Connection,
    products: i32,
    random: SmallRng,
}

impl GetProduct {
    pub(crate) async fn open(address: SocketAddr, products: i32, number: usize) -> Result<Self> {
        let connection = Connection::open(address).await?;
        Ok(Self { connection, products, random: random(number) })
    }
}

impl Client for GetProduct {
    async fn next(&mut self) -> Result<Outcome> {
        let product = self.random.random_range(1..=self.products);
        let request = request("GET", &format!("/products/{product}"), "", "");
        Ok(Outcome::of(self.connection.send(&request).await?.status, 200))
    }

    fn bytes(&self) -> (u64, u64) {
        (self.connection.sent, self.connection.received)
    }
}

/// Places orders of one piece.
#[derive(Debug)]
pub(crate) struct Orders {
    connection: Connection,
    /// The first lines of each request, up to `Authorization`.
    head: String,
    request: Vec<u8>,
    /// The products are 1 to this number.
    products: i32,
    random: SmallRng,
    /// Whether each order has a key.
    keyed: bool,
    last: Option<Keyed>,
}

/// A placed order with a key.
#[derive(Clone, Debug)]
struct Keyed {
    key: Uuid,
    product: i32,
    order: String,
}

impl Orders {
    pub(crate) async fn open(
        address: SocketAddr,
        token: &str,
        products: i32,
        keyed: bool,
        number: usize,
    ) -> Result<Self> {
        let head =
            format!("POST /orders HTTP/1.1\r\nHost: store\r\nAuthorization: Bearer {token}\r\n");
        let connection = Connection::open(address).await?;
        let random = random(number);
        Ok(Self { connection, head, request: Vec::new(), products, random, keyed, last: None })
    }

    fn write(&mut self, product: i32, key: Option<Uuid>) {
        const BODY: &str = r#"{"product_id":,"quantity":1}"#;
        self.request.clear();
        let digits = product.ilog10() as usize + 1;
        let mut write = || {
            self.request.write_all(self.head.as_bytes())?;
            if let Some(key) = key {
                write!(self.request, "Idempotency-Key: {key}\r\n")?;
            }
            write!(
                self.request,
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n\
                 {{\"product_id\":{product},\"quantity\":1}}",
                BODY.len() + digits
            )
        };
        write().expect("memory accepts bytes");
    }
}

impl Client for Orders {
    async fn next(&mut self) -> Result<Outcome> {
        if !self.keyed {
            let product = self.random.random_range(1..=self.products);
            self.write(product, None);
            return Ok(Outcome::of(self.connection.send(&self.request).await?.status, 201));
        }
        let replay = self.last.take_if(|_| self.random.random_ratio(1, REPLAYS));
        let (key, product) = match &replay {
            Some(last) => (last.key, last.product),
            None => (Uuid::new_v4(), self.random.random_range(1..=self.products)),
        };
        self.write(product, Some(key));
        let response = self.connection.send(&self.request).await?;
        let mut outcome = Outcome::of(response.status, 201);
        outcome.step = if replay.is_some() { "replay" } else { "new key" };
        if outcome.is_expected {
            let order = member(&response, "id")?;
            // A replay returns the first order.
            outcome.is_expected = replay.is_none_or(|last| last.order == order);
            self.last = Some(Keyed { key, product, order });
        }
        Ok(outcome)
    }

    fn bytes(&self) -> (u64, u64) {
        (self.connection.sent, self.connection.received)
    }
}

/// Reads the list, logs in, places an order and cancels it, one after the other.
#[derive(Debug)]
pub(crate) struct Journey {
    connection: Connection,
    user: usize,
    step: usize,
    authorization: String,
    order: String,
}

impl Journey {
    pub(crate) async fn open(address: SocketAddr, user: usize) -> Result<Self> {
        Ok(Self {
            connection: Connection::open_from(user, address).await?,
            user,
            step: 0,
            authorization: String::new(),
            order: String::new(),
        })
    }
}

impl Client for Journey {
    async fn next(&mut self) -> Result<Outcome> {
        let (step, expected, request) = match self.step % 4 {
            0 => ("browse", 200, request("GET", "/products", "", "")),
            1 => ("log in", 200, request("POST", "/login", "", &store::log_in_body(self.user))),
            2 => {
                let body = r#"{"product_id":1,"quantity":1}"#;
                ("order", 201, request("POST", "/orders", &self.authorization, body))
            }
            _ => {
                let path = format!("/orders/{}/cancel", self.order);
                ("cancel", 200, request("POST", &path, &self.authorization, ""))
            }
        };
        let response = self.connection.send(&request).await?;
        let outcome = Outcome { step, ..Outcome::of(response.status, expected) };
        if response.status == 503 {
            // The queue of hashes is full. The next attempt is the same step.
            tokio::time::sleep(OVERLOAD_PAUSE).await;
            return Ok(outcome);
        }
        if !outcome.is_expected {
            bail!("{step}: expected {expected}, got {}: {}", response.status, response.text());
        }
        match step {
            "log in" => {
                let token = member(&response, "access_token")?;
                self.authorization = format!("Authorization: Bearer {token}\r\n");
            }
            "order" => self.order = member(&response, "id")?,
            _ => {}
        }
        self.step += 1;
        Ok(outcome)
    }

    fn bytes(&self) -> (u64, u64) {
        (self.connection.sent, self.connection.received)
    }
}

/// Logs in, as one user after the other.
#[derive(Debug)]
pub(crate) struct LogIns {
    connection: Connection,
    users: std::ops::Range<usize>,
    next: usize,
}

impl LogIns {
    pub(crate) async fn open(address: SocketAddr, users: std::ops::Range<usize>) -> Result<Self> {
        let connection = Connection::open_from(users.start, address).await?;
        Ok(Self { connection, next: users.start, users })
    }
}

impl Client for LogIns {
    async fn next(&mut self) -> Result<Outcome> {
        let body = store::log_in_body(self.next);
        self.next = if self.next + 1 < self.users.end { self.next + 1 } else { self.users.start };
        let request = request("POST", "/login", "", &body);
        let status = self.connection.send(&request).await?.status;
        if status == 503 {
            tokio::time::sleep(OVERLOAD_PAUSE).await;
        }
        Ok(Outcome::of(status, 200))
    }

    fn bytes(&self) -> (u64, u64) {
        (self.connection.sent, self.connection.received)
    }
}

fn random(number: usize) -> SmallRng {
    SmallRng::seed_from_u64(number as u64)
}

/// Returns a member of a response that is an object.
fn member(response: &Response<'_>, name: &str) -> Result<String> {
    let body: Value = serde_json::from_slice(response.body)?;
    let value = body[name].as_str();
    value.map(str::to_owned).with_context(|| format!("a response without {name}: {body}"))
}
