//! The faults of one request, limited in number, in the length of each text and in total length.

use std::fmt::{self, Display, Write as _};

const ELLIPSIS: char = '…';

/// One violation of the document in a request. [`Fault::of_body`] and [`Fault::of_parameter`] limit
/// its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The part of the request with the fault.
    pub location: Location,
    /// A JSON pointer (RFC 6901) into that part, of at most [`Fault::MAX_POINTER_BYTES`]; a longer
    /// one is cut and ends in `…`. In a body, `""` is the whole body, and a missing member has the
    /// pointer that it would have if it were present. For a parameter, the pointer is `/` and the
    /// name, as the document spells it if it declares the parameter.
    pub pointer: String,
    /// The expectation, at most [`Fault::MAX_DETAIL_BYTES`]. Never contains the sent value.
    pub detail: String,
}

impl Fault {
    /// Maximum length of a pointer, in bytes of JSON text.
    pub const MAX_POINTER_BYTES: usize = 256;
    /// Maximum length of a detail, in bytes of JSON text.
    pub const MAX_DETAIL_BYTES: usize = 256;

    /// Creates a fault of the body at a JSON pointer.
    pub fn of_body(pointer: impl Display, detail: impl Display) -> Self {
        Self::new(Location::Body, pointer, detail)
    }

    /// Creates a fault of a parameter.
    pub fn of_parameter(location: Location, name: &str, detail: impl Display) -> Self {
        Self::new(location, format_args!("/{}", Escaped(name)), detail)
    }

    fn new(location: Location, pointer: impl Display, detail: impl Display) -> Self {
        let mut pointer = shorten(pointer, Self::MAX_POINTER_BYTES);
        // `~` starts an escape of a JSON pointer; do not cut within an escape.
        if pointer.ends_with("~…") {
            pointer.truncate(pointer.len() - "~…".len());
            pointer.push(ELLIPSIS);
        }
        Self { location, pointer, detail: shorten(detail, Self::MAX_DETAIL_BYTES) }
    }

    /// Returns the length of both texts, in bytes of JSON text.
    fn text_bytes(&self) -> usize {
        self.pointer.chars().chain(self.detail.chars()).map(json_width).sum()
    }
}

/// The part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The body.
    Body,
    /// A segment of the path.
    Path,
    /// A parameter of the query.
    Query,
    /// A header.
    Header,
}

impl Location {
    /// Returns the name in the document: `body`, `path`, `query` or `header`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// The faults of one request. Lists up to [`Faults::MAX_LISTED`] in the order of detection, while
/// their texts fit into [`Faults::MAX_TEXT_BYTES`], and counts the others. Memory does not grow
/// with the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    listed: Vec<Fault>,
    text_bytes: usize,
    omitted: usize,
}

impl Faults {
    /// Maximum number of listed faults.
    pub const MAX_LISTED: usize = 32;
    /// Maximum length of all listed texts together, in bytes of JSON text.
    pub const MAX_TEXT_BYTES: usize = 12 * 1024;

    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { listed: Vec::new(), text_bytes: 0, omitted: 0 }
    }

    /// Adds a fault. Calls `make` only if the list has room, because a pointer costs as much as the
    /// names in it.
    pub fn add(&mut self, make: impl FnOnce() -> Fault) {
        if self.is_full() {
            self.omit();
        } else {
            self.list(make());
        }
    }

    pub(crate) fn omit(&mut self) {
        self.omitted = self.omitted.saturating_add(1);
    }

    pub(crate) fn add_once(&mut self, make: impl FnOnce() -> Fault) {
        if self.is_full() {
            return self.omit();
        }
        let fault = make();
        if !self.listed.contains(&fault) {
            self.list(fault);
        }
    }

    fn list(&mut self, fault: Fault) {
        let bytes = fault.text_bytes();
        if self.text_bytes + bytes > Self::MAX_TEXT_BYTES {
            self.omit();
        } else {
            self.text_bytes += bytes;
            self.listed.push(fault);
        }
    }

    pub(crate) fn append(&mut self, others: Self) {
        for fault in others.listed {
            self.add(|| fault);
        }
        self.omitted = self.omitted.saturating_add(others.omitted);
    }

    /// Whether further faults are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.listed.len() == Self::MAX_LISTED || self.omitted > 0
    }

    /// Whether no fault was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.omitted == 0
    }

    /// Returns the listed faults.
    #[must_use]
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// Returns the number of faults that were found and not listed. Beyond the limit, a value
    /// counts once even if it breaks several rules.
    #[must_use]
    pub const fn omitted(&self) -> usize {
        self.omitted
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        let mut faults = Self::new();
        faults.list(fault);
        faults
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.listed.into_iter()
    }
}

/// Formats `text` in at most `limit` bytes of JSON text, where a control character takes six. Cuts
/// a longer text between two characters and appends `…`. Formatting stops at the cut, so the cost
/// depends on `limit` only.
#[must_use]
pub fn shorten(text: impl Display, limit: usize) -> String {
    let mut truncator = Truncator { text: String::new(), written: 0, fits: 0, limit };
    // Formatting fails only if `Truncator` is full.
    let _ = write!(truncator, "{text}");
    truncator.text
}

struct Truncator {
    text: String,
    /// Length of `text` in bytes of JSON text.
    written: usize,
    /// Length of the prefix of `text` that leaves room for the ellipsis.
    fits: usize,
    limit: usize,
}

impl fmt::Write for Truncator {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let written = self.written + json_width(character);
            if written > self.limit {
                self.text.truncate(self.fits);
                self.text.push(ELLIPSIS);
                return Err(fmt::Error);
            }
            self.text.push(character);
            self.written = written;
            if written + ELLIPSIS.len_utf8() <= self.limit {
                self.fits = self.text.len();
            }
        }
        Ok(())
    }
}

/// Returns the length of a character in a JSON string, as `serde_json` writes it.
const fn json_width(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

/// A member's name as a token of a JSON pointer.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One character at a time, so that formatting stops at the limit of the writer.
        self.0.chars().try_for_each(|character| match character {
            '~' => f.write_str("~0"),
            '/' => f.write_str("~1"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
