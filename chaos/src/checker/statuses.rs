//! Promise 7: only a fault that affects requests makes them fail.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use super::{
    Report,
    facts::{Facts, status},
};
use crate::history::{Call, History, Moment, Operation};

/// After a fault, requests may fail for this long.
pub const RECOVERY: Duration = Duration::from_secs(20);

/// Returns whether a fault of this name can make requests fail: all but those that name `kafka` or
/// `logging`. `and` joins several faults.
#[must_use]
pub fn affects_requests(what: &str) -> bool {
    let is_of_events = |part: &str| {
        part.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "kafka" | "logging"))
    };
    what.split(" and ").any(|part| !is_of_events(part))
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
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
    for index in failed_requests(facts.history, Moment::ZERO..=Moment::MAX) {
        let failure = match status(facts.op(index)) {
            0 => "no response".to_owned(),
            status => status.to_string(),
        };
        let what = format!("a request got {failure}, and no fault of the last 20 s explains it");
        report.add(7, [index], what);
    }
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

/// Returns the operations of this time that failed with 503 or without a response although no fault
/// was active that [affects requests](affects_requests), and none had ended within [`RECOVERY`].
#[must_use]
pub fn failed_requests(history: &History, within: RangeInclusive<Moment>) -> Vec<usize> {
    let explained = |op: &Operation| {
        history.faults.iter().any(|fault| {
            affects_requests(&fault.what)
                && fault.began <= op.ended
                && op.began <= fault.ended.saturating_add(RECOVERY)
        })
    };
    let operations = history.operations.iter().enumerate();
    let failed = operations.filter(|(_, op)| {
        let failed = status(op) == 503 || status(op) == 0 && !op.impatient;
        within.contains(&op.began) && failed && !explained(op)
    });
    failed.map(|(index, _)| index).collect()
}
