//! Entity tags and conditional requests (RFC 9110 §8.8.3, §13.1).

use poem_contract_runtime::{Fault, Location};

use crate::problem::Problem;

/// Returns the entity tag of a version: `"7"`.
pub(crate) fn from_version(version: i64) -> String {
    format!("\"{version}\"")
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Any,
    OneOf(Vec<Tag<'a>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// Uses the weak comparison (§13.1.2).
///
/// # Errors
/// 400 if the header is not a list of entity tags.
pub(crate) fn matches_if_none_match(header: Option<&str>, tag: &str) -> Result<bool, Problem> {
    let Some(header) = header else { return Ok(false) };
    match parse(header) {
        Some(Condition::Any) => Ok(true),
        Some(Condition::OneOf(tags)) => Ok(tags.iter().any(|named| named.opaque == tag)),
        None => Err(malformed("If-None-Match")),
    }
}

/// Versions start at 1.
const NO_VERSION: i64 = 0;

/// Returns the versions that `If-Match` lists; empty if every version matches, [`NO_VERSION`] if
/// none can. Weak tags never match (§13.1.1).
///
/// # Errors
/// 400 if the header is not a list of entity tags.
pub(crate) fn expected_versions(header: Option<&str>) -> Result<Vec<i64>, Problem> {
    let Some(header) = header else { return Ok(Vec::new()) };
    match parse(header) {
        Some(Condition::Any) => Ok(Vec::new()),
        Some(Condition::OneOf(tags)) => {
            let mut versions: Vec<i64> = tags
                .into_iter()
                .filter(|tag| !tag.weak)
                .filter_map(|tag| version(tag.opaque))
                .collect();
            versions.sort_unstable();
            versions.dedup();
            if versions.is_empty() {
                versions.push(NO_VERSION);
            }
            Ok(versions)
        }
        None => Err(malformed("If-Match")),
    }
}

fn version(opaque: &str) -> Option<i64> {
    let version = opaque.trim_matches('"').parse().ok()?;
    (from_version(version) == opaque && version > NO_VERSION).then_some(version)
}

fn malformed(header: &str) -> Problem {
    let detail = "expected `*`, or entity tags in double quotes, separated by commas";
    Problem::invalid_request(Fault::of_parameter(Location::Header, header, detail))
}

/// Parses `*` or a list of tags. The list may have empty elements (§5.6.1).
fn parse(header: &str) -> Option<Condition<'_>> {
    let blank = [' ', '\t'];
    let mut rest = header.trim_matches(blank);
    if rest == "*" {
        return Some(Condition::Any);
    }
    let mut tags = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start_matches(blank);
            continue;
        }
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |after| (true, after));
        let inside = quoted.strip_prefix('"')?;
        let length = inside.find('"')?;
        if inside[..length].bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        tags.push(Tag { weak, opaque: &quoted[..length + 2] });
        rest = quoted[length + 2..].trim_start_matches(blank);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Condition::OneOf(tags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    const MALFORMED: [&str; 10] =
        ["", " ", ",", "1", "\"1", "1\"", "\"1\" \"2\"", "w/\"1\"", "\"a b\"", "*, \"1\""];

    #[test]
    fn if_none_match_compares_weakly() {
        for (header, holds) in [
            (None, false),
            (Some("*"), true),
            (Some("\"7\""), true),
            (Some("W/\"7\""), true),
            (Some("\"6\""), false),
            (Some("\"6\", \"7\""), true),
            (Some(" , \"6\",,W/\"7\" , "), true),
            (Some("\"a,b\""), false),
            (Some("\"\""), false),
        ] {
            assert_eq!(matches_if_none_match(header, "\"7\""), Ok(holds), "{header:?}");
        }
        for header in MALFORMED {
            assert_eq!(
                matches_if_none_match(Some(header), "\"7\"").expect_err(header).code(),
                Code::InvalidRequest
            );
        }
    }

    #[test]
    fn if_match_lists_expected_versions() {
        for (header, versions) in [
            (None, vec![]),
            (Some("*"), vec![]),
            (Some("\"7\""), vec![7]),
            (Some("\"7\", \"3\",\"7\""), vec![3, 7]),
            (Some("W/\"7\""), vec![NO_VERSION]),
            (Some("W/\"7\", \"8\""), vec![8]),
            (Some("\"abc\""), vec![NO_VERSION]),
            (Some("\"07\""), vec![NO_VERSION]),
            (Some("\"+7\""), vec![NO_VERSION]),
            (Some("\"-7\""), vec![NO_VERSION]),
            (Some("\"0\""), vec![NO_VERSION]),
            (Some("\"99999999999999999999\""), vec![NO_VERSION]),
        ] {
            assert_eq!(expected_versions(header), Ok(versions), "{header:?}");
        }
        for header in MALFORMED {
            assert_eq!(
                expected_versions(Some(header)).expect_err(header).code(),
                Code::InvalidRequest
            );
        }
    }
}
