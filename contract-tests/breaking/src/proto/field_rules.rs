//! The rules of fields in the comments of `proto/`.
//!
//! Servers refuse requests by these rules. A comment has at most one of these phrases; the first one
//! counts:
//!
//! | in the comment | the rule |
//! |---|---|
//! | `1 to 3` | a value, or the number of items of a repeated field |
//! | `never negative`, `a small positive number` | a value of at least 0, at least 1 |
//! | `1 to 15 letters and digits`, `at most 200 characters`, `three capital letters` | a length, and the characters |
//! | `3 to 50 of letters, digits, `_`, `.` and `-`` | the same |
//! | `…, or empty` | the empty text is valid, too |
//! | `as `User.sid`` | the rule of that field |

use crate::change::{Findings, Level};

/// What a rule limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The value, or the number of items of a repeated field.
    Value,
    /// The number of characters of a text.
    Length,
}

/// The rule of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRule {
    /// What `min` and `max` limit.
    pub measure: Measure,
    /// The lowest valid number.
    pub min: Option<i64>,
    /// The highest valid number.
    pub max: Option<i64>,
    /// The valid characters as a class of a regular expression (`[A-Za-z0-9]`), or nothing if all
    /// are valid.
    pub characters: Option<String>,
    /// Whether the empty text is valid, too.
    pub or_empty: bool,
    /// The field that has the rule: `User.sid`.
    pub same_as: Option<String>,
}

/// Kinds of characters and their classes, longer names first.
const CHARACTER_KINDS: [(&str, &str); 7] = [
    ("visible ASCII characters", "!-~"),
    ("lower-case hexadecimal digits", "0-9a-f"),
    ("capital letters", "A-Z"),
    ("characters, none of them a space or a control character", r"^\x00-\x20\x7F-\x9F"),
    ("letters", "A-Za-z"),
    ("digits", "0-9"),
    ("characters", ""),
];

const NUMBERS: [&str; 10] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

impl FieldRule {
    /// Reads the rule in a comment, or nothing if it has none of the phrases.
    #[must_use]
    pub fn read(comment: &str) -> Option<Self> {
        let text = comment.split_whitespace().collect::<Vec<_>>().join(" ");
        let lower = text.to_lowercase();
        let mut rule = Self {
            measure: Measure::Value,
            min: None,
            max: None,
            characters: None,
            or_empty: lower.contains(", or empty"),
            same_as: None,
        };
        if let Some(at) = lower.find("as `") {
            let name = text[at + 4..].split('`').next().unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_uppercase()) && name.contains('.') {
                return Some(Self { same_as: Some(name.to_owned()), ..rule });
            }
        }
        if lower.contains("never negative") {
            return Some(Self { min: Some(0), ..rule });
        }
        if lower.contains("positive number") {
            return Some(Self { min: Some(1), ..rule });
        }
        let words: Vec<(usize, &str)> = words(&text).collect();
        for (index, (at, word)) in words.iter().enumerate() {
            let word_at = |offset: usize| words.get(index + offset).map_or("", |(_, word)| word);
            let (min, max, taken) = if word.eq_ignore_ascii_case("at")
                && word_at(1) == "most"
                && number(word_at(2)).is_some()
            {
                (None, number(word_at(2)), 3)
            } else if let Some(min) = number(word)
                && word_at(1) == "to"
                && let Some(max) = number(word_at(2))
            {
                (Some(min), Some(max), 3)
            } else if let Some(exact) = number(word) {
                (Some(exact), Some(exact), 1)
            } else {
                continue;
            };
            let (last_at, last) = words.get(index + taken - 1).copied().unwrap_or((*at, word));
            let rest = text[last_at + last.len()..].trim_start();
            let rest = rest.strip_prefix("of ").unwrap_or(rest);
            let kinds = kinds(rest);
            if kinds.is_none() && taken == 1 {
                // A number without these words is not a rule: `version 7`, `36 pieces`.
                continue;
            }
            (rule.min, rule.max) = (min, max);
            if let Some(characters) = kinds {
                rule.measure = Measure::Length;
                rule.characters = Some(characters)
                    .filter(|class| !class.is_empty())
                    .map(|class| format!("[{class}]"));
            }
            return Some(rule);
        }
        None
    }
}

/// Returns the kinds of characters that a phrase begins with, as the inside of a class, or nothing
/// if it begins with something else.
fn kinds(phrase: &str) -> Option<String> {
    let (mut class, mut rest, mut any) = (String::new(), phrase, false);
    loop {
        if let Some((name, kind)) = CHARACTER_KINDS.iter().find(|(name, _)| rest.starts_with(name))
        {
            class.push_str(kind);
            rest = &rest[name.len()..];
        } else if let Some(character) = rest
            .strip_prefix('`')
            .and_then(|rest| rest.chars().next())
            .filter(|_| rest[2..].starts_with('`'))
        {
            // Escaped, because `-` and `.` have a meaning in a class.
            class.push('\\');
            class.push(character);
            rest = &rest[3..];
        } else {
            return any.then_some(class);
        }
        any = true;
        rest = [", ", " and ", " or "]
            .iter()
            .find_map(|separator| rest.strip_prefix(separator))
            .unwrap_or("");
    }
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bare = |word: &str| word.trim_end_matches(['.', ',', ';', ':']).len();
    text.split(' ').scan(0, move |at, word| {
        let start = *at;
        *at += word.len() + 1;
        Some((start, &word[..bare(word)]))
    })
}

fn number(word: &str) -> Option<i64> {
    let spelled = NUMBERS
        .iter()
        .position(|number| *number == word)
        .and_then(|index| i64::try_from(index + 1).ok());
    spelled.or_else(|| word.replace(',', "").parse().ok())
}

/// Compares the rules of a field. `(sent, received)` is whether clients send and receive it.
pub(super) fn compare(
    place: &str,
    was: Option<FieldRule>,
    is: Option<FieldRule>,
    (sent, received): (bool, bool),
    findings: &mut Findings,
) {
    if was == is {
        return;
    }
    let mut breaks = |what| {
        let why = "servers refuse values by it, and clients rely on it";
        findings.add(Level::Major, place, what, why);
    };
    let (Some(was), Some(is)) = (was, is) else {
        return breaks("the rule in its comment was added or removed");
    };
    let narrower = below(was.min, is.min, i64::MIN)
        || below(is.max, was.max, i64::MAX)
        || (was.or_empty && !is.or_empty);
    let wider = below(is.min, was.min, i64::MIN)
        || below(was.max, is.max, i64::MAX)
        || (is.or_empty && !was.or_empty);
    let other =
        was.measure != is.measure || was.characters != is.characters || was.same_as != is.same_as;
    if other || (narrower && sent) || (wider && received) {
        breaks("the rule in its comment changed");
    } else {
        let what = "the rule in its comment changed, without a break";
        findings.add(Level::Minor, place, what, "");
    }
}

fn below(left: Option<i64>, right: Option<i64>, absent: i64) -> bool {
    left.unwrap_or(absent) < right.unwrap_or(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(
        min: impl Into<Option<i64>>,
        max: impl Into<Option<i64>>,
        characters: &str,
    ) -> Option<FieldRule> {
        let characters = Some(characters.to_owned()).filter(|class| !class.is_empty());
        Some(FieldRule {
            measure: Measure::Length,
            min: min.into(),
            max: max.into(),
            characters,
            or_empty: false,
            same_as: None,
        })
    }

    fn value(min: impl Into<Option<i64>>, max: impl Into<Option<i64>>) -> Option<FieldRule> {
        Some(FieldRule {
            measure: Measure::Value,
            min: min.into(),
            max: max.into(),
            characters: None,
            or_empty: false,
            same_as: None,
        })
    }

    #[test]
    fn each_phrase_is_read() {
        assert_eq!(FieldRule::read(" How many, 1 to 3.\n"), value(1, 3));
        assert_eq!(FieldRule::read("1 to 1,000 events, at most 1 MiB in all."), value(1, 1000));
        assert_eq!(
            FieldRule::read("Pieces that can still be sold, never negative."),
            value(0, None)
        );
        assert_eq!(FieldRule::read("A small positive number."), value(1, None));
        assert_eq!(
            FieldRule::read("The SUSTech id, 1 to 15 letters and digits, as the user wrote it."),
            length(1, 15, "[A-Za-z0-9]")
        );
        assert_eq!(
            FieldRule::read("3 to 50 of letters, digits, `_`, `.` and `-`, as the user wrote it."),
            length(3, 50, r"[A-Za-z0-9\_\.\-]")
        );
        assert_eq!(FieldRule::read("At most 2,000 characters."), length(None, 2000, ""));
        assert_eq!(FieldRule::read("ISO 4217, three capital letters."), length(3, 3, "[A-Z]"));
        let email = "1 to 255 characters, none of them a space or a control character, as the user wrote it.";
        assert_eq!(FieldRule::read(email), length(1, 255, r"[^\x00-\x20\x7F-\x9F]"));
        assert_eq!(
            FieldRule::read("The W3C trace id, 32 lower-case hexadecimal digits, or empty.")
                .map(|rule| (rule.min, rule.or_empty)),
            Some((Some(32), true))
        );
        assert_eq!(
            FieldRule::read("As `User.sid`.").and_then(|rule| rule.same_as),
            Some("User.sid".to_owned())
        );
    }

    #[test]
    fn comments_without_a_phrase_have_no_rule() {
        for comment in [
            "UUIDv7 in text form.",
            "ISO 4217.",
            "As stored.",
            "The user's `token_version` when the token was made.",
            "PHC string.",
        ] {
            assert_eq!(FieldRule::read(comment), None, "{comment}");
        }
    }
}
