//! Cases that follow from the document: a new operation, member, bound or example has its cases
//! without a line of code.
//!
//! A good request is made of the document's examples and changed in one place; what then has to
//! come follows from the document as well. Where the document leaves something open, both ways are
//! good, and the case says "taken or refused": it fails when the server does.

mod bodies;
mod conditions;
mod credentials;
mod examples;
mod ids;
mod json_texts;
mod judge;
mod media_types;
mod members;
mod pages;
mod parameters;
mod probes;
mod request;
mod routes;
mod strings;
mod target;
mod tokens;
mod verdict;

use std::sync::Arc;

use self::target::Target;
use crate::{document::Document, suite::Case};

/// A tag that no version has: with it in `If-Match` a request that is good changes nothing.
const NO_VERSION: &str = "\"9999999999\"";

/// A member and a parameter that no document has.
const UNDECLARED: &str = "x_not_declared";

/// All cases that follow from the document, by operation.
pub fn cases(document: &Arc<Document>) -> Vec<Case> {
    let targets = Target::all(document);
    let mut cases = routes::cases(&targets);
    for target in &targets {
        cases.extend(examples::cases(target));
        cases.extend(bodies::cases(target));
        cases.extend(json_texts::cases(target));
        cases.extend(media_types::cases(target));
        cases.extend(parameters::cases(target));
        cases.extend(credentials::cases(target));
        cases.extend(ids::cases(target));
        cases.extend(conditions::cases(target));
        cases.extend(pages::cases(target));
    }
    cases
}

#[cfg(test)]
mod tests;
