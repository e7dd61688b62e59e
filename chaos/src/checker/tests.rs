use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    Report, Totals, check,
    model::{Store, random_history},
};
use crate::{
    books::{Books, Record, Tables},
    history::{Call, Fault, History, Moment, Operation, Order, Response, Token},
};

mod faults;
mod planted;
mod runs;

fn seconds(count: u64) -> Moment {
    Duration::from_secs(count)
}

/// Operations one after another, each of half a second.
struct Script {
    store: Store,
    history: History,
    now: Moment,
}

impl Script {
    fn send(&mut self, call: Call) -> Response {
        let response = self.store.execute(&call);
        let (began, ended) = (self.now, self.now + Duration::from_millis(500));
        let operation = Operation {
            client: 0,
            server: Some(0),
            began,
            ended,
            call,
            response: Some(response.clone()),
            impatient: false,
        };
        self.history.operations.push(operation);
        self.now += seconds(1);
        response
    }

    fn fault(&mut self, what: &str, length: u64, restored: Option<(Moment, Moment)>) {
        let (began, ended) = (self.now, self.now + seconds(length));
        self.history.faults.push(Fault { began, ended, what: what.to_owned(), restored });
        self.now = ended + seconds(1);
    }
}

const LOG_IN: usize = 1;
const KEYED: usize = 2;
const REPEATED: usize = 3;
const UNKEYED: usize = 4;
const GET: usize = 5;
const CANCEL: usize = 6;
const GET_CANCELLED: usize = 7;
const LIST: usize = 8;
const PRODUCT: usize = 9;
const RESTOCK: usize = 10;
const PRODUCT_AGAIN: usize = 11;
const PRODUCTS: usize = 12;
const FORGED: usize = 13;
const WRONG_PASSWORD: usize = 14;
const SOLD_OUT: usize = 15;
const LOG_OUT: usize = 16;
const REVOKED: usize = 17;
const LAST_LIST: usize = 19;
/// During a fault, without a response. Its order exists.
const LOST: usize = 20;

/// One user with a placed order, a cancelled one, and one that no client saw.
fn little_history() -> (History, Books) {
    let store = Store::new([10, 2]);
    let mut script = Script { store, history: History::default(), now: seconds(1) };
    script.fault("kill kafka", 0, None);
    let user = script.send(Call::Register { username: "ada".to_owned() }).user.unwrap();
    let mut token = Token { user, log_in: 0 };
    let place = |token, product, quantity, key: Option<&str>| Call::Place {
        token,
        product,
        quantity,
        key: key.map(str::to_owned),
    };
    script.send(Call::LogIn { user, log_in: 0 });
    let first = script.send(place(token, 1, 2, Some("key"))).orders[0].id;
    script.send(place(token, 1, 2, Some("key")));
    let second = script.send(place(token, 1, 1, None)).orders[0].id;
    script.send(Call::GetOrder { token, order: first });
    script.send(Call::Cancel { token, order: second });
    script.send(Call::GetOrder { token, order: second });
    script.send(Call::ListOrders { token });
    script.send(Call::GetProduct { product: 1 });
    script.send(Call::Restock { product: 1, pieces: 5, key: "restock".to_owned() });
    script.send(Call::GetProduct { product: 1 });
    script.send(Call::ListProducts);
    script.send(Call::ForgedToken);
    script.send(Call::WrongPassword { user });
    script.send(place(token, 2, 3, Some("refused")));
    script.store.snapshot(script.now);
    script.send(Call::LogOut { token });
    script.send(Call::GetOrder { token, order: first });
    token.log_in = 1;
    script.send(Call::LogIn { user, log_in: 1 });
    script.send(Call::ListOrders { token });
    script.now = seconds(100);
    script.send(place(token, 1, 1, None));
    script.now = seconds(100);
    script.fault("freeze db 0", 1, None);
    script.history.operations[LOST].response = None;
    (script.history, script.store.into_books())
}

/// An order before a backup, and one after it that the restore removes.
fn restored_history() -> (History, Books) {
    let store = Store::new([10, 2]);
    let mut script = Script { store, history: History::default(), now: seconds(1) };
    let user = script.send(Call::Register { username: "ada".to_owned() }).user.unwrap();
    let place = |log_in| Call::Place {
        token: Token { user, log_in },
        product: 1,
        quantity: 1,
        key: Some(format!("key-{log_in}")),
    };
    script.send(Call::LogIn { user, log_in: 0 });
    script.send(place(0));
    script.send(Call::GetProduct { product: 1 });
    script.store.back_up();
    let backup = (script.now, script.now + seconds(1));
    script.now = seconds(20);
    script.send(Call::LogIn { user, log_in: 1 });
    script.send(place(1));
    script.store.restore();
    script.fault("restore", 5, Some(backup));
    script.send(Call::LogIn { user, log_in: 2 });
    script.send(place(2));
    script.send(Call::GetProduct { product: 1 });
    (script.history, script.store.into_books())
}

fn response(history: &mut History, index: usize) -> &mut Response {
    history.operations[index].response.as_mut().unwrap()
}

fn ordered(history: &mut History, index: usize) -> &mut Order {
    &mut response(history, index).orders[0]
}

fn refuse(history: &mut History, index: usize, status: u16, code: &str) {
    let request_id = response(history, index).request_id.clone();
    let code = code.to_owned();
    *response(history, index) = Response { status, code, request_id, ..Response::default() };
}

fn stored(tables: &Tables, history: &mut History, index: usize) -> Uuid {
    let id = ordered(history, index).id;
    assert!(tables.orders.contains_key(&id));
    id
}

fn unobserved(tables: &Tables) -> Uuid {
    *tables.orders.keys().max().unwrap()
}

fn find<'a>(books: &'a mut Books, event: &str) -> &'a mut Record {
    books.topic.iter_mut().find(|record| record.event == event).unwrap()
}

fn lose(books: &mut Books, event: &str) {
    books.topic.retain(|record| record.event != event);
    books.tables.outbox.clear();
}

fn repeat<'a>(books: &'a mut Books, event: &str) -> &'a mut Record {
    let mut record = find(books, event).clone();
    (record.id, record.offset) = ("another".to_owned(), 1_000);
    books.topic.push(record);
    books.topic.last_mut().unwrap()
}

type Mutation = fn(&mut History, &mut Books);

/// Each mutation breaks a promise, and the report says this of it.
fn assert_found(histories: fn() -> (History, Books), mutations: &[(u8, &str, Mutation)]) {
    let (history, books) = histories();
    let report = check(&history, &books);
    assert_eq!(report.violations, [], "{}", report.explain(&history));
    for (promise, text, mutate) in mutations {
        let (mut history, mut books) = histories();
        mutate(&mut history, &mut books);
        let report = check(&history, &books);
        let found = report
            .violations
            .iter()
            .any(|violation| violation.promise == *promise && violation.what.contains(text));
        assert!(found, "promise {promise}, {text}: {}", report.explain(&history));
    }
}

#[test]
fn report_shows_the_operations_of_a_violation() {
    let (mut history, books) = little_history();
    ordered(&mut history, GET_CANCELLED).cancelled = false;
    let report = check(&history, &books);
    let text = report.explain(&history);
    assert!(text.contains("promise 5 broken: order "), "{text}");
    assert!(
        text.contains("was cancelled before a read began that returned it as placed"),
        "{text}"
    );
    assert!(text.contains("\n    7: 9.000 s to 9.500 s, client 0 to server 0, GetOrder"), "{text}");
    let many = Report { violations: vec![report.violations[0].clone(); 1_000], ..report };
    assert!(many.to_string().len() < 5_000, "{many}");
}

/// Takes about 15 s without optimisation.
#[test]
fn correct_histories_have_no_violations() {
    let (mut sum, mut statuses) = (Totals::default(), BTreeMap::<u16, usize>::new());
    for seed in 0..1_000 {
        let (history, books) = random_history(seed, 300);
        let report = check(&history, &books);
        assert_eq!(report.violations, [], "seed {seed}: {}", report.explain(&history));
        assert_eq!(report.totals.operations, 300);
        sum.unknown += report.totals.unknown;
        sum.lost += report.totals.lost;
        sum.repeated += report.totals.repeated;
        for response in history.operations.iter().filter_map(|op| op.response.as_ref()) {
            *statuses.entry(response.status).or_default() += 1;
        }
    }
    let is_rare = |count: &usize| *count < 20;
    assert!(![sum.unknown, sum.lost, sum.repeated].iter().any(is_rare), "{sum}");
    assert!(!statuses.values().any(is_rare), "{statuses:?}");
    assert!([200, 201, 204, 401, 404, 409].iter().all(|it| statuses.contains_key(it)));
}

#[test]
fn long_history_is_checked_in_near_linear_time() {
    let (history, books) = random_history(0, 50_000);
    let started = Instant::now();
    let report = check(&history, &books);
    assert_eq!(report.violations, [], "{}", report.explain(&history));
    assert!(started.elapsed() < seconds(60), "{:?}", started.elapsed());
}
