//! Refusals: what in a document cannot be compiled, where, and why.

use std::{collections::BTreeSet, fmt};

/// One construct that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Where it stands in the document, a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Why it is refused, and what would be taken instead.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "(the whole document)" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.reason)
    }
}

/// A document that cannot be compiled. Printed, it has a line for each refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Everything that was found, by pointer; at least one.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.refusals.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{refusal}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Refusals as they are found: a reader goes on behind each of them, so that one run shows all.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    found: BTreeSet<Refusal>,
}

impl Refusals {
    pub(crate) fn refuse(&mut self, at: &Pointer, reason: impl Into<String>) {
        self.found.insert(Refusal { pointer: at.to_string(), reason: reason.into() });
    }

    /// `value`, unless something was refused.
    pub(crate) fn unless_any<T>(self, value: T) -> Result<T, Error> {
        if self.found.is_empty() {
            Ok(value)
        } else {
            Err(Error { refusals: self.found.into_iter().collect() })
        }
    }
}

/// A place in the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// The place below, of this name or number.
    pub(crate) fn at(&self, token: impl fmt::Display) -> Self {
        Self(format!("{}/{}", self.0, token.to_string().replace('~', "~0").replace('/', "~1")))
    }

    /// The place that a reference within the document names.
    pub(crate) fn of_reference(reference: &str) -> Self {
        Self(reference.trim_start_matches('#').to_owned())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
