//! Checks the rules of fields in `proto/`, which are `buf.validate` options.
//!
//! `gen/grpc/validation.rs` implements [`Validate`] for each message that a request contains.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    ops::RangeBounds,
};

use pbjson_types::Timestamp;
use regex::Regex;
use uuid::Uuid;

/// A violated rule. It never holds the invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field: `id`, or `messages[3].id`.
    pub field: String,
    /// The valid values.
    pub expected: Cow<'static, str>,
}

impl Violation {
    /// A violation of a rule that no option states.
    pub fn new(field: impl Into<String>, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), expected: expected.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: expected {}", self.field, self.expected)
    }
}

/// A message with rules.
pub trait Validate {
    /// Adds the violated rules, in the order of the fields.
    fn check(&self, violations: &mut Violations);

    /// Returns the violated rules, in the order of the fields. Does not allocate if there are none.
    fn violations(&self) -> Vec<Violation> {
        let mut violations = Violations::default();
        self.check(&mut violations);
        violations.0
    }
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds a violation unless the rule holds. Returns whether it holds.
    pub(crate) fn require(
        &mut self,
        field: &'static str,
        holds: bool,
        expected: &'static str,
    ) -> bool {
        if !holds {
            self.0.push(Violation::new(field, expected));
        }
        holds
    }

    pub(crate) fn check_message<M: Validate>(
        &mut self,
        field: &'static str,
        message: Option<&M>,
        required: bool,
    ) {
        match message {
            Some(message) => self.nested(message, || field.to_owned()),
            None => {
                self.require(field, !required, "a message, which must be set");
            }
        }
    }

    pub(crate) fn check_items<M: Validate>(&mut self, field: &'static str, items: &[M]) {
        for (index, item) in items.iter().enumerate() {
            self.nested(item, || format!("{field}[{index}]"));
        }
    }

    /// Prefixes the paths of the violations of a nested message.
    fn nested(&mut self, message: &impl Validate, prefix: impl FnOnce() -> String) {
        let known = self.0.len();
        message.check(self);
        if let Some(new @ [_, ..]) = self.0.get_mut(known..) {
            let prefix = prefix();
            for violation in new {
                violation.field = format!("{prefix}.{}", violation.field);
            }
        }
    }
}

/// Returns whether the number of Unicode characters is within the bounds.
pub(crate) fn has_length(text: &str, bounds: impl RangeBounds<usize>) -> bool {
    bounds.contains(&text.chars().count())
}

pub(crate) fn is_uuid(text: &str) -> bool {
    // The parser also accepts forms without hyphens, in braces and as a URN.
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Returns whether the text is an IP address. An IPv6 address may have a zone, as `string.ip` says.
pub(crate) fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// Returns whether the time is in the years 0001 to 9999, as `google.protobuf.Timestamp` requires.
pub(crate) fn is_timestamp(time: &Timestamp) -> bool {
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    SECONDS.contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos)
}

pub(crate) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the generator has compiled the pattern")
}
