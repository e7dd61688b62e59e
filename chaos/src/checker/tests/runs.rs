//! What a run did and what recovered.

use std::collections::BTreeSet;

use super::*;
use crate::books::{Deployment, Exit, Failure, Part, Snapshot};

fn exit(code: Option<i32>, was_ready: bool) -> Exit {
    Exit { role: "db 0".to_owned(), status: "a status".to_owned(), code, was_ready }
}

#[test]
fn each_exit_and_failure_is_found() {
    assert_found(
        little_history,
        &[
            (7, "db 0 exited by itself after it was ready: a status", |_, b| {
                b.exits.push(exit(Some(1), true));
            }),
            (7, "db 0 exited by itself after it was ready", |_, b| {
                b.exits.push(exit(Some(0), true));
            }),
            (7, "db 0 exited by itself at its start", |_, b| b.exits.push(exit(Some(101), false))),
            (7, "db 0 exited by itself at its start", |_, b| b.exits.push(exit(None, false))),
            (7, "db 0: panicked at", |_, b| b.panics.push("db 0: panicked at".to_owned())),
            (4, "the outbox has 3 events", |_, b| {
                let what = "the outbox has 3 events".to_owned();
                b.failures.push(Failure { promise: Some(4), what });
            }),
        ],
    );
    let (history, mut books) = little_history();
    books.exits.push(exit(Some(1), false));
    assert_eq!(check(&history, &books).violations, [], "it could not start");
    let what = "the runner failed".to_owned();
    books.failures.push(Failure { promise: None, what: what.clone() });
    let report = check(&history, &books);
    assert!(report.failures.contains(&what) && report.violations.is_empty(), "{report}");
}

#[test]
fn unread_parts_are_not_compared() {
    let (mut history, mut books) = little_history();
    (books.topic, books.unread) = (Vec::new(), BTreeSet::from([Part::Topic]));
    assert_eq!(check(&history, &books).violations, []);
    (books.tables, books.unread) = (Tables::default(), BTreeSet::from([Part::Tables]));
    assert_eq!(check(&history, &books).violations, []);
    ordered(&mut history, GET_CANCELLED).cancelled = false;
    let violations = check(&history, &books).violations;
    assert!(!violations.is_empty() && violations.iter().all(|it| it.promise == 5));
}

fn remove(history: &mut History, is_removed: fn(&Operation) -> bool) {
    history.operations.retain(|op| !is_removed(op));
}

fn has_status(op: &Operation, status: u16) -> bool {
    op.response.as_ref().is_some_and(|response| response.status == status)
}

#[test]
fn run_that_saw_too_little_fails() {
    let (history, mut books) = random_history(0, 5_000);
    let standby = Snapshot { server: "standby".to_owned(), ..books.snapshots[0].clone() };
    books.snapshots.extend(vec![standby; 100]);
    books.deployment = Some(Deployment::Roles);
    let report = check(&history, &books);
    assert!(report.is_kept(), "{report}");
    let mutations: &[(&str, Mutation)] = &[
        ("placed orders", |h, _| remove(h, |op| matches!(op.call, Call::Place { .. }))),
        ("cancellations", |h, _| remove(h, |op| matches!(op.call, Call::Cancel { .. }))),
        ("restocks", |h, _| remove(h, |op| matches!(op.call, Call::Restock { .. }))),
        ("refused orders (409)", |h, _| remove(h, |op| has_status(op, 409))),
        ("log-ins", |h, _| remove(h, |op| matches!(op.call, Call::LogIn { .. }))),
        ("401", |h, _| remove(h, |op| has_status(op, 401))),
        ("product reads with an ETag", |h, _| {
            h.operations.iter_mut().filter_map(|op| op.response.as_mut()).for_each(|response| {
                response.version = None;
            });
        }),
        ("lists of orders", |h, _| remove(h, |op| matches!(op.call, Call::ListOrders { .. }))),
        ("lists of products", |h, _| remove(h, |op| op.call == Call::ListProducts)),
        ("snapshots of the primary", |_, b| b.snapshots.retain(|it| it.server != "primary")),
        ("snapshots of the standby", |_, b| b.snapshots.retain(|it| it.server != "standby")),
        ("records of api on the topic", |_, b| b.topic.retain(|it| it.service != "api")),
        ("records of db on the topic", |_, b| b.topic.retain(|it| it.service != "db")),
        ("orders in the tables", |_, b| b.tables.orders.clear()),
        ("no answered ForgedToken", |h, _| remove(h, |op| op.call == Call::ForgedToken)),
        ("no answered Register", |h, _| {
            let is_register = |op: &&mut Operation| matches!(op.call, Call::Register { .. });
            h.operations.iter_mut().filter(is_register).for_each(|op| op.response = None);
        }),
    ];
    for (text, mutate) in mutations {
        let (mut history, mut books) = (history.clone(), books.clone());
        mutate(&mut history, &mut books);
        let report = check(&history, &books);
        assert!(report.failures.iter().any(|failure| failure.contains(text)), "{text}: {report}");
    }
    let mut slow = history;
    slow.operations.last_mut().unwrap().ended = seconds(1_200);
    let report = check(&slow, &books);
    assert!(report.failures.iter().any(|it| it.contains("placed orders")), "{report}");
}

#[test]
fn books_of_an_older_runner_are_readable() {
    let (history, books) = little_history();
    let without = |value: &mut serde_json::Value, names: &[&str]| {
        for name in names {
            value.as_object_mut().unwrap().remove(*name);
        }
    };
    let mut old = serde_json::to_value(&books).unwrap();
    without(&mut old, &["deployment", "exits", "panics", "failures", "unread"]);
    without(&mut old["snapshots"][0], &["restocks"]);
    old["snapshots"][0]["restocked"] = 5.into();
    let mut old_history = serde_json::to_value(&history).unwrap();
    for op in old_history["operations"].as_array_mut().unwrap() {
        without(op, &["server"]);
    }
    let books: Books = serde_json::from_value(old).unwrap();
    let history: History = serde_json::from_value(old_history).unwrap();
    assert_eq!(check(&history, &books).violations, []);
}
