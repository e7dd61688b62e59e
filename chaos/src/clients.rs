//! The workload: clients that send requests, and record each attempt.

mod accounts;
mod http;
mod operator;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use uuid::Uuid;

use self::accounts::{Account, Keyed, SHARED, Session};
pub use self::{accounts::SharedAccounts, http::read_stock, operator::restock};
use crate::history::{Call, Fault, History, Moment, Operation, Response};

/// The time-out of a request. The store must respond within 15 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most attempts of a request whose outcome is unknown.
const ATTEMPTS: usize = 8;
/// The share of requests by a user that all clients share.
const BY_SHARED: f64 = 0.4;

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

/// A client, which acts as a user of its own and as the users that all clients share.
pub struct Client {
    number: usize,
    http: reqwest::Client,
    /// Addresses of all api replicas.
    servers: Vec<SocketAddr>,
    recorder: Arc<Recorder>,
    random: StdRng,
    own: Option<Arc<Account>>,
    shared: SharedAccounts,
    /// The number of user names that this client has sent.
    registered: usize,
}

impl Client {
    /// Creates a client. The seed and its number start its random generator.
    pub fn new(
        number: usize,
        seed: u64,
        servers: Vec<SocketAddr>,
        shared: SharedAccounts,
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("an HTTP client")?;
        let random =
            StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        Ok(Self { number, http, servers, recorder, random, own: None, shared, registered: 0 })
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
        let place = self.random.random_bool(BY_SHARED).then(|| self.random.random_range(0..SHARED));
        let account = place.map_or_else(|| self.own.clone(), |place| self.shared.get(place));
        let Some(account) = account else {
            match (place, self.register().await) {
                (Some(place), Some(account)) => self.shared.fill(place, account),
                (None, account) => self.own = account,
                (Some(_), None) => {}
            }
            return;
        };
        let session = match account.session(self.number) {
            Some(session) => session,
            None => match self.log_in(&account).await {
                Some(session) => session,
                None => return,
            },
        };
        let (token, text) = (session.0, session.1.as_str());
        match self.random.random_range(0..100) {
            0..38 => self.place_with_key(&account, &session).await,
            38..46 => self.place(&account, &session).await,
            46..62 => self.cancel(&account, &session).await,
            62..72 => {
                if let Some(order) = self.one_of(&account) {
                    self.send_as(&account, Call::GetOrder { token, order }, text).await;
                }
            }
            72..78 => self.send_as(&account, Call::ListOrders { token }, text).await,
            78..86 => {
                let product = self.product();
                self.send(Call::GetProduct { product }, "").await;
            }
            86..90 => drop(self.send(Call::ListProducts, "").await),
            // Each client has to log in again to a shared user.
            90..92 if place.is_none() || self.random.random_bool(0.4) => {
                self.log_out(&account, session).await;
            }
            90..95 => {
                let index = self.random.random_range(0..=account.state().revoked.len());
                self.use_revoked(&account, index).await;
            }
            95..97 => drop(self.send(Call::ForgedToken, "forged").await),
            97..99 => {
                self.send(Call::WrongPassword { user: account.id }, &account.name).await;
            }
            // A new user takes the place of this one.
            _ if place.is_none() => self.own = None,
            _ => {}
        }
    }

    fn product(&mut self) -> i64 {
        let mut left = self.random.random_range(0..100);
        for (product, share, _) in operator::PRODUCTS {
            if left < share {
                return product;
            }
            left -= share;
        }
        unreachable!("the shares are 100 %")
    }

    async fn register(&mut self) -> Option<Arc<Account>> {
        // A name is used once, because an unanswered registration may have taken it.
        let name = format!("u{:03}{:06}", self.number, self.registered);
        self.registered += 1;
        let response = self.send(Call::Register { username: name.clone() }, "").await?;
        let id = response.user.filter(|_| response.status == 201)?;
        Some(Account::new(id, name))
    }

    async fn log_in(&mut self, account: &Arc<Account>) -> Option<Session> {
        let token = account.next_token();
        let call = Call::LogIn { user: account.id, log_in: token.log_in };
        let server = self.server();
        let (response, body) = self.attempt(server, call, &account.name, PATIENCE).await;
        match response?.status {
            200 => {
                let text = body["access_token"].as_str().unwrap_or_default().to_owned();
                account.state().sessions.insert(self.number, (token, text.clone()));
                Some((token, text))
            }
            // A restore has removed the user.
            401 => {
                self.own.take_if(|own| Arc::ptr_eq(own, account));
                self.shared.remove(account);
                None
            }
            _ => None,
        }
    }

    /// Places an order. Some are sent twice at once, and some repeat an earlier one, which another
    /// client may be sending.
    async fn place_with_key(&mut self, account: &Account, session: &Session) {
        let again = self.random.random_bool(0.1);
        let known = again.then(|| self.one_key(account)).flatten();
        let keyed = known.unwrap_or_else(|| {
            let key = format!("{}-{}", self.number, Uuid::new_v4());
            let (product, quantity) = (self.product(), self.random.random_range(1..=3));
            let keyed = Keyed { key, product, quantity, order: None };
            account.state().keys.push(keyed.clone());
            keyed
        });
        let mut calls = vec![repetition(&keyed, session)];
        if self.random.random_bool(0.1) {
            let other = account.other_session(self.number);
            calls.push(repetition(&keyed, other.as_ref().unwrap_or(session)));
        }
        // After a short time-out, the outcome is unknown.
        let first_patience = if self.random.random_bool(0.05) {
            Duration::from_millis(self.random.random_range(1..40))
        } else {
            PATIENCE
        };
        self.until_answered(account, calls, first_patience).await;
    }

    async fn place(&mut self, account: &Account, (token, text): &Session) {
        let (product, quantity) = (self.product(), self.random.random_range(1..=3));
        let call = Call::Place { token: *token, product, quantity, key: None };
        self.send_as(account, call, text).await;
    }

    /// Cancels an order. Some cancellations are sent twice at once, and some together with a
    /// repetition of the order.
    async fn cancel(&mut self, account: &Account, session: &Session) {
        let other = account.other_session(self.number).unwrap_or_else(|| session.clone());
        let cancel =
            |(token, text): &Session, order| (Call::Cancel { token: *token, order }, text.clone());
        let way = self.random.random_range(0..10);
        let keyed = (way < 3).then(|| self.one_key(account)).flatten();
        let calls = match keyed.as_ref().and_then(|keyed| Some((keyed, keyed.order?))) {
            Some((keyed, order)) => vec![cancel(session, order), repetition(keyed, &other)],
            None => {
                let Some(order) = self.one_of(account) else { return };
                let twice = (way >= 7).then(|| cancel(&other, order));
                [cancel(session, order)].into_iter().chain(twice).collect()
            }
        };
        self.until_answered(account, calls, PATIENCE).await;
    }

    /// Sends requests at once, each to another replica if possible, until one of them is answered.
    async fn until_answered(
        &mut self,
        account: &Account,
        calls: Vec<(Call, String)>,
        first_patience: Duration,
    ) {
        for attempt in 0..ATTEMPTS {
            let patience = if attempt == 0 { first_patience } else { PATIENCE };
            let first = self.random.random_range(0..self.servers.len());
            let attempts = calls.iter().enumerate().map(|(index, (call, text))| {
                let server = self.servers[(first + index) % self.servers.len()];
                self.attempt(server, call.clone(), text, patience)
            });
            let responses = futures_util::future::join_all(attempts).await;
            let mut is_answered = false;
            for ((call, _), (response, _)) in calls.iter().zip(responses) {
                is_answered |= response.as_ref().is_some_and(|it| is_final(it.status));
                self.learn(account, call, response.as_ref());
            }
            if is_answered {
                return;
            }
            let pause = self.random.random_range(20..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Remembers the order of a response, and forgets a token that was refused.
    fn learn(&self, account: &Account, call: &Call, response: Option<&Response>) {
        let Some(response) = response else { return };
        if let Call::Place { key, .. } = call {
            for order in &response.orders {
                account.add_order(order.id, key.as_deref());
            }
        }
        let token = match call {
            Call::Place { token, .. }
            | Call::Cancel { token, .. }
            | Call::GetOrder { token, .. }
            | Call::ListOrders { token } => *token,
            _ => return,
        };
        if response.status == 401 {
            account.end_session(self.number, token);
        }
    }

    /// Returns one of the 20 newest orders.
    fn one_of(&mut self, account: &Account) -> Option<Uuid> {
        let newest = self.random.random_range(1..=20);
        let state = account.state();
        state.orders.get(state.orders.len().saturating_sub(newest)).copied()
    }

    /// Returns one of the 100 newest orders with a key, more often a newer one.
    fn one_key(&mut self, account: &Account) -> Option<Keyed> {
        let newest = self.random.random_range(1..=100);
        let newest = self.random.random_range(1..=newest);
        let state = account.state();
        state.keys.get(state.keys.len().saturating_sub(newest)).cloned()
    }

    /// Logs out, which revokes the tokens of all clients, and sends a revoked token at once.
    async fn log_out(&mut self, account: &Account, (token, text): Session) {
        let response = self.send(Call::LogOut { token }, &text).await;
        // Without a response, the token may be valid or revoked.
        account.end_session(self.number, token);
        if response.is_some_and(|response| response.status == 204) {
            let index = {
                let mut state = account.state();
                state.revoked.push((token, text));
                state.revoked.len() - 1
            };
            self.use_revoked(account, index).await;
        }
    }

    async fn use_revoked(&mut self, account: &Account, index: usize) {
        let Some((token, text)) = account.state().revoked.get(index).cloned() else { return };
        let call = match self.random.random_range(0..3) {
            0 => Call::Place { token, product: self.product(), quantity: 1, key: None },
            1 => Call::ListOrders { token },
            _ => match self.one_of(account) {
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

    /// Sends a request of a user, and remembers what the response says.
    async fn send_as(&mut self, account: &Account, call: Call, text: &str) {
        let response = self.send(call.clone(), text).await;
        self.learn(account, &call, response.as_ref());
    }

    /// Sends a request to one of the servers. See [`http::request`] for the credential.
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
        let request = http::request(&self.http, server, &call, credential);
        let began = self.recorder.now();
        let received = http::receive(request.timeout(patience)).await.ok();
        let ended = self.recorder.now();
        let (response, body) = received.unzip();
        self.recorder.record(Operation {
            client: self.number,
            server: self.servers.iter().position(|other| *other == server),
            began,
            ended,
            call,
            response: response.clone(),
            impatient: patience < PATIENCE,
        });
        (response, body.unwrap_or_default())
    }
}

/// An order with a key, and the text of the token that it is sent with.
fn repetition(keyed: &Keyed, (token, text): &Session) -> (Call, String) {
    let Keyed { key, product, quantity, .. } = keyed.clone();
    (Call::Place { token: *token, product, quantity, key: Some(key) }, text.clone())
}

/// Returns whether a client accepts this status and does not repeat the request.
fn is_final(status: u16) -> bool {
    status < 500 && status != 429
}
