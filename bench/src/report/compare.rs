//! Compares two reports.

use super::{Finding, Goal, Report, table};

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// The spreads overlap.
    Same,
}

impl Verdict {
    fn of(old: &Finding, new: &Finding) -> Self {
        let (is_above, is_below) =
            (new.spread.min > old.spread.max, new.spread.max < old.spread.min);
        match (new.goal, is_above, is_below) {
            (Goal::More, true, _) | (Goal::Less, _, true) => Self::Better,
            (Goal::More, _, true) | (Goal::Less, true, _) => Self::Worse,
            (_, false, false) => Self::Same,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Same => "same within the spreads",
        }
    }
}

/// Returns a table of all results of both reports, and whether none became worse.
pub(crate) fn compare(old: &Report, new: &Report) -> (String, bool) {
    let heading = ["result: median (min–max)", "old", "new", "change", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut none_worse = true;
    for scenario in &new.scenarios {
        let Some(before) = old.scenarios.iter().find(|it| it.name == scenario.name) else {
            continue;
        };
        for finding in &scenario.findings {
            let same = |it: &&Finding| it.name == finding.name && it.unit == finding.unit;
            let Some(earlier) = before.findings.iter().find(same) else { continue };
            let verdict = Verdict::of(earlier, finding);
            none_worse &= verdict != Verdict::Worse;
            let change = finding.spread.median / earlier.spread.median - 1.0;
            rows.push(vec![
                format!("{}: {}", scenario.name, finding.name),
                earlier.spread.to_string(),
                format!("{} {}", finding.spread, finding.unit).trim().to_owned(),
                if change.is_finite() {
                    format!("{:+.0} %", change * 100.0)
                } else {
                    String::new()
                },
                verdict.as_str().to_owned(),
            ]);
        }
    }
    if rows.len() == 1 {
        return ("The reports have no result in common.\n".to_owned(), true);
    }
    let mut text = table::aligned(&rows);
    for (name, report) in [("old", old), ("new", new)] {
        for doubt in report.machine.doubts() {
            text.push_str(&format!("{name}: {doubt}\n"));
        }
    }
    (text, none_worse)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn change_counts_if_spreads_do_not_overlap() {
        let old = report(&[(80.0, 10.0), (90.0, 10.0)]);
        for (rates, verdict, none_worse) in [
            ([(95.0, 10.0), (99.0, 10.0)], "better", true),
            ([(85.0, 10.0), (99.0, 10.0)], "same within", true),
            ([(70.0, 10.0), (79.0, 10.0)], "WORSE", false),
        ] {
            let (text, result) = compare(&old, &report(&rates));
            assert!(text.contains(verdict), "{text}");
            assert_eq!(result, none_worse);
        }
    }

    #[test]
    fn lower_is_better_for_times() {
        let mut old = report(&[(80.0, 10.0)]);
        let mut new = report(&[(90.0, 10.0)]);
        for report in [&mut old, &mut new] {
            report.scenarios[0].findings[0].goal = Goal::Less;
        }
        assert!(!compare(&old, &new).1);
        assert!(compare(&new, &old).1);
    }

    #[test]
    fn reports_without_a_common_result_say_so() {
        let (old, mut new) = (report(&[(80.0, 10.0)]), report(&[(80.0, 10.0)]));
        new.scenarios[0].name = "rush".to_owned();
        assert_eq!(compare(&old, &new).0, "The reports have no result in common.\n");
    }
}
