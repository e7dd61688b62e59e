//! Promises 1 and 2, and 8 for users and restocks: responses and tables agree.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use uuid::Uuid;

use super::{
    Report,
    facts::{Body, Facts, Outcome, State, body, may_have_placed, outcome, status},
    faults::{CALL_LIMIT, delays, overlaps},
};
use crate::history::{Call, Moment, Order};

/// A request is in flight for at most this long after its client has left.
const LEFT: Duration = Duration::from_secs(1);

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    rows(facts, report);
    origins(facts, report);
    responses(facts, report);
    keys(facts, report);
    users(facts, report);
}

/// Checks the tables as the last read of each order.
fn rows(facts: &Facts<'_>, report: &mut Report) {
    let tables = &facts.books.tables;
    for (id, register) in &facts.orders {
        let stored = tables.orders.get(id).map(|row| State::of(&row.order));
        let stored = stored.unwrap_or(State::Absent);
        if let Some(known) = register.newer(stored, Moment::MAX, facts.past(Moment::MAX)) {
            let (was, is) = (known.state.as_str(), stored.as_str());
            let what = format!("order {id} was {was} in a response and is {is} in the tables");
            let promise = if facts.restores.is_empty() { 1 } else { 8 };
            report.add(promise, [known.operation], what);
        }
        report.totals.lost += usize::from(stored == State::Absent);
        report.totals.unobserved += usize::from(register.known.is_empty());
        if stored == State::Cancelled && !facts.cancels.contains_key(id) {
            report.add(1, [], format!("order {id} is cancelled, and no client cancelled it"));
        }
    }
    report.totals.orders = tables.orders.len();
}

/// Each order without a 201 has an attempt that got no response.
fn origins(facts: &Facts<'_>, report: &mut Report) {
    let mut keyed = HashMap::<Uuid, &str>::new();
    for ((user, key), id) in &facts.books.tables.keys {
        if keyed.insert(*id, key).is_some() {
            report.add(2, [], format!("two keys of user {user} have one order, {id}"));
        }
    }
    let mut without_key = BTreeMap::<Body, Vec<Uuid>>::new();
    for (id, stored) in &facts.books.tables.orders {
        let order = &stored.order;
        let register = &facts.orders[id];
        if !register.placed_by.is_empty() {
            continue;
        }
        let Some(key) = keyed.get(id) else {
            without_key.entry(body(order)).or_default().push(*id);
            continue;
        };
        let attempts = facts.keys.get(&(order.user, *key)).map_or(&[][..], Vec::as_slice);
        let placed = attempts.iter().any(|index| {
            let op = facts.op(*index);
            may_have_placed(op, true) && asks_for(&op.call, order)
        });
        if !placed {
            let promise = if attempts.is_empty() { 1 } else { 2 };
            let what =
                format!("order {id} exists, and no attempt with key {key} can have placed it");
            report.add(promise, attempts.iter().copied(), what);
        }
    }
    for (body, orders) in without_key {
        let attempts = facts.unanswered.get(&body).map_or(&[][..], Vec::as_slice);
        if orders.len() > attempts.len() {
            let refused = facts.operations().filter(|(_, op)| {
                let same = matches!(&op.call, Call::Place { token, product, quantity, key: None }
                    if (token.user, *product, *quantity) == body);
                same && outcome(op) == Outcome::Refused
            });
            let refused: Vec<usize> = refused.map(|(index, _)| index).collect();
            let (user, product, quantity) = body;
            let what = format!(
                "user {user} has {} orders of {quantity} pieces of product {product} that no \
                 response contains, but only {} attempts without a key got no response; {} were \
                 refused: {orders:?}",
                orders.len(),
                attempts.len(),
                refused.len(),
            );
            let promise = if refused.is_empty() { 1 } else { 2 };
            report.add(promise, attempts.iter().copied().chain(refused), what);
        }
    }
}

fn asks_for(call: &Call, order: &Order) -> bool {
    matches!(call, Call::Place { token, product, quantity, .. }
        if (token.user, *product, *quantity) == body(order))
}

/// Each order in a response is the requested one, and the same everywhere.
fn responses(facts: &Facts<'_>, report: &mut Report) {
    for (index, op) in facts.operations().filter(|(_, op)| outcome(op) == Outcome::Done) {
        let Some(response) = &op.response else { continue };
        let (requested, is_read) = match &op.call {
            Call::Place { .. } => match response.orders.as_slice() {
                [order] => (asks_for(&op.call, order) && !order.cancelled, false),
                _ => (false, false),
            },
            Call::Cancel { token, order: id } => match response.orders.as_slice() {
                [order] => (order.id == *id && order.user == token.user && order.cancelled, false),
                _ => (false, false),
            },
            Call::GetOrder { token, order: id } => match response.orders.as_slice() {
                [order] => (order.id == *id && order.user == token.user, true),
                _ => (false, true),
            },
            Call::ListOrders { token } => {
                let sorted = response.orders.is_sorted_by(|newer, older| newer.id > older.id);
                let own = response.orders.iter().all(|order| order.user == token.user);
                (sorted && own && response.orders.len() <= 100, true)
            }
            _ => continue,
        };
        let promise = if is_read { 5 } else { 1 };
        if !requested {
            report.add(promise, [index], "a response has other orders than the request asked for");
        }
        for order in &response.orders {
            let (register, cancels) = (&facts.orders[&order.id], facts.cancels.get(&order.id));
            let expected = Order { cancelled: order.cancelled, ..register.order.clone() };
            if *order != expected {
                let what = format!(
                    "order {} has other content in a response than in the tables or an earlier \
                     response: {order:?} instead of {:?}",
                    order.id, register.order
                );
                report.add(promise, [index], what);
            }
            if register.possible.is_none_or(|began| began > op.ended) {
                let what = format!("a response has order {}, which no client had sent", order.id);
                report.add(1, [index], what);
            }
            if order.cancelled && cancels.is_none_or(|cancels| cancels.possible > op.ended) {
                let what = format!("order {} is cancelled before a client cancelled it", order.id);
                report.add(1, [index], what);
            }
        }
    }
    for (id, register) in &facts.orders {
        let key = |index: &usize| match &facts.op(*index).call {
            Call::Place { key, .. } => key.as_ref(),
            _ => None,
        };
        let differ = |pair: &[usize]| key(&pair[0]).is_none() || key(&pair[0]) != key(&pair[1]);
        if let Some(pair) = register.placed_by.windows(2).find(|pair| differ(pair)) {
            let what = format!("two requests that are no repetitions got the same order, {id}");
            report.add(1, pair.iter().copied(), what);
        }
    }
}

/// Each key has one order for all attempts.
fn keys(facts: &Facts<'_>, report: &mut Report) {
    for ((user, key), attempts) in &facts.keys {
        let stored = facts.books.tables.keys.get(&(*user, (*key).to_owned()));
        // The 201 that ended first, of each set of restores that may have undone it.
        let mut first: Vec<(usize, Uuid)> = Vec::new();
        let mut by_end = attempts.clone();
        by_end.sort_by_key(|index| facts.op(*index).ended);
        for index in by_end {
            let op = facts.op(index);
            let Some(response) = op.response.as_ref().filter(|it| it.status == 201) else {
                continue;
            };
            let Some(id) = response.orders.first().map(|order| order.id) else { continue };
            for (earlier, other) in &first {
                if *other != id && facts.undone_by(facts.op(*earlier)) & facts.past(op.ended) == 0 {
                    let what = format!("key {key} of user {user} returned orders {other} and {id}");
                    report.add(2, [*earlier, index], what);
                }
            }
            if !first.iter().any(|(_, other)| *other == id) {
                first.push((index, id));
            }
            let is_lasting = facts.undone_by(op) == 0;
            if is_lasting && stored != Some(&id) {
                let stored = stored.map_or("no order".to_owned(), |id| format!("order {id}"));
                let what = format!(
                    "key {key} of user {user} returned order {id} and has {stored} in the tables"
                );
                report.add(2, [index], what);
            }
        }
        refusals(facts, report, key, attempts, &first);
        let last = attempts.last().map(|index| (*index, facts.op(*index)));
        let Some((last, op)) = last.filter(|(_, op)| !may_have_placed(op, true)) else { continue };
        let Some(id) = stored.filter(|_| first.is_empty()) else { continue };
        if is_late(facts, attempts, last) {
            report.totals.late += 1;
        } else {
            let what = format!(
                "the last attempt with key {key} got {}, and order {id} exists",
                status(op)
            );
            report.add(2, [last], what);
        }
    }
}

/// A key whose order was returned is never refused afterwards.
fn refusals(
    facts: &Facts<'_>,
    report: &mut Report,
    key: &str,
    attempts: &[usize],
    returned: &[(usize, Uuid)],
) {
    for index in attempts {
        let op = facts.op(*index);
        let earlier = returned.iter().find(|(earlier, _)| {
            let earlier = facts.op(*earlier);
            earlier.ended < op.began && facts.undone_by(earlier) & facts.past(op.ended) == 0
        });
        if let Some((earlier, id)) = earlier.filter(|_| !may_have_placed(op, true)) {
            let what = format!("key {key} returned order {id} and then {}", status(op));
            report.add(2, [*earlier, *index], what);
        }
    }
}

/// Returns whether an attempt can have placed the order after this one was refused: it was in
/// flight at the same time, or a fault delayed it. When the fault has ended, db runs the delayed
/// call for [`CALL_LIMIT`] at most, and commits. The api repeats calls, so that one can be a part
/// of the refused attempt.
fn is_late(facts: &Facts<'_>, attempts: &[usize], refused_index: usize) -> bool {
    let refused = facts.op(refused_index);
    attempts.iter().any(|index| {
        let (other, is_itself) = (facts.op(*index), *index == refused_index);
        if !is_itself && outcome(other) != Outcome::Unknown {
            return false;
        }
        let is_concurrent = !is_itself && other.ended + LEFT >= refused.began;
        let mut faults = facts.history.faults.iter();
        is_concurrent
            || faults.any(|fault| {
                delays(fault, other)
                    && overlaps(fault, other, Duration::ZERO)
                    && refused.began
                        <= fault.ended.max(other.ended).saturating_add(CALL_LIMIT + LEFT)
            })
    })
}

fn users(facts: &Facts<'_>, report: &mut Report) {
    let tables = &facts.books.tables;
    for (index, op) in facts.operations() {
        let lasting = outcome(op) == Outcome::Done && facts.undone_by(op) == 0;
        let Some(response) = op.response.as_ref().filter(|_| lasting) else { continue };
        match &op.call {
            Call::Register { username } => {
                let name = response.user.and_then(|user| tables.users.get(&user));
                if name != Some(username) {
                    let what = format!("user {username} got 201 and is {name:?} in the tables");
                    report.add(8, [index], what);
                }
            }
            Call::Restock { key, pieces, .. } if tables.restocks.get(key) != Some(pieces) => {
                let stored = tables.restocks.get(key);
                let what = format!(
                    "the restock with key {key} was confirmed and is {stored:?} in the tables"
                );
                report.add(8, [index], what);
            }
            _ => {}
        }
    }
}
