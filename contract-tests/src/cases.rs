//! Every case of the suite.

pub mod derived;
pub mod domain;

use std::sync::Arc;

use crate::{document::Document, suite::Case};

/// Every case for `document`: those that are derived from it, then those of the domain, whose last
/// one locks an account for a while.
#[must_use]
pub fn all(document: &Arc<Document>) -> Vec<Case> {
    derived::cases(document).into_iter().chain(domain::cases(document)).collect()
}
