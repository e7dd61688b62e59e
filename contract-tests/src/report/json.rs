//! JSON report; docs/contract-tests.md has the schema.

use serde_json::{Value, json};

use super::{CaseOutcome, Outcome, Report, not_reached_message};
use crate::http::RecordedExchange;

/// Returns the report as JSON.
#[must_use]
pub fn json(report: &Report) -> Value {
    let (passed, failed, skipped) = report.counts();
    let cells: Vec<Value> = report
        .cells
        .iter()
        .map(|((operation, status), cell)| {
            let (outcome, reason) = match &cell.outcome {
                Outcome::Passed => ("passed", None),
                Outcome::Failed => ("failed", None),
                Outcome::Unreachable(why) => ("not_reachable", Some(why.clone())),
                Outcome::NotReached => ("not_reached", Some(not_reached_message(operation, *status))),
            };
            json!({
                "operation": operation, "status": status, "outcome": outcome, "reason": reason,
                "passed": cell.passed, "failed": cell.failed, "not_run": cell.skipped, "answers": cell.answers
            })
        })
        .collect();
    let cases: Vec<Value> = report
        .cases
        .iter()
        .map(|case| {
            let (outcome, message, exchanges) = match &case.outcome {
                CaseOutcome::Passed => ("passed", None, Vec::new()),
                CaseOutcome::Skipped(why) => ("not_run", Some(why.clone()), Vec::new()),
                CaseOutcome::Failed(failure) => {
                    ("failed", Some(failure.message().to_owned()), failure.exchanges().iter().map(|one| exchange(one)).collect())
                }
            };
            json!({
                "name": case.name, "operation": case.operation, "status": case.status, "outcome": outcome, "message": message,
                "exchanges": exchanges, "seconds": seconds(case.duration)
            })
        })
        .collect();
    json!({
        "url": report.url, "document": report.document, "passed": !report.failed(), "interrupted": report.interrupted,
        "unusable": report.not_tested,
        "counts": { "passed": passed, "failed": failed, "not_run": skipped },
        "requests": report.requests, "users": report.users, "orders": report.orders, "seconds": seconds(report.duration),
        "cells": cells, "cases": cases, "warnings": report.warnings
    })
}

fn exchange(exchange: &RecordedExchange) -> Value {
    json!({ "curl": exchange.request.curl(), "answer": exchange.raw_answer() })
}

fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
