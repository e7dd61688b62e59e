//! A store in memory that keeps the promises, and clients that send it operations at the same time.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::tokens::token;
use crate::{
    books::{Books, Exit, Record, Snapshot, StoredOrder, Tables},
    history::{Call, Fault, History, Moment, Operation, Order, Product, Response, Token},
};

pub(super) const PRICE: i64 = 1_000;
/// Added to all versions by a restore.
const EPOCH: i64 = 1_000_000;

#[derive(Clone, Default)]
struct State {
    tables: Tables,
    /// Pieces that restocks added, by product.
    restocks: BTreeMap<i64, i64>,
    product_versions: BTreeMap<i64, i64>,
    token_versions: BTreeMap<Uuid, i64>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) books: Books,
    state: State,
    backup: State,
    tokens: HashMap<Token, i64>,
    restores: i64,
    ids: u128,
}

impl Store {
    pub(super) fn new(stock: [i64; 2]) -> Self {
        let mut store = Self::default();
        store.books.seeded = (1..).zip(stock).collect();
        store.state.tables.stock = store.books.seeded.clone();
        store.state.product_versions = (1..=2).map(|product| (product, 1)).collect();
        store
    }

    pub(super) fn into_books(mut self) -> Books {
        self.books.tables = self.state.tables;
        self.books
    }

    /// Increasing ids.
    fn next_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn event(
        &mut self,
        origin: (&str, &str),
        name: &str,
        subject: &str,
        details: &[(&str, String)],
    ) {
        let (id, (service, request_id)) = (self.next_id(), origin);
        if service == "db" {
            self.state.tables.outbox.insert(id);
        }
        let key = if subject.is_empty() { id.to_string() } else { subject.to_owned() };
        let partition = i32::from(key.bytes().fold(0_u8, u8::wrapping_add) % 3);
        let mut attributes: BTreeMap<String, String> =
            details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.books.topic.push(Record {
            partition,
            offset: i64::try_from(self.books.topic.len()).unwrap(),
            id: id.to_string(),
            service: service.to_owned(),
            event: name.to_owned(),
            actor: attributes.remove("actor").unwrap_or_default(),
            subject: subject.to_owned(),
            request_id: request_id.to_owned(),
            attributes,
            ..Record::default()
        });
    }

    fn order_event(&mut self, request: &str, name: &str, order: &Order) {
        let details = [
            ("actor", format!("user:{}", order.user)),
            ("product_id", order.product.to_string()),
            ("quantity", order.quantity.to_string()),
            ("total_price_cents", (order.quantity * order.unit_price_cents).to_string()),
        ];
        self.event(("db", request), name, &format!("order:{}", order.id), &details);
    }

    fn change_stock(&mut self, product: i64, pieces: i64) {
        *self.state.tables.stock.get_mut(&product).unwrap() += pieces;
        *self.state.product_versions.get_mut(&product).unwrap() += 1;
    }

    fn is_valid(&self, token: Token) -> bool {
        let current = self.state.token_versions.get(&token.user);
        current.is_some() && current == self.tokens.get(&token)
    }

    /// Returns whether the call gets 401.
    fn refuses(&self, call: &Call) -> bool {
        match call {
            Call::ForgedToken | Call::WrongPassword { .. } => true,
            Call::LogIn { user, .. } => !self.state.token_versions.contains_key(user),
            call => token(call).is_some_and(|token| !self.is_valid(token)),
        }
    }

    /// Runs an operation. The response has a unique request id.
    pub(super) fn execute(&mut self, call: &Call) -> Response {
        let request = format!("request-{}", self.next_id().as_u128());
        let mut response = self.respond(call, &request);
        response.request_id = request;
        response
    }

    fn respond(&mut self, call: &Call, request: &str) -> Response {
        let answer = |status| Response { status, ..Response::default() };
        if *call == Call::ForgedToken || token(call).is_some_and(|token| !self.is_valid(token)) {
            self.event(("api", request), "token_refused", "", &[]);
            return answer(401);
        }
        match call {
            Call::Register { username } => {
                if self.state.tables.users.values().any(|name| name == username) {
                    return answer(409);
                }
                let user = self.next_id();
                self.state.tables.users.insert(user, username.clone());
                self.state.token_versions.insert(user, 1 + EPOCH * self.restores);
                self.event(("db", request), "user_registered", &format!("user:{user}"), &[]);
                Response { user: Some(user), ..answer(201) }
            }
            Call::LogIn { user, log_in } => {
                let subject = format!("user:{user}");
                let Some(version) = self.state.token_versions.get(user) else {
                    self.event(("api", request), "log_in_failed", &subject, &[]);
                    return answer(401);
                };
                self.tokens.insert(Token { user: *user, log_in: *log_in }, *version);
                self.event(("db", request), "user_logged_in", &subject, &[]);
                answer(200)
            }
            Call::WrongPassword { user } => {
                self.event(("api", request), "log_in_failed", &format!("user:{user}"), &[]);
                answer(401)
            }
            Call::ForgedToken => answer(401),
            Call::LogOut { token } => {
                *self.state.token_versions.get_mut(&token.user).unwrap() += 1;
                let subject = format!("user:{}", token.user);
                self.event(("db", request), "user_logged_out", &subject, &[]);
                answer(204)
            }
            Call::Place { token, product, quantity, key } => {
                let key = key.clone().map(|key| (token.user, key));
                if let Some(id) = key.as_ref().and_then(|key| self.state.tables.keys.get(key)) {
                    let first = &self.state.tables.orders[id].order;
                    let orders = vec![Order { cancelled: false, ..first.clone() }];
                    return Response { orders, version: Some(1), ..answer(201) };
                }
                if self.state.tables.stock[product] < *quantity {
                    return Response { code: "out_of_stock".to_owned(), ..answer(409) };
                }
                let order = Order {
                    id: self.next_id(),
                    user: token.user,
                    product: *product,
                    quantity: *quantity,
                    unit_price_cents: PRICE,
                    cancelled: false,
                };
                self.change_stock(*product, -quantity);
                self.state.tables.keys.extend(key.map(|key| (key, order.id)));
                let stored = StoredOrder { order: order.clone(), version: 1 };
                self.state.tables.orders.insert(order.id, stored);
                self.order_event(request, "order_placed", &order);
                Response { orders: vec![order], version: Some(1), ..answer(201) }
            }
            Call::Cancel { order: id, .. } | Call::GetOrder { order: id, .. } => {
                let Some(stored) = self.state.tables.orders.get_mut(id) else { return answer(404) };
                let cancels = matches!(call, Call::Cancel { .. }) && !stored.order.cancelled;
                if cancels {
                    stored.order.cancelled = true;
                    stored.version += 1;
                }
                let StoredOrder { order, version } = stored.clone();
                if cancels {
                    self.change_stock(order.product, order.quantity);
                    self.order_event(request, "order_cancelled", &order);
                }
                Response { orders: vec![order], version: Some(version), ..answer(200) }
            }
            Call::ListOrders { token } => {
                let orders = self.state.tables.orders.values().rev().map(|it| it.order.clone());
                let own = orders.filter(|order| order.user == token.user).take(100);
                Response { orders: own.collect(), ..answer(200) }
            }
            Call::GetProduct { product } => {
                let shown = Product { id: *product, stock: self.state.tables.stock[product] };
                let version = self.state.product_versions.get(product).copied();
                Response { products: vec![shown], version, ..answer(200) }
            }
            Call::ListProducts => {
                let stock = self.state.tables.stock.iter();
                let products = stock.map(|(id, stock)| Product { id: *id, stock: *stock });
                Response { products: products.collect(), ..answer(200) }
            }
            Call::Restock { product, pieces, key } => {
                if !self.state.tables.restocks.contains_key(key) {
                    self.state.tables.restocks.insert(key.clone(), *pieces);
                    *self.state.restocks.entry(*product).or_default() += *pieces;
                    self.change_stock(*product, *pieces);
                    let details = [("difference", pieces.to_string())];
                    let subject = format!("product:{product}");
                    self.event(("db", request), "product_restocked", &subject, &details);
                }
                answer(200)
            }
        }
    }

    pub(super) fn back_up(&mut self) {
        self.backup = self.state.clone();
    }

    pub(super) fn restore(&mut self) {
        self.restores += 1;
        self.state = self.backup.clone();
        let State { tables, product_versions, token_versions, .. } = &mut self.state;
        let versions = tables.orders.values_mut().map(|stored| &mut stored.version);
        let versions = versions.chain(product_versions.values_mut());
        versions.chain(token_versions.values_mut()).for_each(|it| *it += EPOCH * self.restores);
    }

    pub(super) fn snapshot(&mut self, now: Moment) {
        let tables = &self.state.tables;
        let mut placed = BTreeMap::new();
        for order in tables.orders.values().map(|row| &row.order).filter(|it| !it.cancelled) {
            *placed.entry(order.product).or_default() += order.quantity;
        }
        self.books.snapshots.push(Snapshot {
            began: now,
            ended: now,
            server: "primary".to_owned(),
            stock: tables.stock.clone(),
            placed,
            restocks: Some(self.state.restocks.clone()),
        });
    }

    /// Sends the newest events again.
    fn repeat_events(&mut self, count: usize) {
        let topic = &mut self.books.topic;
        for index in topic.len().saturating_sub(count)..topic.len() {
            let offset = i64::try_from(topic.len()).unwrap();
            topic.push(Record { offset, ..topic[index].clone() });
        }
    }
}

#[derive(Default)]
struct Client {
    user: Option<Uuid>,
    token: Option<Token>,
    old_token: Option<Token>,
    log_ins: usize,
    orders: Vec<Uuid>,
    keyed: Vec<Call>,
    repeats: bool,
}

impl Client {
    fn next_call(&self, rng: &mut StdRng, unique: u64) -> Call {
        let name = |prefix: &str| format!("{prefix}-{unique}");
        let Some(user) = self.user else { return Call::Register { username: name("user") } };
        let log_in = Call::LogIn { user, log_in: self.log_ins };
        let Some(token) = self.token else { return log_in };
        let product = rng.random_range(1..=2);
        let order = self.orders.get(rng.random_range(0..=self.orders.len())).copied();
        match (rng.random_range(0..100), order) {
            (0..50, _) if self.repeats => self.keyed[self.keyed.len() - 1].clone(),
            (0..45, _) => Call::Place {
                token,
                product,
                quantity: rng.random_range(1..=3),
                key: rng.random_bool(0.6).then(|| name("key")),
            },
            (45..57, Some(order)) => Call::Cancel { token, order },
            (57..67, Some(order)) => Call::GetOrder { token, order },
            (67..69, Some(order)) => {
                Call::GetOrder { token: self.old_token.unwrap_or(token), order }
            }
            (69..72, Some(_)) if !self.keyed.is_empty() => {
                self.keyed[rng.random_range(0..self.keyed.len())].clone()
            }
            (72..75, _) => Call::LogOut { token },
            (75..77, _) => Call::ForgedToken,
            (77..79, _) => Call::WrongPassword { user },
            (79..82, _) => {
                Call::Restock { product, pieces: rng.random_range(1..=5), key: name("restock") }
            }
            (82..90, _) => Call::ListProducts,
            (90..95, _) => Call::GetProduct { product },
            _ => Call::ListOrders { token },
        }
    }

    fn receive(&mut self, call: &Call, response: Option<&Response>) {
        let status = response.map_or(0, |response| response.status);
        if let Call::Place { key: Some(_), .. } = call {
            if !self.keyed.contains(call) {
                self.keyed.push(call.clone());
            }
            self.repeats = !matches!(status, 201 | 401) && self.keyed.last() == Some(call);
        }
        match (call, status) {
            (Call::Register { .. }, 201) => self.user = response.and_then(|it| it.user),
            (Call::LogIn { user, log_in }, 200) => {
                self.token = Some(Token { user: *user, log_in: *log_in });
                self.log_ins += 1;
            }
            (Call::LogIn { .. }, 401) => *self = Self::default(),
            (Call::LogOut { token }, 204) => (self.token, self.old_token) = (None, Some(*token)),
            (Call::Place { .. }, 201) => {
                self.orders.extend(response.into_iter().flat_map(|it| &it.orders).map(|it| it.id));
            }
            (Call::ForgedToken | Call::WrongPassword { .. }, _) => {}
            (_, 401) => (self.token, self.repeats) = (None, false),
            _ => {}
        }
        if self.token.is_none() {
            // A repetition would need the old token.
            (self.keyed, self.repeats) = (Vec::new(), false);
        }
    }
}

enum Event {
    Begin(usize),
    Execute(usize),
    End(usize),
    BackUp,
    Restore,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What the model does to requests during a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// Loses responses, of all requests or of those to one server.
    Lose(Option<usize>),
    /// Answers when the fault has ended.
    Hold(usize),
    /// Answers 503 instead of 401.
    Unrecorded(usize),
}

const FAULTS: [(&str, Effect); 9] = [
    ("kill db 0", Effect::Lose(None)),
    ("kill kafka", Effect::Nothing),
    ("skew api 0, +4000 ms", Effect::Nothing),
    ("cut clients -> api 0", Effect::Lose(Some(0))),
    ("tear api 1 -> db 0", Effect::Lose(Some(1))),
    ("freeze api 1", Effect::Hold(1)),
    ("partition clients -> api 0", Effect::Hold(0)),
    ("fill disk of api 0", Effect::Unrecorded(0)),
    ("fill disk of api 1", Effect::Unrecorded(1)),
];

/// Runs clients against a store. During faults, responses are lost, and requests are executed late
/// or not at all.
pub(super) fn random_history(seed: u64, operations: u64) -> (History, Books) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut store = Store::new([rng.random_range(5..60), rng.random_range(5..60)]);
    let (mut history, mut clients) = (History::default(), Vec::new());
    let mut queue = BTreeMap::<(Moment, u64), Event>::new();
    clients.resize_with(rng.random_range(1..8), Client::default);
    for client in 0..clients.len() {
        queue.insert((Moment::ZERO, client as u64), Event::Begin(client));
    }
    let length = 25 * operations / clients.len() as u64;
    let at = |rng: &mut StdRng, from: Moment| from + milliseconds(rng.random_range(1..=length / 4));
    let mut effects = Vec::new();
    for _ in 0..rng.random_range(0..=3) {
        let (what, effect) = FAULTS[rng.random_range(0..FAULTS.len())];
        let began = at(rng, Moment::ZERO);
        let ended = at(rng, began);
        history.faults.push(Fault { began, ended, what: what.to_owned(), restored: None });
        effects.push((began..=ended, effect));
    }
    let mut down = Moment::MAX..=Moment::MAX;
    if rng.random_bool(0.5) {
        let mut moments = [Moment::ZERO; 6];
        for index in 0..6 {
            moments[index] = at(rng, moments[index.max(1) - 1]);
        }
        let [backup_began, backup, backup_ended, began, restore, ended] = moments;
        queue.insert((backup, 100), Event::BackUp);
        queue.insert((restore, 100), Event::Restore);
        let (what, restored) = ("restore".to_owned(), Some((backup_began, backup_ended)));
        history.faults.push(Fault { began, ended, what, restored });
        effects.push((began..=ended, Effect::Lose(None)));
        down = began..=ended;
    }
    let (mut running, mut sequence) = (Vec::<Operation>::new(), 1_000);
    while let Some(((now, _), event)) = queue.pop_first() {
        sequence += 10;
        let is_now = |effect: Effect| {
            effects.iter().any(|(active, it)| active.contains(&now) && *it == effect)
        };
        match event {
            Event::BackUp => store.back_up(),
            Event::Restore => store.restore(),
            Event::Begin(_) if running.len() as u64 >= operations => {}
            Event::Begin(client) => {
                let server = rng.random_range(0..2);
                let longest = if rng.random_bool(0.1) { 1_000 } else { 40 };
                let mut ended = now + milliseconds(rng.random_range(1..=longest));
                let mut executed =
                    now.max(ended.saturating_sub(milliseconds(rng.random_range(0..=longest))));
                let call = clients[client].next_call(rng, sequence);
                let is_restock = matches!(call, Call::Restock { .. });
                let mut response = Some(Response::default());
                let is_lossy =
                    is_now(Effect::Lose(None)) || !is_restock && is_now(Effect::Lose(Some(server)));
                if is_lossy && rng.random_bool(0.4) {
                    response = None;
                    executed += milliseconds(rng.random_range(0..1_000));
                } else if !is_restock && is_now(Effect::Hold(server)) && rng.random_bool(0.5) {
                    ended += seconds(rng.random_range(0..25));
                }
                if response.is_some() || rng.random_bool(0.6) {
                    queue.insert((executed, sequence), Event::Execute(running.len()));
                }
                queue.insert((ended, sequence + 1), Event::End(running.len()));
                running.push(Operation {
                    client,
                    server: Some(server),
                    began: now,
                    ended,
                    call,
                    response,
                    impatient: false,
                });
            }
            Event::Execute(index) => {
                let op = &mut running[index];
                if down.contains(&now) {
                    op.response = None;
                    continue;
                }
                let is_unrecorded = op.server.is_some_and(|it| is_now(Effect::Unrecorded(it)));
                if is_unrecorded && store.refuses(&op.call) {
                    op.response =
                        op.response.take().map(|_| Response { status: 503, ..Response::default() });
                    continue;
                }
                let response = store.execute(&match (&op.call, &op.response) {
                    // The client never receives this token.
                    (Call::LogIn { user, .. }, None) => {
                        Call::LogIn { user: *user, log_in: usize::MAX }
                    }
                    (call, _) => call.clone(),
                });
                op.response = op.response.take().map(|_| response);
                if (index as u64).is_multiple_of(operations / 100 + 1) {
                    store.snapshot(now);
                }
                if rng.random_bool(0.05) {
                    store.repeat_events(rng.random_range(1..10));
                }
            }
            Event::End(index) => {
                let op = running[index].clone();
                clients[op.client].receive(&op.call, op.response.as_ref());
                let next = now + milliseconds(rng.random_range(1..20));
                queue.insert((next, sequence), Event::Begin(op.client));
                history.operations.push(op);
            }
        }
    }
    let mut books = store.into_books();
    if rng.random_bool(0.1) {
        let (role, status) = ("db 0".to_owned(), "exit status: 1".to_owned());
        books.exits.push(Exit { role, status, code: Some(1), was_ready: false });
    }
    (history, books)
}
