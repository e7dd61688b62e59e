//! Promise 5, and 8 for versions: orders are registers, and versions only grow.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::{
    Report,
    facts::{Facts, State, status},
};
use crate::history::{Call, Moment};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let mut lists = BTreeMap::<Uuid, Vec<usize>>::new();
    for (index, op) in facts.operations() {
        let Some(response) = &op.response else { continue };
        match (&op.call, response.status) {
            (Call::GetOrder { token, order } | Call::Cancel { token, order }, 404)
                if facts.orders.get(order).is_some_and(|it| it.order.user == token.user) =>
            {
                state(facts, report, index, *order, State::Absent);
            }
            (Call::GetOrder { .. } | Call::Cancel { .. } | Call::ListOrders { .. }, 200) => {
                for order in &response.orders {
                    state(facts, report, index, order.id, State::of(order));
                }
                if let Call::ListOrders { token } = &op.call {
                    lists.entry(token.user).or_default().push(index);
                }
            }
            _ => {}
        }
    }
    missing(facts, report, lists);
    products(facts, report);
    versions(facts, report);
}

/// A read of a product has it, and a list has each product once.
fn products(facts: &Facts<'_>, report: &mut Report) {
    let all: Vec<i64> = facts.books.seeded.keys().copied().collect();
    for (index, op) in facts.operations().filter(|(_, op)| status(op) == 200) {
        let expected = match &op.call {
            Call::GetProduct { product } => vec![*product],
            Call::ListProducts => all.clone(),
            _ => continue,
        };
        let shown = op.response.iter().flat_map(|response| &response.products);
        let mut shown: Vec<i64> = shown.map(|product| product.id).collect();
        shown.sort_unstable();
        if shown != expected {
            let what = format!("a read returned the products {shown:?} instead of {expected:?}");
            report.add(5, [index], what);
        }
    }
}

fn state(facts: &Facts<'_>, report: &mut Report, index: usize, id: Uuid, state: State) {
    report.totals.reads += 1;
    let op = facts.op(index);
    if let Some(newer) = facts.orders[&id].newer(state, op.began, facts.past(op.ended)) {
        let (was, is) = (newer.state.as_str(), state.as_str());
        let what = format!("order {id} was {was} before a read began that returned it as {is}");
        report.add(5, [newer.operation, index], what);
    }
}

/// A list has each order that was proved before it began, unless it has 100 newer ones.
fn missing(facts: &Facts<'_>, report: &mut Report, lists: BTreeMap<Uuid, Vec<usize>>) {
    let mut known = HashMap::<Uuid, Vec<(Moment, Uuid)>>::new();
    for (id, register) in &facts.orders {
        if let Some(first) = register.known.iter().map(|known| known.ended).min() {
            known.entry(register.order.user).or_default().push((first, *id));
        }
    }
    for (user, mut lists) in lists {
        lists.sort_by_key(|index| facts.op(*index).began);
        let mut known = known.remove(&user).unwrap_or_default();
        known.sort_unstable();
        let (mut known, mut expected) = (known.into_iter().peekable(), BTreeSet::new());
        for index in lists {
            let op = facts.op(index);
            while let Some((_, id)) = known.next_if(|(ended, _)| *ended < op.began) {
                expected.insert(id);
            }
            let shown = op.response.iter().flat_map(|response| &response.orders);
            let shown: HashSet<Uuid> = shown.map(|order| order.id).collect();
            let is_full = shown.len() >= 100;
            let oldest = shown.iter().min().copied().filter(|_| is_full).unwrap_or(Uuid::nil());
            for id in expected.range(oldest..).filter(|id| !shown.contains(*id)) {
                state(facts, report, index, *id, State::Absent);
            }
        }
    }
}

fn versions(facts: &Facts<'_>, report: &mut Report) {
    let mut orders = BTreeMap::<Uuid, Vec<(i64, usize)>>::new();
    let mut products = BTreeMap::<i64, Vec<(i64, usize)>>::new();
    // A repeated key returns the first version.
    let mut placed = BTreeMap::<Uuid, Vec<(i64, usize)>>::new();
    for (index, op) in facts.operations() {
        let Some(response) = &op.response else { continue };
        let Some(version) = response.version else { continue };
        match (&op.call, response.status) {
            (Call::Place { .. }, 201) => {
                for order in &response.orders {
                    placed.entry(order.id).or_default().push((version, index));
                }
            }
            (Call::GetOrder { order, .. } | Call::Cancel { order, .. }, 200) => {
                orders.entry(*order).or_default().push((version, index));
            }
            (Call::GetProduct { product }, 200) => {
                products.entry(*product).or_default().push((version, index));
            }
            _ => {}
        }
    }
    for (id, reads) in &orders {
        let name = format!("order {id}");
        ordered(facts, report, &name, reads);
        let all = reads.iter().chain(placed.get(id).into_iter().flatten());
        same_content(facts, report, &name, all.copied().collect());
    }
    for (id, reads) in products {
        let name = format!("product {id}");
        ordered(facts, report, &name, &reads);
        same_content(facts, report, &name, reads);
    }
}

fn ordered(facts: &Facts<'_>, report: &mut Report, name: &str, reads: &[(i64, usize)]) {
    if let (_, Some([newer, older])) = facts.by_version(reads.to_vec()) {
        let version = |index| facts.op(index).response.as_ref().and_then(|it| it.version);
        let what = format!(
            "a read of {name} began after version {:?} had been returned, or a later one, and \
             returned {:?}, or a read before it",
            version(newer).unwrap_or_default(),
            version(older).unwrap_or_default(),
        );
        report.add(5, [newer, older], what);
    }
}

/// A version never appears with other content, not even after a restore.
fn same_content(facts: &Facts<'_>, report: &mut Report, name: &str, mut reads: Vec<(i64, usize)>) {
    reads.sort_unstable();
    let content = |index: usize| {
        let response = facts.op(index).response.as_ref();
        response.map(|it| (it.orders.as_slice(), it.products.as_slice()))
    };
    for pair in reads.windows(2) {
        let ((version, one), (other_version, other)) = (pair[0], pair[1]);
        if version == other_version && content(one) != content(other) {
            let ended = facts.op(one).ended.max(facts.op(other).ended);
            let promise = if facts.past(ended) == 0 { 5 } else { 8 };
            let what = format!("version {version} of {name} has two contents");
            report.add(promise, [one, other], what);
        }
    }
}
