//! The table on the terminal.

use super::{Measurement, Report, Scenario};
use crate::numbers::{Spread, significant};

/// The processes in the order of a request.
pub(super) const PROCESSES: [&str; 8] =
    ["embedded", "bare server", "api", "db", "logging", "postgres", "kafka", "load"];

pub(super) fn of(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{} cores ({}), {} MiB, Linux {}; {} s a measurement, {} repeats, hash cost {}, \
         revision {}\n",
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        report.seconds,
        report.repeats,
        report.hash_cost,
        report.commit
    );
    for doubt in machine.doubts() {
        text.push_str(&format!("{doubt} Ratios are less affected than other figures.\n"));
    }
    for scenario in &report.scenarios {
        text.push_str(&format!("\n## {}\n{}\n\n", scenario.name, scenario.about));
        text.push_str(&aligned(&findings(scenario)));
        text.push('\n');
        text.push_str(&aligned(&measurements(scenario, machine.cores)));
        for note in &scenario.notes {
            text.push_str(&format!("{note}\n"));
        }
    }
    text
}

/// Rows of cells; the first is the heading.
pub(super) type Rows = Vec<Vec<String>>;

pub(super) fn findings(scenario: &Scenario) -> Rows {
    let mut rows = vec![row(&["result: median (min–max)", "", "target", ""])];
    for finding in &scenario.findings {
        let met = match finding.meets_target() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let value = format!("{} {}", finding.spread, finding.unit);
        rows.push(row(&[&finding.name, value.trim(), &finding.target_text(), met]));
    }
    rows
}

/// Returns one row for each case, with the medians of its repeats.
pub(super) fn measurements(scenario: &Scenario, cores: usize) -> Rows {
    let cases = scenario.cases();
    let used = |name: &&str| scenario.measurements.iter().any(|it| it.cpu.contains_key(*name));
    let processes: Vec<&str> = PROCESSES.into_iter().filter(used).collect();
    let mut heading = row(&["case", "per second", "p50 ms", "p99 ms", "p99.9", "drain s"]);
    heading.extend(processes.iter().map(|process| format!("{process} µs")));
    heading
        .extend(row(&["MiB", "sent B", "recv B", "stmts", "commits", "WAL B", "failed", "noise"]));
    let mut rows = vec![heading];
    for (key, measurements) in cases {
        let spread = |value: &dyn Fn(&Measurement) -> f64| {
            let values: Vec<f64> = measurements.iter().map(|it| value(it)).collect();
            Spread::of(&values).unwrap_or_default()
        };
        let median = |value: &dyn Fn(&Measurement) -> f64| significant(spread(value).median);
        // pgbench and hashes have no percentiles.
        let has_latency = measurements.iter().any(|it| it.latency.max > 0.0);
        let latency = |value: &dyn Fn(&Measurement) -> f64| {
            if has_latency { median(value) } else { String::new() }
        };
        let mut row = vec![
            key,
            spread(&|it| it.rate).to_string(),
            latency(&|it| it.latency.p50),
            latency(&|it| it.latency.p99),
            latency(&|it| it.latency.p999),
        ];
        let has_drain = measurements.iter().any(|it| it.drain_seconds.is_some());
        let drain = median(&|it| it.drain_seconds.unwrap_or(0.0));
        row.push(if has_drain { drain } else { String::new() });
        for process in &processes {
            let has = measurements.iter().any(|it| it.cpu.contains_key(*process));
            row.push(if has { median(&|it| it.cpu_of(&[process])) } else { String::new() });
        }
        // Of the store alone.
        let memory = |it: &Measurement| -> f64 {
            ["api", "db", "logging", "embedded"]
                .iter()
                .filter_map(|name| it.memory.get(*name))
                .sum()
        };
        row.push(median(&memory));
        row.push(median(&|it| it.sent));
        row.push(median(&|it| it.received));
        let has_database = measurements.iter().any(|it| it.database.is_some());
        for value in [
            median(&|it| it.database.unwrap_or_default().statements),
            median(&|it| it.database.unwrap_or_default().commits),
            median(&|it| it.database.unwrap_or_default().wal),
        ] {
            row.push(if has_database { value } else { String::new() });
        }
        let failed: u64 = measurements.iter().flat_map(|it| it.unexpected.values()).sum();
        row.push(if failed == 0 { String::new() } else { failed.to_string() });
        let noisy = measurements.iter().filter(|it| it.is_noisy(cores)).count();
        row.push(if noisy == 0 {
            String::new()
        } else {
            format!(
                "{noisy} of {}, up to {:.1} cores",
                measurements.len(),
                spread(&|it| it.other_cores).max
            )
        });
        rows.push(row);
    }
    without_empty_columns(rows)
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn without_empty_columns(rows: Rows) -> Rows {
    let columns = rows.first().map_or(0, Vec::len);
    let is_used =
        |column: usize| rows.iter().skip(1).any(|row| !matches!(row[column].as_str(), "" | "0"));
    let used: Vec<bool> = (0..columns).map(is_used).collect();
    let kept = |row: Vec<String>| {
        row.into_iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell).collect()
    };
    rows.into_iter().map(kept).collect()
}

/// Aligns the first column to the left and the others to the right. Returns nothing without rows
/// below the heading.
pub(super) fn aligned(rows: &Rows) -> String {
    if rows.len() < 2 {
        return String::new();
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.chars().count());
            if column == 0 {
                line.push_str(&format!("{cell}{space}"));
            } else {
                line.push_str(&format!("  {space}{cell}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn columns_are_aligned() {
        let rows = vec![row(&["case", "x"]), row(&["a ÷ b", "10"]), row(&["a", "1"])];
        assert_eq!(aligned(&rows), "case    x\na ÷ b  10\na       1\n");
        assert_eq!(aligned(&rows[..1].to_vec()), "");
    }

    #[test]
    fn empty_columns_are_left_out() {
        let report = report(&[(80.0, 10.0)]);
        let rows = measurements(&report.scenarios[0], 2);
        assert_eq!(rows[0], ["case", "per second"]);
        assert_eq!(rows[1], ["store @64", "80.0 (80.0–80.0)"]);
    }
}
