//! Compares the rules of fields, which are `buf.validate` options. `buf breaking` ignores options.

use proto_rules::{Bounds, Constraint, FieldRules, Ignore, MessageRules, TextRules};

use crate::change::{Findings, Level};

/// How a rule changed. A rule can exclude some values and include others at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Difference {
    /// Some valid values became invalid.
    narrower: bool,
    /// Some invalid values became valid.
    wider: bool,
}

/// Compares the rules of a message. `fields` are the names of its fields in both releases, and
/// `(sent, received)` is whether clients send and receive the message.
pub(super) fn compare(
    message: &str,
    (was, is): (&MessageRules, &MessageRules),
    fields: &[(&str, &str)],
    (sent, received): (bool, bool),
    findings: &mut Findings,
) {
    let mut differences = Vec::new();
    for (old, new) in fields {
        let difference = Difference::of_fields(was.field(old), is.field(new));
        differences.push((*old, difference));
    }
    for oneof in was.required_oneofs.union(&is.required_oneofs) {
        let (was, is) = (was.required_oneofs.contains(oneof), is.required_oneofs.contains(oneof));
        differences.push((oneof, Difference { narrower: is && !was, wider: was && !is }));
    }
    for (name, difference) in differences {
        let place = format!("{message}.{name}");
        match difference {
            Difference { narrower: true, .. } if sent => findings.add(
                Level::Major,
                place,
                "its rule became narrower",
                "servers refuse requests that were valid",
            ),
            Difference { wider: true, .. } if received => findings.add(
                Level::Major,
                place,
                "its rule became wider",
                "clients rely on the former rule",
            ),
            Difference { narrower: false, wider: false } => {}
            Difference { .. } => {
                findings.add(Level::Minor, place, "its rule changed, without a break", "");
            }
        }
    }
}

impl Difference {
    const UNKNOWN: Self = Self { narrower: true, wider: true };

    fn or(self, other: Self) -> Self {
        Self { narrower: self.narrower || other.narrower, wider: self.wider || other.wider }
    }

    fn of_fields(was: &FieldRules, is: &FieldRules) -> Self {
        Self::of_limits(was.required, is.required)
            .or(Self::of_ignore(was.ignore, is.ignore))
            .or(Self::of_constraints(&was.constraint, &is.constraint))
    }

    /// Compares whether a limit exists.
    fn of_limits(was: bool, is: bool) -> Self {
        Self { narrower: is && !was, wider: was && !is }
    }

    fn of_ignore(was: Ignore, is: Ignore) -> Self {
        Self { narrower: is < was, wider: is > was }
    }

    fn of_constraints(was: &Constraint, is: &Constraint) -> Self {
        match (was, is) {
            (was, is) if was == is => Self::default(),
            (Constraint::Any, _) => Self { narrower: true, wider: false },
            (_, Constraint::Any) => Self { narrower: false, wider: true },
            (Constraint::Number(was), Constraint::Number(is)) => Self::of_bounds(*was, *is),
            (Constraint::Bytes(was), Constraint::Bytes(is)) => Self::of_lengths(*was, *is),
            (Constraint::Text(was), Constraint::Text(is)) => Self::of_texts(was, is),
            (
                Constraint::Enum { defined_only: was_defined, not_in: was_not },
                Constraint::Enum { defined_only: is_defined, not_in: is_not },
            ) => Self::of_limits(*was_defined, *is_defined).or(Self {
                narrower: is_not.iter().any(|number| !was_not.contains(number)),
                wider: was_not.iter().any(|number| !is_not.contains(number)),
            }),
            (
                Constraint::List { items: was, item: was_item },
                Constraint::List { items: is, item: is_item },
            ) => Self::of_lengths(*was, *is).or(Self::of_fields(was_item, is_item)),
            (
                Constraint::Map { pairs: was, keys: was_keys, values: was_values },
                Constraint::Map { pairs: is, keys: is_keys, values: is_values },
            ) => Self::of_lengths(*was, *is)
                .or(Self::of_fields(was_keys, is_keys))
                .or(Self::of_fields(was_values, is_values)),
            _ => Self::UNKNOWN,
        }
    }

    fn of_texts(was: &TextRules, is: &TextRules) -> Self {
        let bytes = |max| Bounds { min: None, max };
        Self::of_lengths(was.length, is.length)
            .or(Self::of_lengths(bytes(was.max_bytes), bytes(is.max_bytes)))
            .or(Self::of_values(was.pattern.as_ref(), is.pattern.as_ref()))
            .or(Self::of_values(was.format.as_ref(), is.format.as_ref()))
    }

    /// Compares limits that have no order.
    fn of_values<T: PartialEq>(was: Option<T>, is: Option<T>) -> Self {
        match (was, is) {
            (Some(was), Some(is)) if was != is => Self::UNKNOWN,
            (was, is) => Self::of_limits(was.is_some(), is.is_some()),
        }
    }

    /// Compares bounds of a number that is never negative.
    fn of_lengths(was: Bounds, is: Bounds) -> Self {
        let min = |bounds: Bounds| Bounds { min: Some(bounds.min.unwrap_or(0)), ..bounds };
        Self::of_bounds(min(was), min(is))
    }

    fn of_bounds(was: Bounds, is: Bounds) -> Self {
        let (was_min, is_min) = (was.min.unwrap_or(i64::MIN), is.min.unwrap_or(i64::MIN));
        let (was_max, is_max) = (was.max.unwrap_or(i64::MAX), is.max.unwrap_or(i64::MAX));
        Self {
            narrower: is_min > was_min || is_max < was_max,
            wider: is_min < was_min || is_max > was_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_rules::Format;

    use super::*;

    fn difference(was: Constraint, is: Constraint) -> Difference {
        let rules = |constraint| FieldRules { constraint, ..FieldRules::default() };
        Difference::of_fields(&rules(was), &rules(is))
    }

    const NONE: Difference = Difference { narrower: false, wider: false };
    const NARROWER: Difference = Difference { narrower: true, wider: false };
    const WIDER: Difference = Difference { narrower: false, wider: true };

    /// Asserts that the first constraint allows all values of the second.
    fn assert_wider(wide: &Constraint, narrow: &Constraint) {
        assert_eq!(difference(wide.clone(), narrow.clone()), NARROWER, "{wide:?} {narrow:?}");
        assert_eq!(difference(narrow.clone(), wide.clone()), WIDER, "{wide:?} {narrow:?}");
        assert_eq!(difference(wide.clone(), wide.clone()), NONE);
    }

    fn number(min: i64, max: i64) -> Bounds {
        Bounds { min: Some(min), max: Some(max) }
    }

    #[test]
    fn constraints_are_ordered() {
        let text = |rules| Constraint::Text(rules);
        let pattern = |pattern: &str| {
            text(TextRules { pattern: Some(pattern.to_owned()), ..TextRules::default() })
        };
        let item = |constraint| Box::new(FieldRules { constraint, ..FieldRules::default() });
        let one_to_three = Constraint::Number(number(1, 3));
        for (wide, narrow) in [
            (Constraint::Any, one_to_three.clone()),
            (Constraint::Number(number(0, 3)), one_to_three.clone()),
            (Constraint::Number(Bounds { min: Some(1), max: None }), one_to_three.clone()),
            (Constraint::Bytes(number(0, 9)), Constraint::Bytes(number(0, 8))),
            (text(TextRules::default()), pattern("^a$")),
            (
                text(TextRules::default()),
                text(TextRules { format: Some(Format::Ip), ..TextRules::default() }),
            ),
            (
                text(TextRules { length: number(1, 9), ..TextRules::default() }),
                text(TextRules { length: number(2, 9), ..TextRules::default() }),
            ),
            (
                text(TextRules { max_bytes: Some(9), ..TextRules::default() }),
                text(TextRules { max_bytes: Some(8), ..TextRules::default() }),
            ),
            (
                Constraint::Enum { defined_only: false, not_in: vec![] },
                Constraint::Enum { defined_only: true, not_in: vec![] },
            ),
            (
                Constraint::Enum { defined_only: true, not_in: vec![] },
                Constraint::Enum { defined_only: true, not_in: vec![0] },
            ),
            (
                Constraint::List { items: number(1, 9), item: item(Constraint::Any) },
                Constraint::List { items: number(1, 8), item: item(Constraint::Any) },
            ),
            (
                Constraint::List { items: number(1, 9), item: item(Constraint::Any) },
                Constraint::List { items: number(1, 9), item: item(pattern("^a$")) },
            ),
            (
                Constraint::Map {
                    pairs: number(0, 9),
                    keys: item(Constraint::Any),
                    values: item(Constraint::Any),
                },
                Constraint::Map {
                    pairs: number(0, 9),
                    keys: item(pattern("^a$")),
                    values: item(pattern("^b$")),
                },
            ),
        ] {
            assert_wider(&wide, &narrow);
        }
    }

    #[test]
    fn unordered_constraints_break_both_sides() {
        let text = |rules| Constraint::Text(rules);
        let pattern =
            |pattern: &str| TextRules { pattern: Some(pattern.to_owned()), ..TextRules::default() };
        assert_eq!(difference(text(pattern("^a$")), text(pattern("^b$"))), Difference::UNKNOWN);
        let length = |bounds| text(TextRules { length: bounds, ..TextRules::default() });
        assert_eq!(difference(length(number(1, 3)), length(number(2, 4))), Difference::UNKNOWN);
        assert_eq!(
            difference(Constraint::Number(number(1, 3)), length(number(1, 3))),
            Difference::UNKNOWN
        );
    }

    #[test]
    fn required_and_ignore_are_ordered() {
        let rules = |required, ignore| FieldRules { required, ignore, ..FieldRules::default() };
        let (free, required) = (rules(false, Ignore::Never), rules(true, Ignore::Never));
        assert_eq!(Difference::of_fields(&free, &required), NARROWER);
        assert_eq!(Difference::of_fields(&required, &free), WIDER);
        let if_zero = rules(false, Ignore::IfZero);
        assert_eq!(Difference::of_fields(&free, &if_zero), WIDER);
        assert_eq!(Difference::of_fields(&if_zero, &free), NARROWER);
    }

    #[test]
    fn direction_decides_whether_a_change_breaks() {
        let rules = |max| MessageRules {
            fields: [(
                "quantity".to_owned(),
                FieldRules {
                    constraint: Constraint::Number(number(1, max)),
                    ..FieldRules::default()
                },
            )]
            .into(),
            ..MessageRules::default()
        };
        let level = |was, is, direction| {
            let mut findings = Findings::default();
            let fields = [("quantity", "quantity")];
            compare("shop.Order", (&rules(was), &rules(is)), &fields, direction, &mut findings);
            let changes = findings.into_changes(crate::change::Detector::OwnRules);
            changes.iter().map(|change| change.level).max()
        };
        let (sent, received) = ((true, false), (false, true));
        assert_eq!(level(3, 2, sent), Some(Level::Major));
        assert_eq!(level(3, 2, received), Some(Level::Minor));
        assert_eq!(level(3, 5, sent), Some(Level::Minor));
        assert_eq!(level(3, 5, received), Some(Level::Major));
        assert_eq!(level(3, 5, (true, true)), Some(Level::Major));
        assert_eq!(level(3, 3, (true, true)), None);
    }

    #[test]
    fn required_oneofs_are_compared() {
        let level = |was: &[&str], is: &[&str], direction| {
            let rules = |names: &[&str]| MessageRules {
                required_oneofs: names.iter().map(|name| (*name).to_owned()).collect(),
                ..MessageRules::default()
            };
            let mut findings = Findings::default();
            compare("shop.Order", (&rules(was), &rules(is)), &[], direction, &mut findings);
            let changes = findings.into_changes(crate::change::Detector::OwnRules);
            changes.iter().map(|change| change.level).max()
        };
        assert_eq!(level(&[], &["by"], (true, false)), Some(Level::Major));
        assert_eq!(level(&["by"], &[], (true, false)), Some(Level::Minor));
        assert_eq!(level(&["by"], &[], (false, true)), Some(Level::Major));
        assert_eq!(level(&["by"], &["by"], (true, true)), None);
    }
}
