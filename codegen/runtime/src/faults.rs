//! The faults of one request, bounded while they are found: in number, in the length of each text,
//! and in all.

use std::fmt::{self, Display, Write as _};

use crate::Location;

/// Stands at the end of a text that was cut.
const ELLIPSIS: char = '…';

/// One thing in a request that the document does not allow.
///
/// Made by [`Fault::of_body`] and [`Fault::of_parameter`] only, which bound its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The part of the request in which it was found.
    pub location: Location,
    /// A JSON pointer (RFC 6901) into that part, of at most [`Fault::POINTER_BYTES`]; a longer one
    /// is cut and ends in `…`. In a body `""` is the whole of it, and a missing member is pointed
    /// at where it should be. Elsewhere it is `/` and the parameter's name, as the document writes
    /// it, or as it was sent if the document does not have it.
    pub pointer: String,
    /// What was expected, in plain words, of at most [`Fault::DETAIL_BYTES`]. Never the value that
    /// came.
    pub detail: String,
}

impl Fault {
    /// The longest pointer, in bytes as JSON writes them.
    pub const POINTER_BYTES: usize = 256;
    /// The longest detail, in bytes as JSON writes them.
    pub const DETAIL_BYTES: usize = 256;

    /// A fault of a body, at a JSON pointer.
    pub fn of_body(pointer: impl Display, detail: impl Display) -> Self {
        Self::new(Location::Body, pointer, detail)
    }

    /// A fault of a parameter, by its name.
    pub fn of_parameter(location: Location, name: &str, detail: impl Display) -> Self {
        Self::new(location, format_args!("/{}", Escaped(name)), detail)
    }

    fn new(location: Location, pointer: impl Display, detail: impl Display) -> Self {
        let mut pointer = shorten(pointer, Self::POINTER_BYTES);
        // In a pointer `~` is the first half of an escape: no half of one is left before the cut.
        if pointer.ends_with("~…") {
            pointer.truncate(pointer.len() - "~…".len());
            pointer.push(ELLIPSIS);
        }
        Self { location, pointer, detail: shorten(detail, Self::DETAIL_BYTES) }
    }

    /// The bytes of its texts, as JSON writes them.
    fn text_bytes(&self) -> usize {
        self.pointer.chars().chain(self.detail.chars()).map(json_width).sum()
    }
}

/// The faults of one request. It lists up to [`Faults::MOST`], in the order in which they were
/// found, as long as their texts fit into [`Faults::TEXT_BYTES`]; the others it only counts. So
/// what it takes of memory does not grow with the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    listed: Vec<Fault>,
    text_bytes: usize,
    omitted: usize,
}

impl Faults {
    /// The most faults that are listed.
    pub const MOST: usize = 32;
    /// The most bytes of the listed faults' texts together, as JSON writes them.
    pub const TEXT_BYTES: usize = 12 * 1024;

    /// No faults.
    #[must_use]
    pub const fn new() -> Self {
        Self { listed: Vec::new(), text_bytes: 0, omitted: 0 }
    }

    /// Adds a fault. It is made only if there is room to list it: a pointer costs as much as the
    /// names in it are long.
    pub fn add(&mut self, make: impl FnOnce() -> Fault) {
        if self.is_full() {
            self.omit();
        } else {
            self.list(make());
        }
    }

    /// Counts a fault without listing it.
    pub(crate) fn omit(&mut self) {
        self.omitted = self.omitted.saturating_add(1);
    }

    /// Adds a fault, unless one that reads the same is listed already.
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
        if self.text_bytes + bytes > Self::TEXT_BYTES {
            self.omit();
        } else {
            self.text_bytes += bytes;
            self.listed.push(fault);
        }
    }

    /// Adds the faults of another part of the request behind these.
    pub(crate) fn append(&mut self, others: Self) {
        for fault in others.listed {
            self.add(|| fault);
        }
        self.omitted = self.omitted.saturating_add(others.omitted);
    }

    /// Whether further faults are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.listed.len() == Self::MOST || self.omitted > 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.omitted == 0
    }

    /// The faults that are listed.
    #[must_use]
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// The number of faults that were found beside those that are listed. Past the bound a value
    /// counts once, however many rules it breaks.
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

    /// The faults that are listed.
    fn into_iter(self) -> Self::IntoIter {
        self.listed.into_iter()
    }
}

/// Writes a text of at most `limit` bytes, counted as JSON writes them (a control character takes
/// six). A longer text is cut between two characters and ends in `…`. Writing stops at the cut, so
/// that it costs no more than what is kept.
#[must_use]
pub fn shorten(text: impl Display, limit: usize) -> String {
    let mut shortened = Shortened { text: String::new(), written: 0, fits: 0, limit };
    // The one error is that of `Shortened`, once it is full.
    let _ = write!(shortened, "{text}");
    shortened.text
}

struct Shortened {
    text: String,
    /// Bytes of `text` as JSON writes them.
    written: usize,
    /// The length up to which `text` leaves room for the ellipsis.
    fits: usize,
    limit: usize,
}

impl fmt::Write for Shortened {
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

/// The bytes of a character in a JSON string, as `serde_json` writes it.
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
        // By the character and not by the piece: the writer stops at its bound, and so does this.
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
