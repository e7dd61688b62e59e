//! What a run has found: the cells of the table, the cases, and what has to be said besides.

mod json;
mod junit;
mod table;

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;

pub use self::{json::json, junit::junit, table::table};
use crate::suite::Failure;

/// What a run has found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The implementation.
    pub url: String,
    /// Title and version of the document.
    pub document: String,
    /// Why nothing was tested: nobody is at the address, or an option cannot be. One sentence.
    pub unusable: Option<String>,
    /// The operations that were tested, in the order of the document.
    pub operations: Vec<Tested>,
    /// Every operation that was tested with every status that it declares.
    pub cells: BTreeMap<(String, u16), Cell>,
    /// Every case of these operations, in the order in which they ended.
    pub cases: Vec<CaseResult>,
    /// What the run could not put back as it was, and what looks as if somebody else was there.
    pub warnings: Vec<String>,
    /// Whether it was told to stop before its end.
    pub interrupted: bool,
    /// How many requests were sent.
    pub requests: usize,
    /// How many users it has registered, all in all.
    pub users: usize,
    /// How many orders it has placed, all in all.
    pub orders: usize,
    /// From the first request to the last.
    pub took: Duration,
}

/// An operation that was tested.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tested {
    /// `operationId`.
    pub id: String,
    /// The first of its tags.
    pub tag: String,
    /// `GET`, `POST`, …
    pub method: Method,
    /// The template.
    pub path: String,
}

/// One operation and one status that it declares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cell {
    /// What is to be said of it.
    pub outcome: Outcome,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that were not run.
    pub skipped: usize,
    /// Answers of this operation and status in any case that were as the document declares them.
    pub answers: usize,
}

/// What is to be said of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer of it came, in a case of its own or in another, and no case failed.
    Passed,
    /// A case of it failed, or an answer of it was not as the document declares it.
    Failed,
    /// Nothing from outside can bring it about, or not with these options: why.
    NotReachable(String),
    /// It can be brought about, and no case did: a failure.
    NotReached,
}

/// One case that was to be run.
#[derive(Debug)]
#[non_exhaustive]
pub struct CaseResult {
    /// What it is about.
    pub name: String,
    /// `operationId`.
    pub operation: String,
    /// The declared status whose cell it fills.
    pub status: u16,
    /// What came of it.
    pub outcome: CaseOutcome,
    /// How long it took.
    pub took: Duration,
}

/// What came of a case.
#[derive(Debug)]
pub enum CaseOutcome {
    /// All was as expected.
    Passed,
    /// Something was not.
    Failed(Failure),
    /// It was not run: why.
    Skipped(String),
}

impl Report {
    /// A report of nothing, with the reason.
    #[must_use]
    pub fn unusable(url: String, document: String, why: String) -> Self {
        Self {
            url,
            document,
            unusable: Some(why),
            operations: Vec::new(),
            cells: BTreeMap::new(),
            cases: Vec::new(),
            warnings: Vec::new(),
            interrupted: false,
            requests: 0,
            users: 0,
            orders: 0,
            took: Duration::ZERO,
        }
    }

    /// Whether anything was not as the document has it, or was not tested that could be.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.unusable.is_some()
            || self.interrupted
            || self.failures().next().is_some()
            || self.not_reached().next().is_some()
    }

    /// The cases that failed, each with its failure.
    pub fn failures(&self) -> impl Iterator<Item = (&CaseResult, &Failure)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            CaseOutcome::Failed(failure) => Some((case, failure)),
            CaseOutcome::Passed | CaseOutcome::Skipped(_) => None,
        })
    }

    /// The cells that no case reached, although one could.
    pub fn not_reached(&self) -> impl Iterator<Item = &(String, u16)> {
        self.cells
            .iter()
            .filter(|(_, cell)| cell.outcome == Outcome::NotReached)
            .map(|(cell, _)| cell)
    }

    /// How many cases passed, failed, and were not run.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&CaseOutcome) -> bool| {
            self.cases.iter().filter(|case| is(&case.outcome)).count()
        };
        (
            count(|outcome| matches!(outcome, CaseOutcome::Passed)),
            count(|outcome| matches!(outcome, CaseOutcome::Failed(_))),
            count(|outcome| matches!(outcome, CaseOutcome::Skipped(_))),
        )
    }
}

/// The sentence for a cell that no case reached.
fn unreached(operation: &str, status: u16) -> String {
    format!(
        "{operation} declares {status}, and no case brought it about: the implementation never answered it, or the suite has no case for it"
    )
}

#[cfg(test)]
mod tests;
