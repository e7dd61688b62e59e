//! A run without violations proves something only if it did each thing often enough.

use std::collections::BTreeMap;

use super::{
    Report,
    facts::{Facts, Outcome, outcome, status},
};
use crate::{
    books::{Deployment, Part},
    history::{Call, Operation},
};

/// The kinds of [`Call`].
const CALLS: [&str; 12] = [
    "Register",
    "LogIn",
    "WrongPassword",
    "LogOut",
    "Place",
    "Cancel",
    "GetOrder",
    "ListOrders",
    "GetProduct",
    "ListProducts",
    "ForgedToken",
    "Restock",
];

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Register { .. } => "Register",
        Call::LogIn { .. } => "LogIn",
        Call::WrongPassword { .. } => "WrongPassword",
        Call::LogOut { .. } => "LogOut",
        Call::Place { .. } => "Place",
        Call::Cancel { .. } => "Cancel",
        Call::GetOrder { .. } => "GetOrder",
        Call::ListOrders { .. } => "ListOrders",
        Call::GetProduct { .. } => "GetProduct",
        Call::ListProducts => "ListProducts",
        Call::ForgedToken => "ForgedToken",
        Call::Restock { .. } => "Restock",
    }
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let (books, operations) = (facts.books, &facts.history.operations);
    let length = operations.iter().map(|op| op.ended).max().unwrap_or_default();
    // At least one of each, also in a shorter run.
    let minutes = (length.as_secs() / 60).max(1) as usize;
    let count =
        |is_it: &dyn Fn(&Operation) -> bool| operations.iter().filter(|op| is_it(op)).count();
    let done = |name: &str| {
        count(&|op: &Operation| kind(&op.call) == name && outcome(op) == Outcome::Done)
    };
    let snapshots = |server: &str| books.snapshots.iter().filter(|it| it.server == server).count();
    let mut required = vec![
        ("placed orders", done("Place"), 100),
        ("cancellations", done("Cancel"), 20),
        ("restocks", done("Restock"), 4),
        ("refused orders (409)", count(&|op| kind(&op.call) == "Place" && status(op) == 409), 1),
        ("log-ins", done("LogIn"), 10),
        ("401", count(&|op| status(op) == 401), 20),
        ("product reads with an ETag", count(&has_etag), 20),
        ("lists of orders", done("ListOrders"), 15),
        ("lists of products", done("ListProducts"), 10),
        ("snapshots of the primary", snapshots("primary"), 20),
    ];
    if books.deployment == Some(Deployment::Roles) {
        required.push(("snapshots of the standby", snapshots("standby"), 10));
    }
    if !books.unread.contains(&Part::Topic) {
        let records = |service| books.topic.iter().filter(|it| it.service == service).count();
        required.push(("records of api on the topic", records("api"), 20));
        required.push(("records of db on the topic", records("db"), 100));
    }
    if !books.unread.contains(&Part::Tables) {
        required.push(("orders in the tables", facts.books.tables.orders.len(), 50));
    }
    for (what, seen, a_minute) in required {
        if seen < a_minute * minutes {
            let least = a_minute * minutes;
            report.failures.push(format!("the run saw {seen} {what}, and needs at least {least}"));
        }
    }
    let mut answered: BTreeMap<&str, bool> = CALLS.iter().map(|name| (*name, false)).collect();
    for op in operations.iter().filter(|op| !matches!(status(op), 0 | 503)) {
        *answered.get_mut(kind(&op.call)).expect("CALLS has each kind") = true;
    }
    for (name, _) in answered.into_iter().filter(|(_, is_answered)| !is_answered) {
        report.failures.push(format!("the run saw no answered {name}"));
    }
}

fn has_etag(op: &Operation) -> bool {
    let version = op.response.as_ref().and_then(|response| response.version);
    matches!(op.call, Call::GetProduct { .. }) && status(op) == 200 && version.is_some()
}
