//! Cases derived from the document: a new operation, member, bound or example gets its cases
//! without code.
//!
//! Each case changes a valid request in one place. Where the document leaves the result open, both
//! results pass ("accepted or refused"); a server error fails.

mod bodies;
mod conditions;
mod credentials;
mod examples;
mod expectations;
mod ids;
mod json_texts;
mod media_types;
mod members;
mod pages;
mod parameters;
mod request;
mod routes;
mod strings;
mod target;
mod test_values;
mod tokens;
mod validator;

use std::sync::Arc;

use self::target::Target;
use crate::{document::Document, suite::Case};

/// An entity tag that no version has: with it in `If-Match`, a valid request changes nothing.
const NO_VERSION: &str = "\"9999999999\"";

const UNDECLARED: &str = "x_not_declared";

/// All derived cases, by operation.
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
