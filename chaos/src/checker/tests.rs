use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    Report, Totals, check,
    model::{Store, random_history},
    statuses::affects_requests,
};
use crate::{
    books::{Books, Record, Tables},
    history::{Call, Fault, History, Moment, Operation, Order, Response, Token},
};

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
fn each_violation_is_found() {
    assert_found(
        little_history,
        &[
            (1, "was placed in a response and is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, KEYED);
                b.tables.orders.remove(&id);
            }),
            (1, "has other content in a response", |h, _| ordered(h, KEYED).unit_price_cents += 1),
            (1, "other orders than the request asked for", |h, b| {
                let id = stored(&b.tables, h, UNKEYED);
                ordered(h, UNKEYED).quantity = 3;
                b.tables.orders.get_mut(&id).unwrap().order.quantity = 3;
            }),
            (1, "only 0 attempts without a key got no response", |h, b| {
                let mut row = b.tables.orders[&ordered(h, KEYED).id].clone();
                row.order.id = Uuid::from_u128(999);
                b.tables.orders.insert(row.order.id, row);
            }),
            (1, "only 1 attempts without a key got no response", |_, b| {
                let mut row = b.tables.orders[&unobserved(&b.tables)].clone();
                row.order.id = Uuid::from_u128(999);
                b.tables.orders.insert(row.order.id, row);
            }),
            (1, "no attempt with key unknown can have placed it", |_, b| {
                let (id, user) = (unobserved(&b.tables), *b.tables.users.keys().next().unwrap());
                b.tables.keys.insert((user, "unknown".to_owned()), id);
            }),
            (1, "two requests that are no repetitions got the same order", |h, _| {
                h.operations[UNKEYED].response = h.operations[KEYED].response.clone();
            }),
            (1, "and no client cancelled it", |_, b| {
                let id = unobserved(&b.tables);
                b.tables.orders.get_mut(&id).unwrap().order.cancelled = true;
            }),
            (1, "is cancelled before a client cancelled it", |h, _| {
                let began = h.operations[LOST].began;
                (h.operations[CANCEL].began, h.operations[CANCEL].ended) = (began, began);
            }),
            (1, "was cancelled in a response and is placed in the tables", |h, b| {
                let id = ordered(h, CANCEL).id;
                b.tables.orders.get_mut(&id).unwrap().order.cancelled = false;
            }),
            (1, "other orders than the request asked for", |h, _| {
                ordered(h, CANCEL).cancelled = false
            }),
            (1, "which no client had sent", |h, _| {
                let began = h.operations[LOST].began;
                (h.operations[UNKEYED].began, h.operations[UNKEYED].ended) = (began, began);
            }),
            (2, "1 were refused", |h, _| {
                h.operations[LOST].response = Some(Response { status: 409, ..Response::default() });
            }),
            (2, "no attempt with key refused can have placed it", |_, b| {
                let (id, user) = (unobserved(&b.tables), *b.tables.users.keys().next().unwrap());
                b.tables.keys.insert((user, "refused".to_owned()), id);
            }),
            (2, "the last attempt with key key got 409", |h, _| {
                for index in [KEYED, LIST, LAST_LIST, GET] {
                    h.operations[index].response = None;
                }
                refuse(h, REPEATED, 409, "out_of_stock");
            }),
            (2, "and then 409", |h, _| refuse(h, REPEATED, 409, "out_of_stock")),
            (2, "returned orders", |h, _| {
                h.operations[REPEATED].response = h.operations[UNKEYED].response.clone();
            }),
            (2, "and has no order in the tables", |_, b| b.tables.keys.clear()),
            (2, "two keys of user", |_, b| {
                let (key, id) = b.tables.keys.first_key_value().unwrap();
                let (user, id) = (key.0, *id);
                b.tables.keys.insert((user, "other".to_owned()), id);
            }),
            (2, "at least 2 pieces were left", |h, _| {
                if let Call::Place { quantity, .. } = &mut h.operations[SOLD_OUT].call {
                    *quantity = 2;
                }
            }),
            (
                3,
                "product 1 has 13 pieces in stock and 3 in placed orders; 15 were delivered",
                |_, b| *b.tables.stock.get_mut(&1).unwrap() += 1,
            ),
            (3, "product 2 has -1 pieces", |_, b| {
                b.tables.stock.insert(2, -1);
                b.seeded.insert(2, -1);
            }),
            (3, "product 3 has 1 pieces", |_, b| {
                b.tables.stock.insert(3, 1);
            }),
            (3, "a snapshot of primary", |_, b| b.snapshots[0].restocked -= 1),
            (3, "2: -1", |_, b| {
                let stock = &mut b.snapshots[0].stock;
                stock.insert(1, stock[&1] + stock[&2] + 1);
                stock.insert(2, -1);
            }),
            (3, "key restock added 10 pieces", |_, b| {
                b.tables.restocks.insert("restock".to_owned(), 10);
            }),
            (3, "key other added 5 pieces", |_, b| {
                b.tables.restocks.insert("other".to_owned(), 5);
            }),
            (4, "0 different order_placed", |_, b| lose(b, "order_placed")),
            (4, "0 different order_cancelled", |_, b| lose(b, "order_cancelled")),
            (4, "0 different user_registered", |_, b| lose(b, "user_registered")),
            (4, "0 product_restocked of product:1 with 5 pieces", |_, b| {
                lose(b, "product_restocked")
            }),
            (4, "0 user_logged_in of request", |_, b| lose(b, "user_logged_in")),
            (4, "0 user_logged_out of request", |_, b| lose(b, "user_logged_out")),
            (4, "2 requests got 401 and have no token_refused", |_, b| lose(b, "token_refused")),
            (4, "1 requests got 401 and have no log_in_failed", |_, b| lose(b, "log_in_failed")),
            (4, "2 different order_placed", |_, b| {
                repeat(b, "order_placed");
            }),
            (4, "2 different order_cancelled", |_, b| {
                repeat(b, "order_cancelled");
            }),
            (4, "2 different user_registered", |_, b| {
                repeat(b, "user_registered");
            }),
            (4, "2 product_restocked of product:1", |_, b| {
                repeat(b, "product_restocked");
            }),
            (4, "2 token_refused of one request", |_, b| {
                repeat(b, "token_refused");
            }),
            (4, "3 different user_logged_in", |_, b| {
                repeat(b, "user_logged_in").request_id.clear();
            }),
            (4, "and that did not happen", |_, b| {
                let order = Uuid::from_u128(999);
                repeat(b, "order_placed").subject = format!("order:{order}");
            }),
            (4, "and that did not happen", |_, b| {
                let user = Uuid::from_u128(999);
                repeat(b, "user_registered").subject = format!("user:{user}");
            }),
            (4, "1 different order_cancelled", |h, b| {
                let order = ordered(h, KEYED).id;
                repeat(b, "order_cancelled").subject = format!("order:{order}");
            }),
            (4, "1 product_restocked of product:1 with 7 pieces", |_, b| {
                let pieces = "7".to_owned();
                repeat(b, "product_restocked").attributes.insert("difference".to_owned(), pieces);
            }),
            (4, "says {", |_, b| {
                let quantity = "9".to_owned();
                find(b, "order_placed").attributes.insert("quantity".to_owned(), quantity);
            }),
            (4, "says {", |_, b| {
                find(b, "order_placed").attributes.remove("total_price_cents");
            }),
            (4, "order_cancelled of order:", |_, b| find(b, "order_cancelled").actor.clear()),
            (4, "is on the topic with two contents", |_, b| {
                let id = find(b, "order_placed").id.clone();
                let record = repeat(b, "order_placed");
                (record.id, record.time) = (id, "later".to_owned());
            }),
            (4, "is on the topic before order_placed", |h, b| {
                let subject = format!("order:{}", ordered(h, CANCEL).id);
                let own = |record: &&mut Record| record.subject == subject;
                for record in b.topic.iter_mut().filter(own) {
                    record.offset = -record.offset;
                }
            }),
            (4, "after the event of a later request", |_, b| {
                find(b, "user_logged_out").offset = 1_000
            }),
            (4, "are in two partitions", |_, b| find(b, "order_cancelled").partition += 1),
            (4, "of the outbox is not on the topic", |_, b| {
                b.tables.outbox.insert(Uuid::nil());
            }),
            (4, "1 dead letters in the outbox", |_, b| b.tables.dead_letters = 1),
            (4, "1 on the topic", |_, b| {
                repeat(b, "token_refused").event = "event_dead_lettered".to_owned();
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                refuse(h, GET, 404, "order_not_found")
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                refuse(h, CANCEL, 404, "order_not_found")
            }),
            (5, "before a read began that returned it as placed", |h, _| {
                ordered(h, GET_CANCELLED).cancelled = false;
            }),
            (5, "before a read began that returned it as absent", |h, _| {
                response(h, LIST).orders.truncate(1)
            }),
            (5, "before a read began that returned it as placed", |h, _| {
                response(h, LIST).orders[0].cancelled = false
            }),
            (5, "other orders than the request asked for", |h, _| {
                response(h, LIST).orders.reverse()
            }),
            (5, "has other content in a response", |h, _| ordered(h, GET).unit_price_cents += 1),
            (5, "other orders than the request asked for", |h, _| {
                h.operations[GET].response = h.operations[GET_CANCELLED].response.clone();
            }),
            (5, "a read of product 1 began after version", |h, _| {
                response(h, PRODUCT_AGAIN).version = Some(1)
            }),
            (5, "began after version", |h, _| {
                response(h, GET_CANCELLED).version = Some(1);
            }),
            (5, "of product 1 has two contents", |h, _| {
                response(h, PRODUCT_AGAIN).version = response(h, PRODUCT).version;
            }),
            (5, "a read returned 7 pieces", |h, _| response(h, PRODUCT).products[0].stock -= 1),
            // Only a later version that was read meanwhile shows that this stock came too late.
            (5, "a read returned 13 pieces", |h, _| {
                h.operations[PRODUCT].ended = seconds(30);
                response(h, PRODUCT).products[0].stock = 13;
                let later = &mut h.operations[PRODUCT_AGAIN];
                later.began = seconds(11) + Duration::from_millis(100);
                later.ended = seconds(11) + Duration::from_millis(200);
                response(h, PRODUCT_AGAIN).products[0].stock = 8;
            }),
            (5, "a read returned 9 pieces", |h, _| response(h, PRODUCT).products[0].stock += 1),
            (5, "a read returned 8 pieces", |h, _| response(h, PRODUCTS).products[0].stock -= 5),
            (6, "and accepted with 200", |h, _| {
                h.operations[REVOKED].response = h.operations[GET].response.clone();
            }),
            (6, "and accepted with 404", |h, _| refuse(h, REVOKED, 404, "order_not_found")),
            (6, "got 401, and nothing revoked it", |h, _| refuse(h, GET, 401, "token_invalid")),
            (6, "a log-in with the right password got 401", |h, _| {
                refuse(h, LOG_IN, 401, "invalid_credentials")
            }),
            (6, "a forged token or a wrong password got 200", |h, _| {
                response(h, FORGED).status = 200
            }),
            (6, "a forged token or a wrong password got 200", |h, _| {
                response(h, WRONG_PASSWORD).status = 200
            }),
            (7, "a request got 500 internal_error", |h, _| {
                refuse(h, LOG_OUT, 500, "internal_error")
            }),
            (7, "a request got 502", |h, _| {
                h.operations[LOST].response = Some(Response { status: 502, ..Response::default() });
            }),
            (7, "a request got 504", |h, _| refuse(h, LIST, 504, "")),
            (7, "a request got 429", |h, _| refuse(h, LIST, 429, "too_many_writes")),
            (7, "a request got 503, and no fault", |h, _| refuse(h, LIST, 503, "unavailable")),
            (7, "a request got no response, and no fault", |h, _| {
                h.operations[LIST].response = None
            }),
            (7, "a request got no response, and no fault", |h, _| response(h, RESTOCK).status = 0),
            (7, "a request got 503, and no fault", |h, _| {
                h.faults[0].ended = seconds(30);
                refuse(h, LIST, 503, "unavailable");
            }),
            (7, "a request got no response, and no fault", |h, _| {
                let fault = h.faults[1].clone();
                h.faults.push(Fault { began: seconds(40), ended: seconds(79), ..fault });
                h.faults.remove(1);
            }),
            (7, "a request got 400 invalid_request", |h, _| {
                refuse(h, UNKEYED, 400, "invalid_request")
            }),
            (8, "user ada got 201 and is None", |_, b| b.tables.users.clear()),
            (8, "user ada got 201 and is Some", |_, b| {
                b.tables.users.values_mut().for_each(|name| name.push('x'));
            }),
            (8, "was confirmed and is None", |_, b| b.tables.restocks.clear()),
        ],
    );
}

#[test]
fn each_violation_of_a_restore_is_found() {
    assert_found(
        restored_history,
        &[
            (8, "is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, 2);
                b.tables.orders.remove(&id);
            }),
            (8, "is absent in the tables", |h, b| {
                let id = stored(&b.tables, h, 7);
                b.tables.orders.remove(&id);
            }),
            (8, "has two contents", |h, _| {
                response(h, 8).version = response(h, 3).version;
            }),
            (8, "is absent in the tables", |h, b| {
                let id = ordered(h, 5).id;
                b.tables.orders.remove(&id);
                h.faults[0].restored = Some((seconds(30), seconds(31)));
            }),
            (1, "is absent in the tables", |h, _| {
                h.faults[0].what = "promote standby".to_owned();
                h.faults[0].restored = None;
            }),
            (6, "and accepted with 201", |h, _| {
                if let Call::Place { token, .. } = &mut h.operations[7].call {
                    token.log_in = 0;
                }
            }),
        ],
    );
    let (history, books) = restored_history();
    assert_eq!(check(&history, &books).totals.lost, 1);
}

#[test]
fn late_order_after_a_refusal_is_excepted_during_faults() {
    let (mut history, mut books) = little_history();
    let Call::Place { key, .. } = &mut history.operations[LOST].call else { unreachable!() };
    *key = Some("late".to_owned());
    let mut refused = history.operations[LOST].clone();
    refused.began += seconds(2);
    refused.ended += seconds(2);
    let Call::Place { token, product: 1, .. } = refused.call else { unreachable!() };
    refused.response = Some(Response { status: 429, ..Response::default() });
    let id = unobserved(&books.tables);
    books.tables.keys.insert((token.user, "late".to_owned()), id);
    history.operations.push(refused);
    let promises = |report: &Report| -> Vec<u8> {
        report.violations.iter().map(|violation| violation.promise).collect()
    };
    assert_eq!(promises(&check(&history, &books)), [7], "429 says nothing about the order");
    response(&mut history, LOST + 1).status = 400;
    let report = check(&history, &books);
    assert_eq!((promises(&report), report.totals.late), (vec![7], 1));
    history.faults.remove(1);
    assert!(promises(&check(&history, &books)).contains(&2));
    history.operations[LOST].ended += seconds(2);
    let report = check(&history, &books);
    assert_eq!((promises(&report), report.totals.late), (vec![7, 7], 1), "in flight at once");
}

/// An attempt that gets 409 at the same time as another one gets the order with the last pieces.
#[test]
fn last_pieces_of_a_key_do_not_refuse_its_repetition() {
    let store = Store::new([2, 0]);
    let mut script = Script { store, history: History::default(), now: seconds(1) };
    let user = script.send(Call::Register { username: "ada".to_owned() }).user.unwrap();
    let token = Token { user, log_in: 0 };
    let place =
        |key: &str| Call::Place { token, product: 1, quantity: 2, key: Some(key.to_owned()) };
    script.send(Call::LogIn { user, log_in: 0 });
    script.send(place("key"));
    let sold_out = script.send(place("another"));
    let placed = script.history.operations[2].clone();
    let other = &mut script.history.operations[3];
    (other.began, other.ended) = (placed.began, placed.ended);
    let (mut history, books) = (script.history, script.store.into_books());
    assert_eq!(check(&history, &books).violations, [], "keys of two orders");
    history.operations[3].call = placed.call;
    assert_eq!(sold_out.status, 409);
    let report = check(&history, &books);
    assert!(report.violations.iter().any(|it| it.promise == 2), "{report}");
}

#[test]
fn faults_of_events_affect_no_requests() {
    for what in ["kill kafka", "freeze logging 0", "cut api 1 to logging 0", "cut logging-kafka"] {
        assert!(!affects_requests(what), "{what}");
    }
    for what in ["kill db 0", "kill kafka and db 1", "restore", "promote standby"] {
        assert!(affects_requests(what), "{what}");
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
    assert!(text.contains("\n    7: 9.000 s to 9.500 s, client 0, GetOrder"), "{text}");
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
    let is_rare = |count: &usize| *count < 100;
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
