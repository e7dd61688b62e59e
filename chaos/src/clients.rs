//! The workload: clients that send requests, and record each attempt.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::history::{Call, Fault, History, Moment, Operation, Order, Product, Response, Token};

/// The time-out of a request. The store must respond within 15 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most attempts of a request whose outcome is unknown.
const ATTEMPTS: usize = 8;

const PASSWORD: &str = "correct horse battery staple";

/// Collects what clients and the nemesis do.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    history: Mutex<History>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { started: Instant::now(), history: Mutex::default() }
    }
}

impl Recorder {
    /// Returns the time since the start.
    pub fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// Adds an operation that has ended.
    pub fn record(&self, operation: Operation) {
        self.with(|history| history.operations.push(operation));
    }

    /// Adds a fault that has ended.
    pub fn record_fault(&self, fault: Fault) {
        self.with(|history| history.faults.push(fault));
    }

    /// Calls a function with the history so far.
    pub fn with<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client with a user of its own.
pub struct Client {
    number: usize,
    http: reqwest::Client,
    /// Addresses of all api replicas.
    servers: Vec<SocketAddr>,
    recorder: Arc<Recorder>,
    random: StdRng,
    user: Option<User>,
    /// The number of user names that this client has sent.
    registered: usize,
}

#[derive(Debug)]
struct User {
    id: Uuid,
    name: String,
    log_ins: usize,
    token: Option<(Token, String)>,
    revoked: Vec<(Token, String)>,
    orders: Vec<Uuid>,
    /// Earlier orders, for repetitions: key, product and quantity.
    keys: Vec<(String, i64, i64)>,
}

impl Client {
    /// Creates a client. The seed and its number start its random generator.
    pub fn new(
        number: usize,
        seed: u64,
        servers: Vec<SocketAddr>,
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("an HTTP client")?;
        let random =
            StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        Ok(Self { number, http, servers, recorder, random, user: None, registered: 0 })
    }

    /// Sends requests until it is stopped. Each is followed by a random pause up to `pause`.
    pub async fn run(mut self, pause: Duration, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.step().await;
            let pause = pause.mul_f64(self.random.random_range(0.0..1.0));
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self) {
        let Some(mut user) = self.user.take() else {
            self.user = self.register().await;
            return;
        };
        if user.token.is_none() && !self.log_in(&mut user).await {
            return;
        }
        let Some((token, text)) = user.token.clone() else {
            self.user = Some(user);
            return;
        };
        let still_valid = match self.random.random_range(0..100) {
            0..40 => self.place_with_key(&mut user, token, &text).await,
            40..50 => self.place(&mut user, token, &text).await,
            50..62 => self.cancel(&user, token, &text).await,
            62..72 => self.get_order(&user, token, &text).await,
            72..78 => is_valid(&self.send(Call::ListOrders { token }, &text).await),
            78..86 => {
                let product = self.product();
                self.send(Call::GetProduct { product }, "").await;
                true
            }
            86..90 => {
                self.send(Call::ListProducts, "").await;
                true
            }
            90..92 => self.log_out(&mut user, token, &text).await,
            92..95 => {
                let index = self.random.random_range(0..=user.revoked.len());
                self.use_revoked(&user, index).await;
                true
            }
            95..97 => {
                self.send(Call::ForgedToken, "forged").await;
                true
            }
            97..99 => {
                self.send(Call::WrongPassword { user: user.id }, &user.name).await;
                true
            }
            // A new user takes the place of this one.
            _ => return,
        };
        if !still_valid {
            user.token = None;
        }
        self.user = Some(user);
    }

    fn product(&mut self) -> i64 {
        self.random.random_range(1..=3)
    }

    async fn register(&mut self) -> Option<User> {
        // A name is used once, because an unanswered registration may have taken it.
        let name = format!("u{:03}{:06}", self.number, self.registered);
        self.registered += 1;
        let response = self.send(Call::Register { username: name.clone() }, "").await?;
        let id = response.user.filter(|_| response.status == 201)?;
        Some(User {
            id,
            name,
            log_ins: 0,
            token: None,
            revoked: Vec::new(),
            orders: Vec::new(),
            keys: Vec::new(),
        })
    }

    /// Returns false if the log-in gets 401, as after a restore that removed the user.
    async fn log_in(&mut self, user: &mut User) -> bool {
        let token = Token { user: user.id, log_in: user.log_ins };
        let call = Call::LogIn { user: user.id, log_in: token.log_in };
        let server = self.server();
        let (response, body) = self.attempt(server, call, &user.name, PATIENCE).await;
        match response {
            Some(response) if response.status == 200 => {
                let text = body["access_token"].as_str().unwrap_or_default().to_owned();
                user.token = Some((token, text));
                user.log_ins += 1;
                true
            }
            // A restore has removed the user.
            Some(response) if response.status == 401 => false,
            _ => true,
        }
    }

    async fn place_with_key(&mut self, user: &mut User, token: Token, text: &str) -> bool {
        let again = self.random.random_bool(0.1) && !user.keys.is_empty();
        let (key, product, quantity) = if again {
            let index = self.random.random_range(0..user.keys.len());
            user.keys[index].clone()
        } else {
            let fresh = (
                format!("{}-{}", self.number, Uuid::new_v4()),
                self.product(),
                self.random.random_range(1..=3),
            );
            user.keys.push(fresh.clone());
            fresh
        };
        // After a short time-out, the outcome is unknown.
        let impatient = self.random.random_bool(0.05);
        let race = self.random.random_bool(0.03);
        for attempt in 0..ATTEMPTS {
            let patience = if impatient && attempt == 0 {
                Duration::from_millis(self.random.random_range(1..40))
            } else {
                PATIENCE
            };
            let count = if race { 2 } else { 1 };
            let servers: Vec<SocketAddr> = (0..count).map(|_| self.server()).collect();
            let attempts = servers.into_iter().map(|server| {
                let call = Call::Place { token, product, quantity, key: Some(key.clone()) };
                self.attempt(server, call, text, patience)
            });
            let mut answered = None;
            for (response, _) in futures_util::future::join_all(attempts).await {
                if let Some(response) = response.filter(|response| is_final(response.status)) {
                    answered = Some(response);
                }
            }
            if let Some(response) = answered {
                user.orders.extend(response.orders.iter().map(|order| order.id));
                return response.status != 401;
            }
            let pause = self.random.random_range(20..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        true
    }

    async fn place(&mut self, user: &mut User, token: Token, text: &str) -> bool {
        let (product, quantity) = (self.product(), self.random.random_range(1..=3));
        let call = Call::Place { token, product, quantity, key: None };
        let response = self.send(call, text).await;
        if let Some(response) = &response {
            user.orders.extend(response.orders.iter().map(|order| order.id));
        }
        is_valid(&response)
    }

    async fn cancel(&mut self, user: &User, token: Token, text: &str) -> bool {
        let Some(order) = self.one_of(&user.orders) else { return true };
        for _ in 0..ATTEMPTS {
            let response = self.send(Call::Cancel { token, order }, text).await;
            if response.as_ref().is_some_and(|response| is_final(response.status)) {
                return is_valid(&response);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        true
    }

    /// Returns one of the 20 newest orders.
    fn one_of(&mut self, orders: &[Uuid]) -> Option<Uuid> {
        let newest = self.random.random_range(1..=20);
        let start = orders.len().saturating_sub(newest);
        orders.get(start).copied()
    }

    async fn get_order(&mut self, user: &User, token: Token, text: &str) -> bool {
        let Some(order) = self.one_of(&user.orders) else { return true };
        is_valid(&self.send(Call::GetOrder { token, order }, text).await)
    }

    /// Logs out, and sends a revoked token at once.
    async fn log_out(&mut self, user: &mut User, token: Token, text: &str) -> bool {
        let response = self.send(Call::LogOut { token }, text).await;
        // Without a response, the token may be valid or revoked.
        if response.is_none_or(|response| response.status != 204) {
            return false;
        }
        user.revoked.push((token, text.to_owned()));
        self.use_revoked(user, user.revoked.len() - 1).await;
        false
    }

    async fn use_revoked(&mut self, user: &User, index: usize) {
        let Some((token, text)) = user.revoked.get(index).cloned() else { return };
        let call = match self.random.random_range(0..3) {
            0 => Call::Place { token, product: self.product(), quantity: 1, key: None },
            1 => Call::ListOrders { token },
            _ => match self.one_of(&user.orders) {
                Some(order) => Call::Cancel { token, order },
                None => Call::ListOrders { token },
            },
        };
        self.send(call, &text).await;
    }

    fn server(&mut self) -> SocketAddr {
        let index = self.random.random_range(0..self.servers.len());
        self.servers[index]
    }

    /// Sends a request to one of the servers. See [`request`](Self::request) for the credential.
    async fn send(&mut self, call: Call, credential: &str) -> Option<Response> {
        let server = self.server();
        self.attempt(server, call, credential, PATIENCE).await.0
    }

    /// Sends a request, and records it. Returns the response and its body.
    async fn attempt(
        &self,
        server: SocketAddr,
        call: Call,
        credential: &str,
        patience: Duration,
    ) -> (Option<Response>, Value) {
        let request = self.request(server, &call, credential);
        let began = self.recorder.now();
        let received = receive(request.timeout(patience)).await.ok();
        let ended = self.recorder.now();
        let (response, body) = received.unzip();
        self.recorder.record(Operation {
            client: self.number,
            began,
            ended,
            call,
            response: response.clone(),
            impatient: patience < PATIENCE,
        });
        (response, body.unwrap_or_default())
    }

    /// The credential is the user's name for a log-in, and a token for the calls that need one.
    fn request(&self, server: SocketAddr, call: &Call, credential: &str) -> RequestBuilder {
        let send = |method, path: &str| self.http.request(method, format!("http://{server}{path}"));
        let (get, post) =
            (|path: &str| send(Method::GET, path), |path: &str| send(Method::POST, path));
        let log_in = |password| {
            post("/login").json(&json!({ "username": credential, "password": password }))
        };
        match call {
            Call::Register { username } => post("/users").json(&json!({
                "sid": username,
                "username": username,
                "email": format!("{username}@mail.example.com"),
                "password": PASSWORD,
            })),
            Call::LogIn { .. } => log_in(PASSWORD),
            Call::WrongPassword { .. } => log_in("not the password"),
            Call::LogOut { .. } => post("/logout").bearer_auth(credential),
            Call::Place { product, quantity, key, .. } => {
                let body = json!({ "product_id": product, "quantity": quantity });
                let request = post("/orders").bearer_auth(credential).json(&body);
                match key {
                    Some(key) => request.header("Idempotency-Key", key),
                    None => request,
                }
            }
            Call::Cancel { order, .. } => {
                post(&format!("/orders/{order}/cancel")).bearer_auth(credential)
            }
            Call::GetOrder { order, .. } => {
                get(&format!("/orders/{order}")).bearer_auth(credential)
            }
            Call::ListOrders { .. } => get("/orders?limit=100").bearer_auth(credential),
            Call::ForgedToken => get("/orders").bearer_auth(credential),
            Call::GetProduct { product } => get(&format!("/products/{product}")),
            Call::ListProducts => get("/products"),
            Call::Restock { .. } => unreachable!("the operator restocks with `merch admin`"),
        }
    }
}

/// Returns whether a client accepts this status and does not repeat the request.
fn is_final(status: u16) -> bool {
    status < 500 && status != 429
}

fn is_valid(response: &Option<Response>) -> bool {
    response.as_ref().is_none_or(|response| response.status != 401)
}

async fn receive(request: RequestBuilder) -> Result<(Response, Value)> {
    let received = request.send().await?;
    let status = received.status().as_u16();
    let header = |name: &str| {
        let value = received.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (request_id, etag) = (header("x-request-id"), header("etag"));
    let bytes = received.bytes().await?;
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
    let response = Response {
        status,
        code: body["code"].as_str().unwrap_or_default().to_owned(),
        request_id,
        version: etag.trim_matches('"').parse().ok(),
        user: body["username"].as_str().and_then(|_| id(&body["id"])),
        orders: elements(&body).filter_map(order).collect(),
        products: elements(&body).filter_map(product).collect(),
    };
    Ok((response, body))
}

/// The items of a page, or the body itself.
fn elements(body: &Value) -> impl Iterator<Item = &Value> {
    match body["items"].as_array() {
        Some(items) => items.iter(),
        None => std::slice::from_ref(body).iter(),
    }
}

fn id(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn order(value: &Value) -> Option<Order> {
    Some(Order {
        id: id(&value["id"])?,
        user: id(&value["user_id"])?,
        product: value["product_id"].as_i64()?,
        quantity: value["quantity"].as_i64()?,
        unit_price_cents: value["unit_price_cents"].as_i64()?,
        cancelled: value["status"] == "cancelled",
    })
}

fn product(value: &Value) -> Option<Product> {
    Some(Product { id: value["id"].as_i64()?, stock: value["stock"].as_i64()? })
}

/// Returns the stock of all products.
pub async fn read_stock(http: &reqwest::Client, server: SocketAddr) -> Result<BTreeMap<i64, i64>> {
    let request = http.get(format!("http://{server}/products")).timeout(PATIENCE);
    let (response, _) = receive(request).await?;
    Ok(response.products.iter().map(|product| (product.id, product.stock)).collect())
}
