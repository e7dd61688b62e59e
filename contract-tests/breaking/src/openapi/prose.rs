//! The one thing in prose that programs match on: the `code` words of a problem, which the
//! descriptions name.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::change::Findings;

/// The words that `Problem`'s description names, each between backticks.
pub(super) fn codes(document: &Value) -> BTreeSet<String> {
    let mut codes = words(&document["components"]["schemas"]["Problem"]);
    codes.remove("code");
    codes
}

/// Holds the words of all problems against one another.
pub(super) fn compare_codes(old: &Value, new: &Value, findings: &mut Findings) {
    let (old, new) = (codes(old), codes(new));
    for code in old.difference(&new) {
        findings.breaking(
            "schema Problem",
            format!("its description does not name the code `{code}` any more"),
            "programs match on it",
        );
    }
    for code in new.difference(&old) {
        findings.compatible("schema Problem", format!("its description names the code `{code}`"));
    }
}

/// Holds the words of one response against one another.
pub(super) fn compare_response(
    place: &str,
    codes: &BTreeSet<String>,
    was: &Value,
    is: &Value,
    findings: &mut Findings,
) {
    let (old, new) = (words(was), words(is));
    for code in old.difference(&new).filter(|word| codes.contains(*word)) {
        findings.breaking(
            place,
            format!("its description does not name the code `{code}` any more"),
            "programs match on it",
        );
    }
    for code in new.difference(&old).filter(|word| codes.contains(*word)) {
        findings.compatible(place, format!("its description names the code `{code}`"));
    }
}

/// The lower_snake words between backticks in a description.
fn words(value: &Value) -> BTreeSet<String> {
    let description = value["description"].as_str().unwrap_or_default();
    let quoted = description.split('`').skip(1).step_by(2);
    let is_word = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(is_word).map(str::to_owned).collect()
}
