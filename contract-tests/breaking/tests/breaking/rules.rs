//! Our rules by themselves: every edit, in this process.

use contract_breaking::{
    Level,
    gate::{self, Report},
};
use semver::Version;

use crate::{breaking_edits, compatible_edits, edits::Edit, store::released};

fn report(edit: &Edit, version: Version) -> Report {
    let (before, after) = edit.apply(released());
    let changes =
        gate::ours(&before, &after).unwrap_or_else(|error| panic!("{}: {error}", edit.name));
    Report { released: before.version().unwrap(), current: version, changes }
}

/// Each edit that is judged otherwise than expected, with what was found.
fn misjudged(edits: &[Edit], fits: impl Fn(&Report) -> bool, version: &Version) -> String {
    let mut misjudged = String::new();
    for edit in edits {
        let report = report(edit, version.clone());
        if !fits(&report) {
            misjudged.push_str(&format!("{}: {:#?}\n", edit.name, report.changes));
        }
    }
    misjudged
}

#[test]
fn each_breaking_edit_of_openapi_is_refused() {
    let misjudged =
        misjudged(&breaking_edits::of_openapi(), Report::refused, &released().version().unwrap());
    assert!(misjudged.is_empty(), "{misjudged}");
}

#[test]
fn each_breaking_edit_of_the_protos_is_refused() {
    let misjudged =
        misjudged(&breaking_edits::of_proto(), Report::refused, &released().version().unwrap());
    assert!(misjudged.is_empty(), "{misjudged}");
}

#[test]
fn each_breaking_edit_passes_in_the_next_major() {
    let edits = [breaking_edits::of_openapi(), breaking_edits::of_proto()].concat();
    let next = Version::new(released().version().unwrap().major + 1, 0, 0);
    let announced = |report: &Report| !report.refused() && report.needs() == Some(Level::Major);
    let misjudged = misjudged(&edits, announced, &next);
    assert!(misjudged.is_empty(), "{misjudged}");
}

#[test]
fn each_compatible_edit_passes() {
    let edits = [compatible_edits::of_openapi(), compatible_edits::of_proto()].concat();
    let misjudged = misjudged(
        &edits,
        |report| report.needs() < Some(Level::Major),
        &released().version().unwrap(),
    );
    assert!(misjudged.is_empty(), "{misjudged}");
}

#[test]
fn nothing_and_another_version_are_no_change() {
    let same = gate::ours(released(), released()).unwrap();
    assert_eq!(same, []);
    let raised = crate::store::in_version(released(), "7.0.0");
    assert_eq!(gate::ours(released(), &raised).unwrap(), []);
}

#[test]
fn names_of_edits_are_told_apart() {
    let mut names: Vec<&str> = [breaking_edits::of_openapi(), compatible_edits::of_openapi()]
        .concat()
        .iter()
        .map(|edit| edit.name)
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
