//! The cases of the suite.

pub mod derived;
pub mod domain;

use std::sync::Arc;

use crate::{document::Document, suite::Case};

/// All cases for `document`: derived ones, then domain ones. The last one locks an account for a
/// while.
#[must_use]
pub fn all(document: &Arc<Document>) -> Vec<Case> {
    derived::cases(document).into_iter().chain(domain::cases(document)).collect()
}
