//! The results of a run.

mod failure;
mod json;
mod junit;
mod table;

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;

pub use self::{failure::Failure, json::json, junit::junit, table::table};

/// The results of a run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The URL of the implementation.
    pub url: String,
    /// Title and version of the document.
    pub document: String,
    /// Why nothing was tested: the store is unreachable or an option is invalid.
    pub not_tested: Option<String>,
    /// The tested operations, in the order of the document.
    pub operations: Vec<TestedOperation>,
    /// Every tested operation with every declared status.
    pub cells: BTreeMap<(String, u16), Cell>,
    /// The cases, in the order in which they ended.
    pub cases: Vec<CaseResult>,
    /// Failed cleanups and signs of other clients.
    pub warnings: Vec<String>,
    /// Whether a signal stopped the run.
    pub interrupted: bool,
    /// Number of requests.
    pub requests: usize,
    /// Number of registered users.
    pub users: usize,
    /// Number of placed orders.
    pub orders: usize,
    /// Time from the first to the last request.
    pub duration: Duration,
}

/// A tested operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestedOperation {
    /// `operationId`.
    pub id: String,
    /// The first tag.
    pub tag: String,
    /// `GET`, `POST`, …
    pub method: Method,
    /// The template of the path.
    pub path: String,
}

/// An operation with one declared status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cell {
    /// The outcome.
    pub outcome: Outcome,
    /// Passed cases.
    pub passed: usize,
    /// Failed cases.
    pub failed: usize,
    /// Skipped cases.
    pub skipped: usize,
    /// Valid responses with this status, in any case.
    pub answers: usize,
}

/// The outcome of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A valid response came, and no case failed.
    Passed,
    /// A case failed, or a response was invalid.
    Failed,
    /// No client can cause it, or not with these options: the reason.
    Unreachable(String),
    /// A client can cause it, but no case did: a failure.
    NotReached,
}

/// The result of a case.
#[derive(Debug)]
#[non_exhaustive]
pub struct CaseResult {
    /// The name.
    pub name: String,
    /// `operationId`.
    pub operation: String,
    /// The declared status that it tests.
    pub status: u16,
    /// The outcome.
    pub outcome: CaseOutcome,
    /// The duration.
    pub duration: Duration,
}

/// The outcome of a case.
#[derive(Debug)]
pub enum CaseOutcome {
    /// Everything was as expected.
    Passed,
    /// The failure.
    Failed(Failure),
    /// Not run: the reason.
    Skipped(String),
}

impl Report {
    /// A report of a run that did not start.
    #[must_use]
    pub fn not_tested(url: String, document: String, why: String) -> Self {
        Self {
            url,
            document,
            not_tested: Some(why),
            operations: Vec::new(),
            cells: BTreeMap::new(),
            cases: Vec::new(),
            warnings: Vec::new(),
            interrupted: false,
            requests: 0,
            users: 0,
            orders: 0,
            duration: Duration::ZERO,
        }
    }

    /// Whether anything failed or was not reached.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.not_tested.is_some()
            || self.interrupted
            || self.failures().next().is_some()
            || self.not_reached().next().is_some()
    }

    /// The failed cases.
    pub fn failures(&self) -> impl Iterator<Item = (&CaseResult, &Failure)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            CaseOutcome::Failed(failure) => Some((case, failure)),
            CaseOutcome::Passed | CaseOutcome::Skipped(_) => None,
        })
    }

    /// The cells that no case reached.
    pub fn not_reached(&self) -> impl Iterator<Item = &(String, u16)> {
        self.cells
            .iter()
            .filter(|(_, cell)| cell.outcome == Outcome::NotReached)
            .map(|(cell, _)| cell)
    }

    /// Passed, failed and skipped cases.
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

fn not_reached_message(operation: &str, status: u16) -> String {
    format!(
        "{operation} declares {status}, but no case got it: the implementation never sent it, or the suite has no case for it"
    )
}

#[cfg(test)]
mod tests;
