//! Promise 7: only a fault that can affect a request makes it fail, and none delays it for long.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    Report,
    facts::{Facts, status},
    faults::{CALL_LIMIT, RECOVERY, affects, holds, overlaps},
    tokens::Lifetimes,
};
use crate::history::{Call, Fault, History};

/// `MERCH_REQUEST_TIMEOUT`: the api repeats calls within this time.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// What a loaded machine adds to a time limit.
const LOAD: Duration = Duration::from_secs(3);

pub(super) fn check(facts: &Facts<'_>, report: &mut Report, lifetimes: &Lifetimes<'_>) {
    let registrations = registrations(facts.history);
    for (index, op) in facts.operations() {
        let Some(response) = &op.response else { continue };
        let (status, code) = (response.status, &response.code);
        let is_expected = match &op.call {
            Call::Register { username } => {
                status == 201 || status == 409 && registrations[username.as_str()] > 1
            }
            Call::LogIn { .. } => matches!(status, 200 | 401),
            Call::WrongPassword { .. } | Call::ForgedToken => status < 500 && status != 429,
            Call::LogOut { .. } => matches!(status, 204 | 401),
            Call::Place { .. } => {
                matches!(status, 201 | 401) || status == 409 && code == "out_of_stock"
            }
            Call::Cancel { .. } | Call::GetOrder { .. } => matches!(status, 200 | 401 | 404),
            Call::ListOrders { .. } => matches!(status, 200 | 401),
            Call::GetProduct { .. } | Call::ListProducts => status == 200,
            Call::Restock { .. } => matches!(status, 0 | 200),
        };
        if !is_expected && status != 503 {
            report.add(7, [index], format!("a request got {status} {code}"));
        }
    }
    failures(facts, report, lifetimes);
    delays(facts, report);
}

/// Counts the attempts of each username.
fn registrations(history: &History) -> HashMap<&str, usize> {
    let mut attempts = HashMap::<&str, usize>::new();
    for op in &history.operations {
        if let Call::Register { username } = &op.call {
            *attempts.entry(username).or_default() += 1;
        }
    }
    attempts
}

/// 503 and missing responses occur only during a fault that can affect the request, and until
/// [`RECOVERY`] after it.
fn failures(facts: &Facts<'_>, report: &mut Report, lifetimes: &Lifetimes<'_>) {
    let faults = &facts.history.faults;
    for (index, op) in facts.operations() {
        let failure = match status(op) {
            0 if op.impatient => continue,
            0 => "no response",
            503 => "503",
            _ => continue,
        };
        let recent = || faults.iter().filter(|fault| overlaps(fault, op, RECOVERY));
        let is_refusable = lifetimes.may_be_refused(op);
        if recent().any(|fault| affects(fault, op, is_refusable)) {
            continue;
        }
        let others: BTreeSet<&str> = recent().map(|fault| fault.what.as_str()).collect();
        let what = format!(
            "a request got {failure}, and no fault of the last 10 s explains it; the others: \
             {others:?}"
        );
        report.add(7, [index], what);
    }
}

/// The api's deadlines hold also during faults, except on the way to the api. Without a fault, a
/// request is one call to db.
fn delays(facts: &Facts<'_>, report: &mut Report) {
    for (index, op) in facts.operations() {
        let took = op.ended.saturating_sub(op.began);
        if took <= CALL_LIMIT + LOAD || matches!(op.call, Call::Restock { .. }) {
            continue;
        }
        let is_any = |is_it: &dyn Fn(&Fault) -> bool| facts.history.faults.iter().any(is_it);
        let is_affected = is_any(&|it| overlaps(it, op, RECOVERY) && affects(it, op, true));
        let is_held = is_any(&|it| overlaps(it, op, Duration::ZERO) && holds(it, op));
        let limit = if is_affected { REQUEST_LIMIT } else { CALL_LIMIT };
        if took > limit + LOAD && !is_held {
            let what = format!(
                "a request took {:.1} s, and its limit is {limit:?}; no fault held it back on the \
                 way to the api",
                took.as_secs_f64()
            );
            report.add(7, [index], what);
        }
    }
}
