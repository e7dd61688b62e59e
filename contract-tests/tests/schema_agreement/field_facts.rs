//! A field's type and constraints, in common terms.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueType {
    Uuid,
    Int32,
    Int64,
    Bool,
    Text,
    /// An enumerated string.
    Choice,
    Time,
    Bytes,
    /// An object or array.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct FieldFacts {
    /// The layer's own type name.
    pub(crate) native: String,
    /// Types that it may represent: SQLite has few.
    pub(crate) kinds: Vec<ValueType>,
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
    pub(crate) shortest: Option<i64>,
    pub(crate) longest: Option<i64>,
    /// Allowed characters, if declared.
    pub(crate) characters: Option<ClassUnicode>,
    /// `None` if this layer does not define it.
    pub(crate) nullable: Option<bool>,
    /// Whether a sender may omit it; `None` if this layer does not define it.
    pub(crate) optional: Option<bool>,
    pub(crate) values: Option<BTreeSet<String>>,
}

impl FieldFacts {
    pub(crate) fn new(native: impl Into<String>, kinds: &[ValueType]) -> Self {
        Self {
            native: native.into(),
            kinds: kinds.to_vec(),
            minimum: None,
            maximum: None,
            shortest: None,
            longest: None,
            characters: None,
            nullable: None,
            optional: None,
            values: None,
        }
    }

    pub(crate) fn length(&mut self, shortest: Option<i64>, longest: Option<i64>) {
        self.shortest = self.shortest.max(shortest);
        self.longest = match (self.longest, longest) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
    }

    /// Narrows length and characters to a pattern.
    pub(crate) fn pattern(&mut self, pattern: &str) {
        let hir = regex_syntax::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let texts = texts(&hir);
        self.length(Some(texts.shortest), texts.longest);
        self.characters = Some(texts.characters);
    }

    pub(crate) fn words(&self) -> String {
        let mut words = vec![format!("`{}`", self.native)];
        let range = |low: Option<i64>, high: Option<i64>| match (low, high) {
            (Some(low), Some(high)) if low == high => Some(low.to_string()),
            (Some(low), Some(high)) => Some(format!("{low} to {high}")),
            (Some(low), None) => Some(format!("≥ {low}")),
            (None, Some(high)) => Some(format!("≤ {high}")),
            (None, None) => None,
        };
        words.extend(range(self.minimum, self.maximum));
        let of = self
            .characters
            .as_ref()
            .map_or_else(String::new, |class| format!(" of `{}`", class_notation(class)));
        words.extend(
            range(self.shortest.filter(|shortest| *shortest > 0), self.longest)
                .map(|range| format!("{range} characters{of}")),
        );
        words.extend(self.values.as_ref().map(|values| {
            values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
        }));
        if self.nullable == Some(true) {
            words.push("or null".to_owned());
        }
        if self.optional == Some(true) {
            words.push("may be absent".to_owned());
        }
        words.join(", ")
    }
}

/// The class in regex notation, negated if that is shorter.
fn class_notation(class: &ClassUnicode) -> String {
    let mut shown = class.clone();
    let negated = class.ranges().last().is_some_and(|range| range.end() == char::MAX);
    if negated {
        shown.negate();
    }
    let character = |c: char| {
        if c.is_control() || c == ' ' { format!("\\x{:02X}", u32::from(c)) } else { c.to_string() }
    };
    let range = |range: &ClassUnicodeRange| match (range.start(), range.end()) {
        (start, end) if start == end => character(start),
        (start, end) => format!("{}-{}", character(start), character(end)),
    };
    // A hyphen comes last, where it is literal.
    let (hyphens, others): (Vec<_>, Vec<_>) =
        shown.ranges().iter().partition(|range| range.start() == '-');
    let ranges: String = others.into_iter().chain(hyphens).map(range).collect();
    format!("[{}{ranges}]", if negated { "^" } else { "" })
}

struct Texts {
    shortest: i64,
    longest: Option<i64>,
    characters: ClassUnicode,
}

fn texts(hir: &Hir) -> Texts {
    let exactly = |length: usize, characters: ClassUnicode| {
        let length = i64::try_from(length).expect("a pattern is not that long");
        Texts { shortest: length, longest: Some(length), characters }
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly(0, ClassUnicode::empty()),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).expect("a pattern of texts");
            exactly(
                text.chars().count(),
                ClassUnicode::new(text.chars().map(|c| ClassUnicodeRange::new(c, c))),
            )
        }
        HirKind::Class(Class::Unicode(class)) => exactly(1, class.clone()),
        HirKind::Class(Class::Bytes(class)) => {
            exactly(1, class.to_unicode_class().expect("a pattern of texts"))
        }
        HirKind::Capture(capture) => texts(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = texts(&repetition.sub);
            let longest =
                repetition.max.and_then(|max| sub.longest.map(|longest| longest * i64::from(max)));
            Texts {
                shortest: sub.shortest * i64::from(repetition.min),
                longest,
                characters: sub.characters,
            }
        }
        HirKind::Concat(parts) => {
            parts.iter().map(texts).fold(exactly(0, ClassUnicode::empty()), |mut all, part| {
                all.characters.union(&part.characters);
                let longest = all.longest.zip(part.longest).map(|(left, right)| left + right);
                Texts {
                    shortest: all.shortest + part.shortest,
                    longest,
                    characters: all.characters,
                }
            })
        }
        HirKind::Alternation(parts) => {
            let mut parts = parts.iter().map(texts);
            let first = parts.next().expect("an alternation has parts");
            parts.fold(first, |mut all, part| {
                all.characters.union(&part.characters);
                let longest = all.longest.zip(part.longest).map(|(left, right)| left.max(right));
                Texts {
                    shortest: all.shortest.min(part.shortest),
                    longest,
                    characters: all.characters,
                }
            })
        }
    }
}
