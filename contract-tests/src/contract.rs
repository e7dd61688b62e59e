//! The check of every answer that a test of *our* store gets: by the embedded document, and without
//! a member that it does not know.

use std::sync::LazyLock;

pub use crate::check::Exchange;
use crate::document::Document;

static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::ours);

/// Every way in which an answer is not as the document declares it; empty if it is.
#[must_use]
pub fn check(exchange: &Exchange<'_>) -> Vec<String> {
    DOCUMENT.check(exchange)
}
