//! Promises 4 and 7: processes run, and what failed has recovered.

use super::Report;
use crate::books::Books;

pub(super) fn check(books: &Books, report: &mut Report) {
    for panic in &books.panics {
        report.add(7, [], panic.clone());
    }
    for exit in &books.exits {
        let (role, status) = (&exit.role, &exit.status);
        // A role that cannot start exits with code 1, and its supervisor starts it again.
        let what = match (exit.was_ready, exit.code) {
            (false, Some(1)) => continue,
            (true, _) => format!("{role} exited by itself after it was ready: {status}"),
            (false, _) => format!("{role} exited by itself at its start: {status}"),
        };
        report.add(7, [], what);
    }
    for failure in &books.failures {
        match failure.promise {
            Some(promise) => report.add(promise, [], failure.what.clone()),
            None => report.failures.push(failure.what.clone()),
        }
    }
}
