//! Domain cases: rules that the document states in words.

use std::sync::Arc;

use crate::{document::Document, suite::Case};

/// Fails the case with this response unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $answer:expr, $($message:tt)+) => {
        if !$condition {
            let answer: &$crate::suite::Answer = $answer;
            return Err(answer.fail(format!($($message)+)));
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

/// Every domain case whose operation and status `document` declares. Serial cases keep their order:
/// the last one locks an account.
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
    fn each_case_belongs_to_a_declared_status() {
        let document = Document::embedded();
        let undeclared: Vec<String> = every()
            .iter()
            .filter(|case| !declares(&document, case))
            .map(|case| format!("{} {} {}", case.operation, case.status, case.name))
            .collect();
        assert_eq!(undeclared, Vec::<String>::new());
    }

    #[test]
    fn case_names_are_unique() {
        let mut seen = BTreeSet::new();
        let twice: Vec<String> = every()
            .into_iter()
            .map(|case| format!("{}: {}", case.operation, case.name))
            .filter(|name| !seen.insert(name.clone()))
            .collect();
        assert_eq!(twice, Vec::<String>::new());
    }
}
