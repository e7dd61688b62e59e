//! Bounds and patterns: whether a schema has become narrower or wider.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{UNKNOWN, Way, is_true};
use crate::change::Findings;

/// Lower bounds, the keyword that makes each exclusive, and what is meant where there is none.
const LOWER: [(&str, &str, Option<u64>); 4] = [
    ("minimum", "exclusiveMinimum", None),
    ("minLength", "", Some(0)),
    ("minItems", "", Some(0)),
    ("minProperties", "", Some(0)),
];
const UPPER: [(&str, &str); 4] =
    [("maximum", "exclusiveMaximum"), ("maxLength", ""), ("maxItems", ""), ("maxProperties", "")];

/// What has become of the values that a keyword allows.
enum Moved {
    Fewer,
    More,
    Unclear,
}

pub(super) fn compare(place: &str, was: &Value, is: &Value, way: Way, findings: &mut Findings) {
    for (keyword, exclusive, absent) in LOWER {
        let bound = |schema: &Value| {
            schema
                .get(keyword)
                .and_then(Value::as_number)
                .cloned()
                .or_else(|| absent.map(Number::from))
        };
        report(
            place,
            keyword,
            exclusive,
            (bound(was), bound(is)),
            (was, is),
            Ordering::Greater,
            way,
            findings,
        );
    }
    for (keyword, exclusive) in UPPER {
        let bound = |schema: &Value| schema.get(keyword).and_then(Value::as_number).cloned();
        report(
            place,
            keyword,
            exclusive,
            (bound(was), bound(is)),
            (was, is),
            Ordering::Less,
            way,
            findings,
        );
    }
    let moved = match (was.get("pattern"), is.get("pattern")) {
        (old, new) if old == new => None,
        (None, _) => Some(Moved::Fewer),
        (_, None) => Some(Moved::More),
        // Whether one language lies in another nobody proves here.
        _ => Some(Moved::Unclear),
    };
    tell(place, "pattern", moved, way, findings);
    let moved = match (is_true(was, "uniqueItems"), is_true(is, "uniqueItems")) {
        (false, true) => Some(Moved::Fewer),
        (true, false) => Some(Moved::More),
        _ => None,
    };
    tell(place, "uniqueItems", moved, way, findings);
}

#[expect(
    clippy::too_many_arguments,
    reason = "one bound on both sides, with all that says what it means"
)]
fn report(
    place: &str,
    keyword: &str,
    exclusive: &str,
    (old, new): (Option<Number>, Option<Number>),
    (was, is): (&Value, &Value),
    narrower: Ordering,
    way: Way,
    findings: &mut Findings,
) {
    let moved = match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Moved::Fewer),
        (Some(_), None) => Some(Moved::More),
        (Some(old), Some(new)) => match order(&new, &old) {
            None => Some(Moved::Unclear),
            Some(Ordering::Equal) => match (was.get(exclusive), is.get(exclusive)) {
                (old, new) if old == new => None,
                // A number there is another version of OpenAPI.
                _ if was.get(exclusive).is_some_and(Value::is_number)
                    || is.get(exclusive).is_some_and(Value::is_number) =>
                {
                    Some(Moved::Unclear)
                }
                _ => match (is_true(was, exclusive), is_true(is, exclusive)) {
                    (false, true) => Some(Moved::Fewer),
                    (true, false) => Some(Moved::More),
                    _ => None,
                },
            },
            Some(order) if order == narrower => Some(Moved::Fewer),
            Some(_) => Some(Moved::More),
        },
    };
    tell(place, keyword, moved, way, findings);
}

fn tell(place: &str, keyword: &str, moved: Option<Moved>, way: Way, findings: &mut Findings) {
    match (moved, way) {
        (None, _) => {}
        (Some(Moved::Fewer), Way::Request) => findings.breaking(
            place,
            format!("`{keyword}` allows less"),
            "requests that were good are refused",
        ),
        (Some(Moved::More), Way::Response) => findings.breaking(
            place,
            format!("`{keyword}` allows more"),
            "clients are answered what they were told cannot come",
        ),
        (Some(Moved::Fewer), Way::Response) => {
            findings.compatible(place, format!("`{keyword}` allows less"))
        }
        (Some(Moved::More), Way::Request) => {
            findings.compatible(place, format!("`{keyword}` allows more"))
        }
        (Some(Moved::Unclear), _) => {
            findings.breaking(place, format!("`{keyword}` is another"), UNKNOWN)
        }
    }
}

/// Exact for whole numbers, which may be larger than a float holds.
fn order(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}
