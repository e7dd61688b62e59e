//! JUnit XML report: a suite per operation, and a test case per case and per cell that no case
//! reached.

use std::fmt::{self, Write as _};

use super::{CaseOutcome, Report, not_reached_message};

/// Returns the report as XML.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(text: &mut String, report: &Report) -> fmt::Result {
    let (_, failed, skipped) = report.counts();
    let unreached_cells = report.not_reached().count();
    writeln!(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    if let Some(why) = &report.not_tested {
        writeln!(
            text,
            "<testsuites name=\"{}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0.000\">",
            escape(&report.document)
        )?;
        writeln!(
            text,
            "  <testsuite name=\"run\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0.000\">"
        )?;
        let name = "the implementation can be tested";
        writeln!(
            text,
            "    <testcase classname=\"run\" name=\"{name}\" time=\"0.000\"><error message=\"{}\"/></testcase>",
            escape(why)
        )?;
        return writeln!(text, "  </testsuite>\n</testsuites>");
    }
    writeln!(
        text,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\">",
        escape(&report.document),
        report.cases.len() + unreached_cells,
        failed + unreached_cells,
        report.duration.as_secs_f64()
    )?;
    for operation in &report.operations {
        let cases: Vec<_> =
            report.cases.iter().filter(|case| case.operation == operation.id).collect();
        let unreached_here: Vec<u16> = report
            .not_reached()
            .filter(|(id, _)| *id == operation.id)
            .map(|(_, status)| *status)
            .collect();
        let failed =
            cases.iter().filter(|case| matches!(case.outcome, CaseOutcome::Failed(_))).count();
        let skipped =
            cases.iter().filter(|case| matches!(case.outcome, CaseOutcome::Skipped(_))).count();
        let time: f64 = cases.iter().map(|case| case.duration.as_secs_f64()).sum();
        let class = escape(&format!("{}.{}", operation.tag, operation.id));
        writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{skipped}\" time=\"{time:.3}\">",
            escape(&operation.id),
            cases.len() + unreached_here.len(),
            failed + unreached_here.len()
        )?;
        for case in cases {
            let name = escape(&format!("{} {}", case.status, case.name));
            write!(
                text,
                "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{:.3}\"",
                case.duration.as_secs_f64()
            )?;
            match &case.outcome {
                CaseOutcome::Passed => writeln!(text, "/>")?,
                CaseOutcome::Skipped(why) => {
                    writeln!(text, "><skipped message=\"{}\"/></testcase>", escape(why))?
                }
                CaseOutcome::Failed(failure) => writeln!(
                    text,
                    "><failure message=\"{}\">{}</failure></testcase>",
                    escape(failure.message()),
                    escape(&failure.to_string())
                )?,
            }
        }
        for status in unreached_here {
            writeln!(
                text,
                "    <testcase classname=\"{class}\" name=\"{status} is reached\" time=\"0.000\"><failure message=\"{}\"/></testcase>",
                escape(&not_reached_message(&operation.id, status))
            )?;
        }
        writeln!(text, "  </testsuite>")?;
    }
    writeln!(text, "</testsuites>")
}

/// Escapes text and attributes. Characters that XML 1.0 forbids become their code in braces.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\r' => escaped.push_str("&#13;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.extend(character.escape_unicode()),
            control if control.is_control() => escaped.extend(control.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}
