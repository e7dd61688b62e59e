//! The cases of the domain: what the document promises in words, beyond the shape of a single
//! answer.

use std::sync::Arc;

use crate::{document::Document, suite::Case};

/// Fails the case unless the condition holds, with the answer that shows it: `ensure!(condition,
/// &answer, "expected …, got {it}")`.
macro_rules! ensure {
    ($condition:expr, $answer:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::suite::Failure::of($answer, format!($($message)+)));
        }
    };
}

mod catalogue;
mod greeting;
mod idempotency;
mod journey;
mod log_in;
mod money;
mod orders;
mod pages;
mod registration;
mod sold_out;
mod steps;
mod stock;
mod throttle;
mod tokens;
mod users;
mod wire;

/// Every case of the domain whose operation and status `document` declares. Those that run alone
/// stand in the order in which they are to run: the last one locks an account for a while.
pub fn cases(document: &Arc<Document>) -> Vec<Case> {
    every().into_iter().filter(|case| declares(document, case)).collect()
}

fn every() -> Vec<Case> {
    [
        greeting::cases(),
        catalogue::cases(),
        journey::cases(),
        registration::cases(),
        users::cases(),
        tokens::cases(),
        log_in::cases(),
        money::cases(),
        orders::cases(),
        idempotency::cases(),
        wire::cases(),
        stock::cases(),
        sold_out::cases(),
        throttle::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn declares(document: &Document, case: &Case) -> bool {
    document
        .operation(&case.operation)
        .is_some_and(|operation| operation.responses.contains_key(&case.status))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_fills_a_cell_of_the_document() {
        let document = Document::embedded();
        let strangers: Vec<String> = every()
            .iter()
            .filter(|case| !declares(&document, case))
            .map(|case| format!("{} {} {}", case.operation, case.status, case.name))
            .collect();
        assert_eq!(strangers, Vec::<String>::new());
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let mut seen = BTreeSet::new();
        let twice: Vec<String> = every()
            .into_iter()
            .map(|case| format!("{}: {}", case.operation, case.name))
            .filter(|name| !seen.insert(name.clone()))
            .collect();
        assert_eq!(twice, Vec::<String>::new());
    }
}
