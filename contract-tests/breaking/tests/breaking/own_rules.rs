//! The rules of this crate, without tools.

use contract_breaking::{Change, Level, openapi, proto};

use crate::{
    breaking_edits,
    checkout::{in_version, released},
    compatible_edits, detection,
    edits::Edit,
};

/// Returns the changes of an edit that the rules find.
fn changes(edit: &Edit) -> Vec<Change> {
    let (before, after) = edit.apply(released());
    let mut changes = openapi::breaks(&before.openapi, &after.openapi);
    changes.extend(proto::changes(&before.compile().unwrap(), &after.compile().unwrap()));
    changes
}

fn finds_break(edit: &Edit) -> bool {
    changes(edit).iter().any(|change| change.level == Level::Major)
}

#[test]
fn own_rules_refuse_edits_that_the_tools_miss() {
    let edits = [breaking_edits::of_openapi(), breaking_edits::of_proto()].concat();
    let missed_by_tools = detection::missed_by_tools();
    assert!(!missed_by_tools.is_empty());
    for name in missed_by_tools {
        let edit = edits.iter().find(|edit| edit.name == name);
        let edit = edit.unwrap_or_else(|| panic!("{name} is not an edit; update the table"));
        assert!(finds_break(edit), "{name}");
    }
}

#[test]
fn own_rules_accept_compatible_edits() {
    for edit in [compatible_edits::of_openapi(), compatible_edits::of_proto()].concat() {
        assert!(!finds_break(&edit), "{}: {:#?}", edit.name, changes(&edit));
    }
}

#[test]
fn version_bump_is_not_a_change() {
    let raised = in_version(released(), "7.0.0");
    assert_eq!(openapi::breaks(&released().openapi, &raised.openapi), []);
    assert_eq!(openapi::other_changes(&released().openapi, &raised.openapi), []);
}

#[test]
fn additions_are_minor_and_prose_is_patch() {
    let level = |name: &str| {
        let edits = [compatible_edits::of_openapi(), compatible_edits::of_proto()].concat();
        let edit = edits.iter().find(|edit| edit.name == name).unwrap();
        let (before, after) = edit.apply(released());
        let mut changes = openapi::other_changes(&before.openapi, &after.openapi);
        let (before, after) = (before.compile().unwrap(), after.compile().unwrap());
        changes.extend(proto::changes(&before, &after));
        if changes.is_empty() {
            changes = proto::other_changes(&before, &after);
        }
        changes.iter().map(|change| change.level).max()
    };
    for name in ["link added", "problem code added", "field added", "field deprecated"] {
        assert_eq!(level(name), Some(Level::Minor), "{name}");
    }
    for name in [
        "summary, example and schema description changed",
        "title, contact and licence changed",
        "code sample added",
        "comment changed",
    ] {
        assert_eq!(level(name), Some(Level::Patch), "{name}");
    }
}

#[test]
fn names_of_edits_are_unique() {
    let lists = [
        breaking_edits::of_openapi(),
        breaking_edits::of_proto(),
        compatible_edits::of_openapi(),
        compatible_edits::of_proto(),
    ];
    let mut names: Vec<&str> = lists.concat().iter().map(|edit| edit.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
