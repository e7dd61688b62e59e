//! Text report: a table, then each failure with a curl command.

use std::fmt::{self, Write as _};

use super::{CaseOutcome, Cell, Outcome, Report, not_reached_message};
use crate::http::printable;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const DIM: &str = "2";

/// Returns the report as text; `colours` for a terminal. Table lines have at most 100 columns.
#[must_use]
pub fn table(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report, Paint { colours });
    text
}

#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn write(text: &mut String, report: &Report, paint: Paint) -> fmt::Result {
    writeln!(text, "{} at {}\n", report.document, report.url)?;
    let widest = report
        .operations
        .iter()
        .map(|operation| operation.id.len())
        .max()
        .unwrap_or_default()
        .max("operation".len());
    writeln!(
        text,
        "{}",
        paint.paint(BOLD, &format!("{:widest$}  status  {:<14}  cases", "operation", "outcome"))
    )?;
    for operation in &report.operations {
        let cells = report.cells.iter().filter(|((id, _), _)| *id == operation.id);
        for (index, ((_, status), cell)) in cells.enumerate() {
            let name = if index == 0 { operation.id.as_str() } else { "" };
            let (colour, word) = match &cell.outcome {
                Outcome::Passed => (GREEN, "passed"),
                Outcome::Failed => (RED, "failed"),
                Outcome::Unreachable(_) => (DIM, "not reachable"),
                Outcome::NotReached => (YELLOW, "not reached"),
            };
            let outcome = paint.paint(colour, &format!("{word:<14}"));
            writeln!(
                text,
                "{}",
                format!("{name:widest$}  {status:>6}  {outcome}  {}", note(cell)).trim_end()
            )?;
        }
    }
    for (index, (case, failure)) in report.failures().enumerate() {
        let heading = format!("{}. {} {}: {}", index + 1, case.operation, case.status, case.name);
        writeln!(
            text,
            "\n{}\n{}",
            paint.paint(RED, &printable(&heading)),
            printable(failure.message())
        )?;
        for exchange in failure.exchanges() {
            writeln!(
                text,
                "\n{}\n\n{}",
                indented(&exchange.request.curl()),
                indented(&exchange.raw_answer())
            )?;
        }
    }
    let mut gap = "\n";
    for (operation, status) in report.not_reached() {
        writeln!(
            text,
            "{gap}{} {}",
            paint.paint(YELLOW, "not reached:"),
            not_reached_message(operation, *status)
        )?;
        gap = "";
    }
    for warning in &report.warnings {
        writeln!(text, "{gap}{} {}", paint.paint(YELLOW, "warning:"), printable(warning))?;
        gap = "";
    }
    writeln!(text, "\n{}", summary(report, paint))
}

/// The last column: number of cases, or why the cell is unreachable.
fn note(cell: &Cell) -> String {
    let mut parts = Vec::new();
    let mut count = |number: usize, word: &str| {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    };
    count(cell.passed, "passed");
    count(cell.failed, "failed");
    count(cell.skipped, "not run");
    match &cell.outcome {
        Outcome::Unreachable(why) => parts.push(why.clone()),
        Outcome::Passed | Outcome::Failed if cell.passed + cell.failed == 0 => {
            parts.push("answered in other cases".to_owned())
        }
        Outcome::Passed | Outcome::Failed | Outcome::NotReached => {}
    }
    parts.join(", ")
}

fn summary(report: &Report, paint: Paint) -> String {
    let (passed, failed, skipped) = report.counts();
    let cells =
        |is: fn(&Outcome) -> bool| report.cells.values().filter(|cell| is(&cell.outcome)).count();
    let reached = cells(|outcome| matches!(outcome, Outcome::Passed | Outcome::Failed));
    let mut text = format!(
        "{passed} cases passed, {failed} failed, {skipped} not run; {} requests, {} users, {} orders, {:.1} s\n\
         {reached} of {} declared statuses reached, {} not reachable by clients",
        report.requests,
        report.users,
        report.orders,
        report.duration.as_secs_f64(),
        report.cells.len(),
        cells(|outcome| matches!(outcome, Outcome::Unreachable(_)))
    );
    let mut reasons: Vec<&str> = report
        .cases
        .iter()
        .filter_map(|case| match &case.outcome {
            CaseOutcome::Skipped(why) => Some(why.as_str()),
            CaseOutcome::Passed | CaseOutcome::Failed(_) => None,
        })
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    for why in reasons {
        let _ = write!(text, "\nnot run: {why}"); // writing to a String cannot fail
    }
    let verdict = if report.interrupted {
        paint.paint(RED, "Interrupted before the end.")
    } else if report.failed() {
        paint.paint(RED, "The implementation does not conform to the document.")
    } else {
        paint.paint(
            GREEN,
            "The implementation conforms to the document, as far as this run tested it.",
        )
    };
    format!("{text}\n{verdict}")
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
