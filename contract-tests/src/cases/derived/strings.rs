//! Strings of a given length that a schema allows, and strings that violate its pattern.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;
use uuid::Uuid;

use super::validator::SchemaValidator;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Letters and digits, random.
    Plain,
    /// Characters of several bytes.
    Wide,
}

/// Characters of four, three and two bytes.
const WIDE: [char; 3] = ['\u{1F98A}', '\u{5357}', '\u{E9}'];

/// Longer strings would exceed the size limit of requests.
pub(super) const MAX_LENGTH: usize = 10_000;

/// Returns an allowed string of exactly `length` characters, if this module finds one.
pub(super) fn of_length(
    validator: SchemaValidator<'_>,
    schema: &Value,
    length: usize,
    style: Style,
) -> Option<String> {
    let mut random = Random::new();
    let text = match (schema["format"].as_str(), style) {
        (Some("email"), Style::Plain) => email(length, &mut random)?,
        (Some("uuid"), Style::Plain) => Uuid::now_v7().to_string(),
        (Some("uri" | "uri-reference"), Style::Plain) => {
            "https://www.example.com/".chars().chain(random.letters()).take(length).collect()
        }
        (Some("password") | None, _) => match schema["pattern"].as_str() {
            Some(pattern) => matching(pattern, length, style, &mut random)?,
            None => (0..length)
                .map(|_| if style == Style::Wide { WIDE[0] } else { random.letter() })
                .collect(),
        },
        (Some(_), _) => return None,
    };
    let wide_enough = style == Style::Plain || text.is_empty() || !text.is_ascii();
    (text.chars().count() == length
        && wide_enough
        && validator.allows(schema, &Value::from(text.as_str())))
    .then_some(text)
}

/// Returns an allowed string that is new, as far as its length permits.
pub(super) fn fresh(validator: SchemaValidator<'_>, schema: &Value) -> Option<String> {
    let (least, greatest) = lengths(schema);
    let greatest = greatest.unwrap_or(MAX_LENGTH);
    // Long enough to be unique, short enough to be readable.
    let wanted = if schema["format"] == "email" { [36, 24, 16] } else { [15, 20, 36] };
    wanted
        .into_iter()
        .map(|length| length.clamp(least, greatest))
        .find_map(|length| of_length(validator, schema, length, Style::Plain))
}

/// Minimum and maximum length, by `minLength`, `maxLength` and an anchored pattern.
pub(super) fn lengths(schema: &Value) -> (usize, Option<usize>) {
    let bound =
        |keyword: &str| schema[keyword].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let whole_request = schema["pattern"]
        .as_str()
        .filter(|pattern| pattern.starts_with('^') && pattern.ends_with('$'));
    let (least, most) = whole_request
        .and_then(|pattern| regex_syntax::parse(pattern).ok())
        .map_or((0, None), |pattern| lengths_of(&pattern));
    let tighter = [bound("maxLength"), most].into_iter().flatten().min();
    (bound("minLength").unwrap_or(0).max(least), tighter)
}

/// Variations of a valid string that violate its pattern, each with a description.
pub(super) fn breaking_the_pattern(
    validator: SchemaValidator<'_>,
    schema: &Value,
    valid: &str,
) -> Vec<(String, String)> {
    let Some(pattern) = schema["pattern"].as_str() else { return Vec::new() };
    // Checks only the pattern.
    let allows = validator.over(&serde_json::json!({ "type": "string", "pattern": pattern }));
    let characters: Vec<char> = valid.chars().collect();
    let (first, last) = (0, characters.len());
    let with = |at: usize, intruder: char| -> String {
        // Replaces a character, which keeps the length; behind the last one it appends.
        let mut changed = characters.clone();
        if at < changed.len() {
            changed[at] = intruder
        } else {
            changed.push(intruder)
        }
        changed.into_iter().collect()
    };
    let mut broken = Vec::new();
    for (intruder, name) in ILLEGAL_CHARACTERS {
        for (at, place) in [
            (first, "at its start"),
            (last / 2, "in its middle"),
            (last.saturating_sub(1), "at its end"),
            (last, "after its end"),
        ] {
            let text = with(at, intruder);
            let short_enough =
                lengths(schema).1.is_none_or(|greatest| text.chars().count() <= greatest);
            if short_enough
                && !allows(&Value::from(text.as_str()))
                && !broken.iter().any(|(_, other)| *other == text)
            {
                broken.push((format!("with {name} {place}"), text));
            }
        }
    }
    if broken.len() <= MAX_VIOLATIONS {
        return broken;
    }
    // An odd step covers all positions and characters.
    let step = broken.len().div_ceil(MAX_VIOLATIONS) | 1;
    broken.into_iter().step_by(step).collect()
}

/// Approximate number of variations per pattern.
const MAX_VIOLATIONS: usize = 12;

/// Characters that patterns often forbid and checks often miss.
const ILLEGAL_CHARACTERS: [(char, &str); 9] = [
    ('\n', "a line feed"),
    (' ', "a space"),
    ('\0', "U+0000"),
    ('\u{E9}', "the letter \u{E9}"),
    ('\t', "a tab"),
    ('/', "a slash"),
    ('\u{1F98A}', "an emoji"),
    ('\u{0661}', "an Arabic digit"),
    ('%', "a percent sign"),
];

/// Strings that violate a format, each with a description; `valid` conforms.
pub(super) fn breaking_the_format(format: &str, valid: &str) -> Vec<(&'static str, String)> {
    let shorter: String = valid.chars().take(valid.chars().count().saturating_sub(1)).collect();
    let owned = |texts: &[(&'static str, &str)]| {
        texts.iter().map(|(what, text)| (*what, (*text).to_owned())).collect::<Vec<_>>()
    };
    match format {
        "uuid" => vec![
            ("a word", "not-a-uuid".to_owned()),
            ("a number", "12345".to_owned()),
            ("one digit short", shorter),
            ("one digit long", format!("{valid}0")),
            (
                "a letter that is not a hexadecimal digit",
                format!("{}g", valid.get(..35).unwrap_or_default()),
            ),
            ("hyphens in other places", format!("{}-", valid.replacen('-', "", 1))),
            ("a trailing space", format!("{valid} ")),
            ("a trailing line feed", format!("{valid}\n")),
        ],
        "email" => owned(&[
            ("no @", "john.mail.example.com"),
            ("nothing before the @", "@mail.example.com"),
            ("nothing after the @", "john@"),
            ("two @", "no@body@mail.example.com"),
            ("a space in it", "john doe@mail.example.com"),
            ("a name before it", "John Doe <john@mail.example.com>"),
            ("a dot at its start", ".john@mail.example.com"),
            ("a domain with an empty label", "john@mail..example.com"),
        ]),
        "date-time" => owned(&[
            ("a word", "yesterday"),
            ("a date alone", "2026-01-31"),
            ("no time zone", "2026-01-31T12:00:00"),
            ("an impossible date", "2026-02-30T12:00:00Z"),
            ("hour 25", "2026-01-31T25:00:00Z"),
            ("a number", "1764000000"),
        ]),
        "date" => owned(&[
            ("a word", "yesterday"),
            ("an impossible date", "2026-02-30"),
            ("the day first", "31-01-2026"),
        ]),
        "uri" => owned(&[
            ("a relative reference", "/relative"),
            ("a space in it", "https://example.com/a b"),
        ]),
        "uri-reference" => {
            owned(&[("a space in it", "/a b"), ("a broken percent-encoding", "/%zz")])
        }
        _ => Vec::new(),
    }
}

/// UUID spellings that `format: uuid` leaves open.
pub(super) fn other_spellings_of_a_uuid(valid: &str) -> [(&'static str, String); 4] {
    [
        ("in upper case", valid.to_uppercase()),
        ("in braces", format!("{{{valid}}}")),
        ("as a URN", format!("urn:uuid:{valid}")),
        ("without hyphens", valid.replace('-', "")),
    ]
}

/// An address with a local part of at most 64 and labels of at most 63 characters.
fn email(length: usize, random: &mut Random) -> Option<String> {
    const SHORT: &str = "@b.co";
    const LONG: &str = "@mail.example.com";
    let mut domain = if length < LONG.len() + 8 { SHORT } else { LONG }.to_owned();
    while length.checked_sub(domain.len())? > 64 {
        let label = (length - domain.len() - 1).min(61);
        let label: String = random.letters().take(label).collect();
        domain = format!("@{label}.{}", &domain[1..]);
    }
    let local = length - domain.len();
    (local > 0).then(|| random.letters().take(local).collect::<String>() + &domain)
}

fn matching(pattern: &str, length: usize, style: Style, random: &mut Random) -> Option<String> {
    let pattern = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    if write(&pattern, length, style, random, &mut text).is_none() {
        // Without an end anchor, anything may follow a match.
        let least = lengths_of(&pattern).0;
        text.clear();
        write(&pattern, least.min(length), style, random, &mut text)?;
        text.extend(random.letters().take(length.saturating_sub(text.chars().count())));
    }
    Some(text)
}

fn lengths_of(hir: &Hir) -> (usize, Option<usize>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (0, Some(0)),
        HirKind::Literal(literal) => {
            let count = String::from_utf8_lossy(&literal.0).chars().count();
            (count, Some(count))
        }
        HirKind::Class(_) => (1, Some(1)),
        HirKind::Capture(capture) => lengths_of(&capture.sub),
        HirKind::Repetition(repetition) => {
            let (least, greatest) = lengths_of(&repetition.sub);
            let most =
                repetition.max.and_then(|times| greatest.map(|greatest| greatest * times as usize));
            (least * repetition.min as usize, if greatest == Some(0) { Some(0) } else { most })
        }
        HirKind::Concat(parts) => {
            parts.iter().map(lengths_of).fold((0, Some(0)), |(least, most), (more, at_most)| {
                (least + more, most.zip(at_most).map(|(most, more)| most + more))
            })
        }
        HirKind::Alternation(parts) => {
            let all: Vec<(usize, Option<usize>)> = parts.iter().map(lengths_of).collect();
            let least = all.iter().map(|(least, _)| *least).min().unwrap_or(0);
            (
                least,
                all.iter()
                    .try_fold(0, |most, (_, greatest)| greatest.map(|greatest| most.max(greatest))),
            )
        }
    }
}

/// Appends a match of exactly `length` characters. May miss lengths of nested repetitions.
fn write(
    hir: &Hir,
    length: usize,
    style: Style,
    random: &mut Random,
    text: &mut String,
) -> Option<()> {
    let (least, most) = lengths_of(hir);
    if length < least || most.is_some_and(|most| length > most) {
        return None;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            text.push_str(std::str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(class) => {
            text.push(pick(class, style, random)?);
            Some(())
        }
        HirKind::Capture(capture) => write(&capture.sub, length, style, random, text),
        HirKind::Repetition(repetition) => {
            let (shortest, longest) = lengths_of(&repetition.sub);
            let at_most =
                repetition.max.map_or(length.max(repetition.min as usize), |times| times as usize);
            let fits = |times: &usize| {
                shortest * times <= length
                    && longest.is_none_or(|longest| longest.saturating_mul(*times) >= length)
            };
            let times = (repetition.min as usize..=at_most).find(fits)?;
            share(&vec![&*repetition.sub; times], length, style, random, text)
        }
        HirKind::Concat(parts) => {
            share(&parts.iter().collect::<Vec<_>>(), length, style, random, text)
        }
        HirKind::Alternation(parts) => {
            let part = parts.iter().find(|part| {
                let (least, most) = lengths_of(part);
                least <= length && most.is_none_or(|most| length <= most)
            })?;
            write(part, length, style, random, text)
        }
    }
}

/// Appends the parts in order. Each has its minimum; the first ones get the rest.
fn share(
    parts: &[&Hir],
    length: usize,
    style: Style,
    random: &mut Random,
    text: &mut String,
) -> Option<()> {
    let needed: usize = parts.iter().map(|part| lengths_of(part).0).sum();
    let mut spare = length.checked_sub(needed)?;
    for part in parts {
        let (least, most) = lengths_of(part);
        let more = most.map_or(spare, |most| (most - least).min(spare));
        spare -= more;
        write(part, least + more, style, random, text)?;
    }
    (spare == 0).then_some(())
}

fn pick(class: &Class, style: Style, random: &mut Random) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
        }
    };
    let has = |letter: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&letter));
    let wide = WIDE.into_iter().find(|letter| style == Style::Wide && has(letter));
    wide.or_else(|| random.letters().take(200).find(has))
        .or_else(|| ranges.first().map(|(first, _)| *first))
}

/// Random lower-case letters and digits: some strings are unique without regard to case.
struct Random(u128);

impl Random {
    fn new() -> Self {
        Self(Uuid::new_v4().as_u128())
    }

    fn letter(&mut self) -> char {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        // Knuth's 64-bit multiplier; the upper half is random.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(self.0 >> 100) as usize % LETTERS.len()])
    }

    fn letters(&mut self) -> impl Iterator<Item = char> {
        std::iter::from_fn(|| Some(self.letter()))
    }
}
