//! The check of every answer that a test of *our* store gets: by the embedded document, and without a member that it does not know.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, Mutex},
};

pub use crate::check::Exchange;
use crate::{
    check::BEFORE_ANY_OPERATION,
    document::{Document, Members},
};

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    Document::read_with(merch_contract::OPENAPI_YAML, Members::None)
        .unwrap_or_else(|error| panic!("the embedded openapi.yaml cannot be used: {error}"))
});
static EXERCISED: Mutex<BTreeSet<(String, u16)>> = Mutex::new(BTreeSet::new());

/// Every way in which an answer is not as the document declares it; empty if it is. Notes the status as exercised.
///
/// # Panics
/// Never: the document is this repository's own, and nobody panics with the notes in hand.
#[must_use]
pub fn check(exchange: &Exchange<'_>) -> Vec<String> {
    let faults = DOCUMENT.check(exchange);
    if let Some(operation) = DOCUMENT.operation_of(exchange.method, exchange.path)
        && faults.is_empty()
        && exchange.status != BEFORE_ANY_OPERATION
    {
        EXERCISED.lock().expect("nobody panics with it").insert((operation.id.clone(), exchange.status));
    }
    faults
}

/// Every operation with every status that it declares.
#[must_use]
pub fn declared() -> BTreeSet<(String, u16)> {
    DOCUMENT.declared()
}

/// The operations and statuses that came through [`check`] without a fault so far, in this process.
///
/// # Panics
/// Never: nobody panics with the notes in hand.
#[must_use]
pub fn exercised() -> BTreeSet<(String, u16)> {
    EXERCISED.lock().expect("nobody panics with it").clone()
}
