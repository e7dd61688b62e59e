//! Describes the valid values, for the errors of checks.

use prost_reflect::{FieldDescriptor, Kind};

use crate::{Bounds, Constraint, FieldRules, Format, Ignore, TextRules};

/// Describes the valid values of a field: "3 to 50 characters of [a-z]".
pub(crate) fn expected(rules: &FieldRules, field: &FieldDescriptor) -> String {
    let values = match &rules.constraint {
        Constraint::Any => "a value".to_owned(),
        Constraint::Number(bounds) => range(*bounds),
        Constraint::Text(rules) => text(rules),
        Constraint::Bytes(bounds) => format!("{} bytes", range(*bounds)),
        Constraint::Enum { defined_only: true, not_in } => {
            alternatives(&value_names(field, |number| !not_in.contains(&number)))
        }
        Constraint::Enum { defined_only: false, not_in } => {
            let names = value_names(field, |number| not_in.contains(&number));
            format!("a value other than {}", alternatives(&names))
        }
        Constraint::List { items, .. } => format!("{} items", range(*items)),
        Constraint::Map { pairs, .. } => format!("{} entries", range(*pairs)),
    };
    match (rules.ignore, &rules.constraint) {
        (Ignore::IfZero, Constraint::Number(_)) => format!("{values}, or 0"),
        (Ignore::IfZero, _) => format!("{values}, or empty"),
        (Ignore::Never | Ignore::Always, _) => values,
    }
}

/// Joins words with commas and "or".
pub(crate) fn alternatives(words: &[String]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn text(rules: &TextRules) -> String {
    let mut parts = Vec::new();
    let class = rules.pattern.as_deref().and_then(class);
    parts.extend(rules.format.map(|format| {
        match format {
            Format::Uuid => "a UUID in its text form of 36 characters",
            Format::Ip => "an IP address in text form",
        }
        .to_owned()
    }));
    if let Some(pattern) = rules.pattern.as_ref().filter(|_| class.is_none()) {
        parts.push(format!("a text that matches {pattern}"));
    }
    let characters = class.map_or_else(|| "characters".to_owned(), characters);
    if rules.length != Bounds::default() {
        parts.push(format!("{} {characters}", range(rules.length)));
    } else if class.is_some() {
        parts.push(characters);
    }
    parts.extend(rules.max_bytes.map(|max| format!("at most {} bytes", grouped(max))));
    parts.join(", ")
}

/// Names the characters of a class.
fn characters(class: &str) -> String {
    match class {
        "[!-~]" => "visible ASCII characters".to_owned(),
        "[0-9a-f]" => "lower-case hexadecimal digits".to_owned(),
        "[A-Z]" => "capital letters".to_owned(),
        "[A-Za-z0-9]" => "letters and digits".to_owned(),
        _ => format!("characters of {class}"),
    }
}

/// Returns the class of a pattern that limits only the characters: `[a-z]` of `^[a-z]*$`.
fn class(pattern: &str) -> Option<&str> {
    let class = pattern.strip_prefix('^')?.strip_suffix("*$")?;
    let inside = class.strip_prefix('[')?.strip_suffix(']')?;
    (!inside.contains(['[', ']'])).then_some(class)
}

fn value_names(field: &FieldDescriptor, named: impl Fn(i32) -> bool) -> Vec<String> {
    let Kind::Enum(declared) = field.kind() else { return Vec::new() };
    let values = declared.values().filter(|value| named(value.number()));
    values.map(|value| value.name().to_owned()).collect()
}

fn range(bounds: Bounds) -> String {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) if min == max => grouped(min),
        (Some(min), Some(max)) => format!("{} to {}", grouped(min), grouped(max)),
        (Some(min), None) => format!("at least {}", grouped(min)),
        (None, Some(max)) => format!("at most {}", grouped(max)),
        (None, None) => "any number of".to_owned(),
    }
}

/// Writes a number with a comma before each group of three digits.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
