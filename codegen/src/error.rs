//! Diagnostics: the constructs of a document that cannot be compiled.

use std::{collections::BTreeSet, fmt};

/// A construct that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The JSON pointer of the construct (RFC 6901).
    pub pointer: String,
    /// What is unsupported or invalid, and what to write instead.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "(the whole document)" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// A document that cannot be compiled. `Display` writes one diagnostic per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// All diagnostics, by pointer. Never empty.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Collects diagnostics, so that one run reports all.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    reported: BTreeSet<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn report(&mut self, at: &Pointer, message: impl Into<String>) {
        self.reported.insert(Diagnostic { pointer: at.to_string(), message: message.into() });
    }

    /// Returns `value` if there is no diagnostic.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Error> {
        if self.reported.is_empty() {
            Ok(value)
        } else {
            Err(Error { diagnostics: self.reported.into_iter().collect() })
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl Pointer {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    pub(crate) fn at(&self, token: impl fmt::Display) -> Self {
        Self(format!("{}/{}", self.0, token.to_string().replace('~', "~0").replace('/', "~1")))
    }

    /// Returns the pointer of a reference within the document.
    pub(crate) fn of_reference(reference: &str) -> Self {
        Self(reference.trim_start_matches('#').to_owned())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
