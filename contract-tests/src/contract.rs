//! Checks responses of this repository's store strictly: no undeclared members.

use std::sync::LazyLock;

pub use crate::check::Exchange;
use crate::document::Document;

static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::strict);

/// Returns every deviation from the embedded document; empty if there is none.
#[must_use]
pub fn check(exchange: &Exchange<'_>) -> Vec<String> {
    DOCUMENT.check(exchange)
}
