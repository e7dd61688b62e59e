//! Compares what clients received with the tables and the topic, promise by promise.
//!
//! Checks of the promises of `docs/guarantees.md`:
//!
//! 1. Each 201 is an equal row. Each row has an attempt that can have placed it. A cancelled row
//!    has a cancellation, and each confirmed cancellation is in the tables.
//! 2. A key places one order and returns it to every later attempt. A refused last attempt has no
//!    order. A 409 `out_of_stock` was true at some moment of its request.
//! 3. Pieces of each product add up in each snapshot and in the tables. A restock counts once for
//!    each key. Stock is never negative.
//! 4. Each change has one event, and each event its change, in order for each subject and source.
//!    Each 401 has its event, or a summary counts it. The outbox lost nothing and has no dead
//!    letter. All events are shipped in time.
//! 5. Orders are linearizable registers (absent, placed, cancelled), also in lists. Versions only
//!    grow. The stock of each read was possible at some moment of its request. Reads of products
//!    return all that they should.
//! 6. Revoked tokens are refused, all others are accepted.
//! 7. 503 and lost responses occur only during a fault that can affect their request, and until
//!    [`RECOVERY`] after it. No response is 500, 502, 504, 429 or another unexpected status. None
//!    takes longer than the api's deadline, unless a fault holds it back on the way to the api. No
//!    role panics, or exits by itself after it was ready. All recover in time.
//! 8. A restore loses nothing that was acknowledged before its backup began. No version returns
//!    with other content. Acknowledged users and restocks exist.
//!
//! **Stock.** The versions of a product's row order the reads that have an `ETag`. Reads of earlier
//! and later versions narrow the time at which a version was current. Its stock must be between the
//! bounds that follow from the changes acknowledged before that time and those begun by then. The
//! tables say which unanswered changes happened. A list has no `ETag`, so only its own request
//! limits the time. A batch of orders is one version, so the number of versions is not checked. A
//! change and its cancellation within one request of a read make the upper bound loose.
//!
//! **Restores.** A change that was in flight between the start of the backup and the end of the
//! restore may exist or not, with or without its event. Reads after the restore may be older than
//! reads in that time. A restore revokes all tokens.
//!
//! **Exception of promise 2.** An order may follow the refusal of its key if another attempt was in
//! flight at the same time. It may also follow if a fault held back an attempt with an unknown
//! outcome, or a part of the refused one, and the refused one began before the deadline of the
//! delayed call. [`Totals::late`] counts these.
//!
//! **Failures.** A report also says what the run did too seldom ([`Report::failures`]). The checker
//! does not compare parts of the books that could not be read.
//!
//! The checks take near-linear time in the number of operations.

mod coverage;
mod facts;
mod faults;
mod orders;
mod reads;
mod recovery;
mod statuses;
mod stock;
mod tokens;
mod topic;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

pub use self::faults::RECOVERY;
use crate::{
    books::{Books, Part},
    history::{History, Operation},
};

/// Violations that a printed report shows of each promise.
const MAX_SHOWN: usize = 10;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in `docs/guarantees.md`.
    pub promise: u8,
    /// What happened, as a sentence.
    pub what: String,
    /// Indices of the operations that show it.
    pub operations: Vec<usize>,
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts of clients.
    pub operations: usize,
    /// Attempts whose outcome was unknown to the client.
    pub unknown: usize,
    /// Orders in the tables.
    pub orders: usize,
    /// Orders in the tables that no client saw.
    pub unobserved: usize,
    /// Acknowledged or seen orders that a restore removed.
    pub lost: usize,
    /// Orders placed after a refusal, by attempts in flight or delayed by a fault.
    pub late: usize,
    /// States of orders and products that reads returned.
    pub reads: usize,
    /// Events on the topic.
    pub events: usize,
    /// Records that repeat an event.
    pub repeated: usize,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All broken promises.
    pub violations: Vec<Violation>,
    /// Why the run proves too little: what it did not do, and what of the runner failed.
    pub failures: Vec<String>,
    /// What was compared.
    pub totals: Totals,
}

/// Checks all promises. The books must be read after the last operation has ended.
#[must_use]
pub fn check(history: &History, books: &Books) -> Report {
    let facts = facts::Facts::new(history, books);
    let mut report = Report::default();
    report.totals.operations = history.operations.len();
    report.totals.unknown = history
        .operations
        .iter()
        .filter(|op| facts::outcome(op) == facts::Outcome::Unknown)
        .count();
    let has_tables = !books.unread.contains(&Part::Tables);
    if has_tables {
        orders::check(&facts, &mut report);
        stock::check(&facts, &mut report);
    }
    if has_tables && !books.unread.contains(&Part::Topic) {
        topic::check(&facts, &mut report);
    }
    stock::snapshots(&facts, &mut report);
    reads::check(&facts, &mut report);
    let lifetimes = tokens::Lifetimes::new(&facts);
    tokens::check(&facts, &mut report, &lifetimes);
    statuses::check(&facts, &mut report, &lifetimes);
    recovery::check(books, &mut report);
    coverage::check(&facts, &mut report);
    report.violations.sort_by_key(|violation| violation.promise);
    report
}

impl Report {
    /// Returns whether all promises were kept, and the run proves that.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && self.failures.is_empty()
    }

    /// Adds a broken promise, with the operations that show it.
    pub fn add(
        &mut self,
        promise: u8,
        operations: impl IntoIterator<Item = usize>,
        what: impl Into<String>,
    ) {
        let operations = operations.into_iter().collect();
        self.violations.push(Violation { promise, what: what.into(), operations });
    }

    /// Returns the report with the operations of each violation that it shows.
    #[must_use]
    pub fn explain(&self, history: &History) -> String {
        self.print(|index| history.operations.get(index))
    }

    fn print<'a>(&self, operation: impl Fn(usize) -> Option<&'a Operation>) -> String {
        let mut text = self.totals.to_string();
        for failure in &self.failures {
            let _ = write!(text, "\nthe run failed: {failure}");
        }
        let mut counts = BTreeMap::<u8, usize>::new();
        for violation in &self.violations {
            let count = counts.entry(violation.promise).or_default();
            *count += 1;
            if *count > MAX_SHOWN {
                continue;
            }
            let _ = write!(text, "\n{violation}");
            for index in violation.operations.iter().take(MAX_SHOWN) {
                let Some(op) = operation(*index) else { continue };
                let _ = write!(text, "\n    {index}: {}", line(op));
            }
        }
        for (promise, count) in counts {
            let _ = write!(text, "\npromise {promise}: {count} violations");
            if count > MAX_SHOWN {
                let _ = write!(text, ", of which {MAX_SHOWN} are shown");
            }
        }
        text
    }
}

fn line(
    Operation { client, server, began, ended, call, response, impatient: _ }: &Operation,
) -> String {
    let (began, ended) = (began.as_secs_f64(), ended.as_secs_f64());
    let response = match response {
        None => "no response".to_owned(),
        Some(response) => {
            let mut text = format!("{} {}", response.status, response.code);
            for product in response.products.iter().take(MAX_SHOWN) {
                let _ = write!(text, " product {}: {} left", product.id, product.stock);
            }
            for order in response.orders.iter().take(MAX_SHOWN) {
                let state = if order.cancelled { "cancelled" } else { "placed" };
                let _ = write!(text, " order {} {state}", order.id);
            }
            if let Some(version) = response.version {
                let _ = write!(text, " version {version}");
            }
            text
        }
    };
    let server = server.map_or_else(String::new, |server| format!(" to server {server}"));
    format!("{began:.3} s to {ended:.3} s, client {client}{server}, {call:?}: {response}")
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {} broken: {}", self.promise, self.what)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, unknown, orders, unobserved, lost, late, reads, events, repeated } =
            self;
        write!(
            f,
            "{operations} operations ({unknown} with an unknown outcome), {orders} orders in the \
             tables ({unobserved} of them unobserved, {late} placed after a refusal), {lost} lost \
             in restores, {reads} states read, {events} events on the topic, {repeated} repeated \
             records"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(|_| None))
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
