//! Promise 3, the stock of promise 5, and `out_of_stock` of promise 2.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Report,
    facts::{Facts, Outcome, Restores, State, body, may_have_placed, outcome, status},
};
use crate::history::{Call, Moment};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let restocks = restocks(facts);
    conservation(facts, report, &restocks);
    let ledgers = ledgers(facts, &restocks);
    reads(facts, report, &ledgers);
    for (index, op) in facts.operations() {
        if let Call::Place { token, product, quantity, key } = &op.call
            && op.response.as_ref().is_some_and(|it| it.status == 409 && it.code == "out_of_stock")
            && let Some(ledger) = ledgers.get(product)
        {
            let (least, _) = ledger.bounds(op.began, op.ended);
            // If its own order had taken these pieces before, the response would have returned it.
            let key = key.as_ref().map(|key| (token.user, key.clone()));
            let own = key.and_then(|key| facts.orders.get(facts.books.tables.keys.get(&key)?));
            let own = own.filter(|own| own.possible.is_some_and(|began| began <= op.ended));
            let own = own.filter(|_| facts.undone_by(op) == 0).map_or(0, |own| own.order.quantity);
            let least = least + own;
            if least >= *quantity {
                let what = format!(
                    "an order of {quantity} pieces of product {product} got 409 out_of_stock, and \
                     at least {least} pieces were left"
                );
                report.add(2, [index], what);
            }
        }
    }
}

/// A restock: all calls with its key.
struct Restock {
    product: i64,
    pieces: i64,
    possible: Moment,
    proved: Option<Moment>,
    undone_by: Restores,
}

fn restocks<'a>(facts: &Facts<'a>) -> BTreeMap<&'a str, Restock> {
    let mut restocks = BTreeMap::<&str, Restock>::new();
    for (_, op) in facts.operations() {
        if let Call::Restock { product, pieces, key } = &op.call {
            let (began, undone_by) = (op.began, facts.undone_by(op));
            let restock = restocks.entry(key.as_str()).or_insert(Restock {
                product: *product,
                pieces: *pieces,
                possible: began,
                proved: None,
                undone_by: 0,
            });
            restock.possible = restock.possible.min(began);
            restock.undone_by |= undone_by;
            if outcome(op) == Outcome::Done && undone_by == 0 {
                restock.proved = Some(restock.proved.map_or(op.ended, |it| it.min(op.ended)));
            }
        }
    }
    restocks
}

fn conservation(facts: &Facts<'_>, report: &mut Report, restocks: &BTreeMap<&str, Restock>) {
    let (tables, seeded) = (&facts.books.tables, &facts.books.seeded);
    let mut delivered = seeded.clone();
    for (key, pieces) in &tables.restocks {
        match restocks.get(key.as_str()).filter(|restock| restock.pieces == *pieces) {
            Some(restock) => *delivered.entry(restock.product).or_default() += pieces,
            None => {
                let what = format!("key {key} added {pieces} pieces, and no operator sent that");
                report.add(3, [], what);
            }
        }
    }
    let mut sold = BTreeMap::<i64, i64>::new();
    for order in tables.orders.values().map(|row| &row.order).filter(|order| !order.cancelled) {
        *sold.entry(order.product).or_default() += order.quantity;
    }
    for product in
        delivered.keys().chain(tables.stock.keys().filter(|it| !seeded.contains_key(*it)))
    {
        let of = |pieces: &BTreeMap<i64, i64>| pieces.get(product).copied().unwrap_or_default();
        let (left, sold, delivered) = (of(&tables.stock), of(&sold), of(&delivered));
        if left < 0 || left + sold != delivered {
            let what = format!(
                "product {product} has {left} pieces in stock and {sold} in placed orders; \
                 {delivered} were delivered"
            );
            report.add(3, [], what);
        }
    }
}

/// The pieces of each product add up in each snapshot.
pub(super) fn snapshots(facts: &Facts<'_>, report: &mut Report) {
    let seeded = &facts.books.seeded;
    for snapshot in &facts.books.snapshots {
        let Some(restocks) = &snapshot.restocks else { continue };
        let all = [seeded, restocks, &snapshot.stock, &snapshot.placed];
        let products: BTreeSet<i64> = all.into_iter().flat_map(BTreeMap::keys).copied().collect();
        for product in products {
            let of =
                |pieces: &BTreeMap<i64, i64>| pieces.get(&product).copied().unwrap_or_default();
            let (left, sold) = (of(&snapshot.stock), of(&snapshot.placed));
            let delivered = of(seeded) + of(restocks);
            if left < 0 || left + sold != delivered {
                let what = format!(
                    "a snapshot of {} at {:.3} s has {left} pieces of product {product} in stock \
                     and {sold} in placed orders; {delivered} were delivered",
                    snapshot.server,
                    snapshot.began.as_secs_f64()
                );
                report.add(3, [], what);
            }
        }
    }
}

/// Sums of pieces by the moment from which they count.
#[derive(Default)]
struct Sums(Vec<(Moment, i64)>);

impl Sums {
    fn add(&mut self, from: Moment, pieces: i64) {
        self.0.push((from, pieces));
    }

    fn finish(&mut self) {
        self.0.sort_unstable();
        let mut sum = 0;
        for (_, pieces) in &mut self.0 {
            sum += *pieces;
            *pieces = sum;
        }
    }

    fn sum_where(&self, counts: impl Fn(Moment) -> bool) -> i64 {
        let count = self.0.partition_point(|(from, _)| counts(*from));
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// The changes of a product's stock.
#[derive(Default)]
struct Ledger {
    seeded: i64,
    /// Pieces that were taken or returned, from the start of the first attempt.
    possibly_taken: Sums,
    possibly_returned: Sums,
    /// The same, from the end of the first response that proves it.
    surely_taken: Sums,
    surely_returned: Sums,
}

impl Ledger {
    /// Returns the least and the greatest stock of a state that was current in this time. If not all
    /// changes that were possible happened, the least can be negative.
    fn bounds(&self, began: Moment, ended: Moment) -> (i64, i64) {
        let (before, started) = (|from: Moment| from < began, |from: Moment| from <= ended);
        let least = self.surely_returned.sum_where(before) - self.possibly_taken.sum_where(started);
        let most = self.possibly_returned.sum_where(started) - self.surely_taken.sum_where(before);
        (self.seeded + least, self.seeded + most)
    }
}

fn ledgers(facts: &Facts<'_>, restocks: &BTreeMap<&str, Restock>) -> HashMap<i64, Ledger> {
    let ledger = |(product, seeded): (&i64, &i64)| {
        (*product, Ledger { seeded: *seeded, ..Ledger::default() })
    };
    let mut ledgers: HashMap<i64, Ledger> = facts.books.seeded.iter().map(ledger).collect();
    let tables = &facts.books.tables;
    for (id, register) in &facts.orders {
        let (_, product, pieces) = body(register.order);
        let Some(ledger) = ledgers.get_mut(&product) else { continue };
        ledger.possibly_taken.add(register.possible.unwrap_or_default(), pieces);
        if let Some(proved) = register.proved(State::Placed) {
            ledger.surely_taken.add(proved, pieces);
        }
        let is_cancelled = tables.orders.get(id).is_some_and(|row| row.order.cancelled);
        if let Some(cancels) = facts.cancels.get(id)
            && (is_cancelled || cancels.undone_by != 0)
        {
            ledger.possibly_returned.add(cancels.possible, pieces);
        }
        if let Some(proved) = register.proved(State::Cancelled) {
            ledger.surely_returned.add(proved, pieces);
        }
    }
    // Orders that a restore removed before a client saw them.
    for (_, op) in facts.operations().filter(|(_, op)| facts.undone_by(op) != 0) {
        if let Call::Place { product, quantity, key, .. } = &op.call
            && outcome(op) != Outcome::Done
            && may_have_placed(op, key.is_some())
            && let Some(ledger) = ledgers.get_mut(product)
        {
            ledger.possibly_taken.add(op.began, *quantity);
        }
    }
    for (key, restock) in restocks {
        let is_stored = tables.restocks.contains_key(*key);
        let Some(ledger) = ledgers.get_mut(&restock.product) else { continue };
        if is_stored || restock.undone_by != 0 {
            ledger.possibly_returned.add(restock.possible, restock.pieces);
        }
        if let Some(proved) = restock.proved.filter(|_| is_stored) {
            ledger.surely_returned.add(proved, restock.pieces);
        }
    }
    for ledger in ledgers.values_mut() {
        let Ledger { seeded: _, possibly_taken, possibly_returned, surely_taken, surely_returned } =
            ledger;
        for sums in [possibly_taken, possibly_returned, surely_taken, surely_returned] {
            sums.finish();
        }
    }
    ledgers
}

fn reads(facts: &Facts<'_>, report: &mut Report, ledgers: &HashMap<i64, Ledger>) {
    let mut versions = BTreeMap::<i64, Vec<(i64, usize)>>::new();
    let mut check = |index: usize, product: i64, began: Moment, ended: Moment| {
        let response = facts.op(index).response.iter();
        let shown = response.flat_map(|it| &it.products).find(|shown| shown.id == product);
        let (Some(shown), Some(ledger)) = (shown, ledgers.get(&product)) else { return };
        report.totals.reads += 1;
        let (least, most) = ledger.bounds(began, ended);
        let least = least.max(0);
        if !(least..=most).contains(&shown.stock) {
            let what = format!(
                "a read returned {} pieces of product {product}; the changes before and during it \
                 leave between {least} and {most}",
                shown.stock
            );
            report.add(5, [index], what);
        }
    };
    for (index, op) in facts.operations().filter(|(_, op)| status(op) == 200) {
        let Some(response) = &op.response else { continue };
        match (&op.call, response.version) {
            (Call::GetProduct { product }, Some(version)) => {
                versions.entry(*product).or_default().push((version, index));
            }
            (Call::GetProduct { .. } | Call::ListProducts, _) => {
                for product in &response.products {
                    check(index, product.id, op.began, op.ended);
                }
            }
            _ => {}
        }
    }
    for (product, reads) in versions {
        for version in facts.by_version(reads).0 {
            let began = facts.op(version.newest_begun).began;
            let ended = facts.op(version.oldest_ended).ended;
            for index in version.reads {
                // The version was current at some moment between, or at both.
                if began <= ended {
                    check(index, product, began, ended);
                } else {
                    check(index, product, began, began);
                    check(index, product, ended, ended);
                }
            }
        }
    }
}
