//! Texts that a schema allows, of a length to choose, and texts that break its pattern.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;
use uuid::Uuid;

use super::judge::Judge;

/// Which characters a text is made of, where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Letters and digits, other for each text.
    Plain,
    /// Characters of several bytes.
    Wide,
}

/// Characters of four, three and two bytes.
const WIDE: [char; 3] = ['\u{1F98A}', '\u{5357}', '\u{E9}'];

/// More than any bound that is tried: a longer text would be refused for the size of the request.
pub(super) const LONGEST: usize = 10_000;

/// A text of exactly `length` characters that the schema allows, if there is one that this module
/// finds.
pub(super) fn of_length(
    judge: Judge<'_>,
    schema: &Value,
    length: usize,
    style: Style,
) -> Option<String> {
    let mut dice = Dice::new();
    let text = match (schema["format"].as_str(), style) {
        (Some("email"), Style::Plain) => email(length, &mut dice)?,
        (Some("uuid"), Style::Plain) => Uuid::now_v7().to_string(),
        (Some("uri" | "uri-reference"), Style::Plain) => {
            "https://www.example.com/".chars().chain(dice.letters()).take(length).collect()
        }
        (Some("password") | None, _) => match schema["pattern"].as_str() {
            Some(pattern) => matching(pattern, length, style, &mut dice)?,
            None => (0..length)
                .map(|_| if style == Style::Wide { WIDE[0] } else { dice.letter() })
                .collect(),
        },
        (Some(_), _) => return None,
    };
    let wide_enough = style == Style::Plain || text.is_empty() || !text.is_ascii();
    (text.chars().count() == length
        && wide_enough
        && judge.allows(schema, &Value::from(text.as_str())))
    .then_some(text)
}

/// A text that the schema allows and that nobody has used before, as far as its length allows.
pub(super) fn fresh(judge: Judge<'_>, schema: &Value) -> Option<String> {
    let (least, greatest) = lengths(schema);
    let greatest = greatest.unwrap_or(LONGEST);
    // Long enough to be unique, short enough to be read.
    let wanted = if schema["format"] == "email" { [36, 24, 16] } else { [15, 20, 36] };
    wanted
        .into_iter()
        .map(|length| length.clamp(least, greatest))
        .find_map(|length| of_length(judge, schema, length, Style::Plain))
}

/// How many characters a text has at least and at most, by `minLength` and `maxLength` and by a
/// pattern of the whole text.
pub(super) fn lengths(schema: &Value) -> (usize, Option<usize>) {
    let bound =
        |keyword: &str| schema[keyword].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let of_the_whole = schema["pattern"]
        .as_str()
        .filter(|pattern| pattern.starts_with('^') && pattern.ends_with('$'));
    let (least, most) = of_the_whole
        .and_then(|pattern| regex_syntax::parse(pattern).ok())
        .map_or((0, None), |pattern| lengths_of(&pattern));
    let tighter = [bound("maxLength"), most].into_iter().flatten().min();
    (bound("minLength").unwrap_or(0).max(least), tighter)
}

/// Variations of a good text that its pattern does not allow, each with what was done to it.
pub(super) fn breaking_the_pattern(
    judge: Judge<'_>,
    schema: &Value,
    good: &str,
) -> Vec<(String, String)> {
    let Some(pattern) = schema["pattern"].as_str() else { return Vec::new() };
    // Held against the pattern alone, so that it is the pattern that is broken.
    let allows = judge.over(&serde_json::json!({ "type": "string", "pattern": pattern }));
    let characters: Vec<char> = good.chars().collect();
    let (first, last) = (0, characters.len());
    let with = |at: usize, intruder: char| -> String {
        // In place of a character, so that the length stays within its bounds; behind the last one
        // there is none to take the place of.
        let mut changed = characters.clone();
        if at < changed.len() {
            changed[at] = intruder
        } else {
            changed.push(intruder)
        }
        changed.into_iter().collect()
    };
    let mut broken = Vec::new();
    for (intruder, name) in INTRUDERS {
        for (at, place) in [
            (first, "at its start"),
            (last / 2, "in its middle"),
            (last.saturating_sub(1), "at its end"),
            (last, "behind its end"),
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
    if broken.len() <= MOST_BROKEN {
        return broken;
    }
    // Of each place and each intruder some, and not the same place for each.
    let step = broken.len().div_ceil(MOST_BROKEN) | 1;
    broken.into_iter().step_by(step).collect()
}

/// How many variations one pattern is tried with, about.
const MOST_BROKEN: usize = 12;

/// What patterns often forbid, and what checks of patterns often forget.
const INTRUDERS: [(char, &str); 9] = [
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

/// Texts that are not of a format, each with what is wrong; `good` is one that is.
pub(super) fn breaking_the_format(format: &str, good: &str) -> Vec<(&'static str, String)> {
    let shorter: String = good.chars().take(good.chars().count().saturating_sub(1)).collect();
    let owned = |texts: &[(&'static str, &str)]| {
        texts.iter().map(|(what, text)| (*what, (*text).to_owned())).collect::<Vec<_>>()
    };
    match format {
        "uuid" => vec![
            ("a word", "not-a-uuid".to_owned()),
            ("a number", "12345".to_owned()),
            ("one digit short", shorter),
            ("one digit long", format!("{good}0")),
            (
                "a letter that is no hexadecimal digit",
                format!("{}g", good.get(..35).unwrap_or_default()),
            ),
            ("hyphens in other places", format!("{}-", good.replacen('-', "", 1))),
            ("a space behind it", format!("{good} ")),
            ("a line feed behind it", format!("{good}\n")),
        ],
        "email" => owned(&[
            ("no @", "nobody.mail.example.com"),
            ("nothing before the @", "@mail.example.com"),
            ("nothing behind the @", "nobody@"),
            ("two @", "no@body@mail.example.com"),
            ("a space in it", "no body@mail.example.com"),
            ("a name before it", "Nobody <nobody@mail.example.com>"),
            ("a dot at its start", ".nobody@mail.example.com"),
            ("a domain with an empty label", "nobody@mail..example.com"),
        ]),
        "date-time" => owned(&[
            ("a word", "yesterday"),
            ("a date alone", "2026-01-31"),
            ("no time zone", "2026-01-31T12:00:00"),
            ("a day that is not in the calendar", "2026-02-30T12:00:00Z"),
            ("hour 25", "2026-01-31T25:00:00Z"),
            ("a number", "1764000000"),
        ]),
        "date" => owned(&[
            ("a word", "yesterday"),
            ("a day that is not in the calendar", "2026-02-30"),
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

/// Spellings of an id that some servers take and others do not, and about which `format: uuid` says
/// nothing.
pub(super) fn other_spellings_of_a_uuid(good: &str) -> [(&'static str, String); 4] {
    [
        ("in upper case", good.to_uppercase()),
        ("in braces", format!("{{{good}}}")),
        ("as a URN", format!("urn:uuid:{good}")),
        ("without hyphens", good.replace('-', "")),
    ]
}

/// An address of this length: a part before the `@` of at most 64 and labels of at most 63
/// characters.
fn email(length: usize, dice: &mut Dice) -> Option<String> {
    const SHORT: &str = "@b.co";
    const LONG: &str = "@mail.example.com";
    let mut domain = if length < LONG.len() + 8 { SHORT } else { LONG }.to_owned();
    while length.checked_sub(domain.len())? > 64 {
        let label = (length - domain.len() - 1).min(61);
        let label: String = dice.letters().take(label).collect();
        domain = format!("@{label}.{}", &domain[1..]);
    }
    let local = length - domain.len();
    (local > 0).then(|| dice.letters().take(local).collect::<String>() + &domain)
}

/// A text of this many characters that matches a pattern.
fn matching(pattern: &str, length: usize, style: Style, dice: &mut Dice) -> Option<String> {
    let pattern = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    if write(&pattern, length, style, dice, &mut text).is_none() {
        // Without an anchor at its end a match may be followed by anything.
        let least = lengths_of(&pattern).0;
        text.clear();
        write(&pattern, least.min(length), style, dice, &mut text)?;
        text.extend(dice.letters().take(length.saturating_sub(text.chars().count())));
    }
    Some(text)
}

/// How many characters a match has: at least and at most.
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

/// Appends a match of exactly `length` characters. Repetitions within repetitions may have gaps
/// that this does not find its way around.
fn write(hir: &Hir, length: usize, style: Style, dice: &mut Dice, text: &mut String) -> Option<()> {
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
            text.push(pick(class, style, dice)?);
            Some(())
        }
        HirKind::Capture(capture) => write(&capture.sub, length, style, dice, text),
        HirKind::Repetition(repetition) => {
            let (shortest, longest) = lengths_of(&repetition.sub);
            let at_most =
                repetition.max.map_or(length.max(repetition.min as usize), |times| times as usize);
            let fits = |times: &usize| {
                shortest * times <= length
                    && longest.is_none_or(|longest| longest.saturating_mul(*times) >= length)
            };
            let times = (repetition.min as usize..=at_most).find(fits)?;
            share(&vec![&*repetition.sub; times], length, style, dice, text)
        }
        HirKind::Concat(parts) => {
            share(&parts.iter().collect::<Vec<_>>(), length, style, dice, text)
        }
        HirKind::Alternation(parts) => {
            let part = parts.iter().find(|part| {
                let (least, most) = lengths_of(part);
                least <= length && most.is_none_or(|most| length <= most)
            })?;
            write(part, length, style, dice, text)
        }
    }
}

/// Writes one part after the other. Each has what it needs, the first ones get what is left over.
fn share(
    parts: &[&Hir],
    length: usize,
    style: Style,
    dice: &mut Dice,
    text: &mut String,
) -> Option<()> {
    let needed: usize = parts.iter().map(|part| lengths_of(part).0).sum();
    let mut spare = length.checked_sub(needed)?;
    for part in parts {
        let (least, most) = lengths_of(part);
        let more = most.map_or(spare, |most| (most - least).min(spare));
        spare -= more;
        write(part, least + more, style, dice, text)?;
    }
    (spare == 0).then_some(())
}

/// A character of a class, of the style if the class has one.
fn pick(class: &Class, style: Style, dice: &mut Dice) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
        }
    };
    let has = |letter: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&letter));
    let wide = WIDE.into_iter().find(|letter| style == Style::Wide && has(letter));
    wide.or_else(|| dice.letters().take(200).find(has))
        .or_else(|| ranges.first().map(|(first, _)| *first))
}

/// Letters and digits, other ones each time. Lower case, as some texts are unique without regard to
/// case.
struct Dice(u128);

impl Dice {
    fn new() -> Self {
        Self(Uuid::new_v4().as_u128())
    }

    fn letter(&mut self) -> char {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        // Knuth's multiplier for 64 bits; the upper half is the random one.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(self.0 >> 100) as usize % LETTERS.len()])
    }

    fn letters(&mut self) -> impl Iterator<Item = char> {
        std::iter::from_fn(|| Some(self.letter()))
    }
}
