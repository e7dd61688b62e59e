//! The rules of fields in `.proto` files: options of
//! [protovalidate](https://protovalidate.com), package `buf.validate`.
//!
//! [`Rules::read`] reads the options of compiled files. [`generate`] writes Rust that checks
//! requests. Both support the options that the variants of [`Constraint`] describe; any other
//! option is an error, so no rule is silently ignored.

mod expected;
mod generate;
mod read;

use std::collections::{BTreeMap, BTreeSet};

pub use generate::generate;
use regex::Regex;

/// The rules of all messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Rules by full name. Messages without a rule are absent.
    pub messages: BTreeMap<String, MessageRules>,
}

/// The rules of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageRules {
    /// Rules by name of the field. Fields without a rule are absent.
    pub fields: BTreeMap<String, FieldRules>,
    /// Each oneof that must be set (`oneof.required`).
    pub required_oneofs: BTreeSet<String>,
}

/// The rules of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRules {
    /// Whether the message must be set (`required`).
    pub required: bool,
    /// The values that the constraint does not apply to (`ignore`).
    pub ignore: Ignore,
    /// The valid values.
    pub constraint: Constraint,
}

/// The values that a constraint does not apply to. A later variant ignores more of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignore {
    /// None: an `optional` field has to be unset to be ignored.
    #[default]
    Never,
    /// The empty text and the number zero.
    IfZero,
    /// All: rules of the items of a list are checked elsewhere.
    Always,
}

/// Inclusive bounds; both are absent for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest valid number.
    pub min: Option<i64>,
    /// The highest valid number.
    pub max: Option<i64>,
}

/// A format of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A UUID with hyphens, in either case (`string.uuid`).
    Uuid,
    /// An IPv4 or IPv6 address, which may have a zone (`string.ip`).
    Ip,
}

/// The valid values of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// All.
    #[default]
    Any,
    /// `int32` and `int64`: `gte`, `lte`.
    Number(Bounds),
    /// `string`.
    Text(TextRules),
    /// `bytes.max_len`: the maximum number of bytes.
    Bytes(Bounds),
    /// `enum`: `defined_only`, `not_in`.
    Enum {
        /// Whether unknown numbers are invalid.
        defined_only: bool,
        /// Invalid numbers.
        not_in: Vec<i32>,
    },
    /// `repeated`: `min_items`, `max_items`, `items`.
    List {
        /// The number of items.
        items: Bounds,
        /// The rules of each item.
        item: Box<FieldRules>,
    },
    /// `map`: `min_pairs`, `max_pairs`, `keys`, `values`.
    Map {
        /// The number of entries.
        pairs: Bounds,
        /// The rules of each key.
        keys: Box<FieldRules>,
        /// The rules of each value.
        values: Box<FieldRules>,
    },
}

/// The rules of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRules {
    /// The number of Unicode characters: `min_len`, `max_len`, `len`.
    pub length: Bounds,
    /// The maximum number of bytes in UTF-8: `max_bytes`.
    pub max_bytes: Option<i64>,
    /// A regular expression that the text matches, in RE2's syntax: `pattern`.
    pub pattern: Option<String>,
    /// `uuid`, `ip`.
    pub format: Option<Format>,
}

impl FieldRules {
    /// Returns whether a field is valid if it is absent. `has_presence` is whether the absence of the
    /// field differs from its zero value.
    #[must_use]
    pub fn accept_absence(&self, has_presence: bool) -> bool {
        if self.required {
            return false;
        }
        has_presence || self.ignore != Ignore::Never || self.constraint.accepts_zero()
    }
}

impl Constraint {
    /// Returns whether zero, or the empty value, is valid.
    fn accepts_zero(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Number(bounds)
            | Self::Bytes(bounds)
            | Self::List { items: bounds, .. }
            | Self::Map { pairs: bounds, .. } => bounds.contain(0),
            Self::Text(rules) => {
                let matches = |pattern: &String| Regex::new(pattern).is_ok_and(|p| p.is_match(""));
                rules.length.contain(0)
                    && rules.format.is_none()
                    && rules.pattern.as_ref().is_none_or(matches)
            }
            Self::Enum { not_in, .. } => !not_in.contains(&0),
        }
    }
}

impl Bounds {
    fn contain(self, number: i64) -> bool {
        self.min.is_none_or(|min| min <= number) && self.max.is_none_or(|max| number <= max)
    }
}

impl Rules {
    /// Returns the rules of a message, which may be none.
    #[must_use]
    pub fn message(&self, name: &str) -> &MessageRules {
        static NONE: MessageRules =
            MessageRules { fields: BTreeMap::new(), required_oneofs: BTreeSet::new() };
        self.messages.get(name).unwrap_or(&NONE)
    }
}

impl MessageRules {
    /// Returns the rules of a field, which may be none.
    #[must_use]
    pub fn field(&self, name: &str) -> &FieldRules {
        static NONE: FieldRules =
            FieldRules { required: false, ignore: Ignore::Never, constraint: Constraint::Any };
        self.fields.get(name).unwrap_or(&NONE)
    }
}

/// An option that is not supported or contradicts the field's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RuleError {
    /// The full name of the field.
    pub field: String,
    /// The error and the supported options.
    pub reason: String,
}
