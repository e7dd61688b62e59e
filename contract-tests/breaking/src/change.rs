//! One difference from the last release, and the part of the version that it has to raise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The part of the version that a change must raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only prose differs.
    Patch,
    /// Clients of the last release still work.
    Minor,
    /// Clients of the last release may fail, or users of generated code may not compile.
    Major,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        })
    }
}

/// What reported a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// The rules of this crate.
    OwnRules,
    /// oasdiff.
    Oasdiff,
    /// `buf breaking`.
    Buf,
}

impl fmt::Display for Detector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OwnRules => "own rules",
            Self::Oasdiff => "oasdiff",
            Self::Buf => "buf",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The part of the version that it has to raise.
    pub level: Level,
    /// What reported it.
    pub detector: Detector,
    /// The changed places, for example `POST /orders` or `merch.assistant.v1.Order`.
    pub places: BTreeSet<String>,
    /// One sentence without a full stop.
    pub what: String,
    /// Why it is a break, or the name of the tool's check; may be empty.
    pub why: String,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 2;
        let shown: Vec<&str> = self.places.iter().map(String::as_str).take(SHOWN).collect();
        formatter.write_str(&shown.join(", "))?;
        let hidden = self.places.len() - shown.len();
        if hidden > 0 {
            write!(formatter, " and {hidden} more")?;
        }
        write!(formatter, ": {}", self.what)?;
        if !self.why.is_empty() {
            write!(formatter, " ({})", self.why)?;
        }
        Ok(())
    }
}

/// Collects changes. Equal changes at different places become one.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    places: BTreeMap<(Level, String, String), BTreeSet<String>>,
}

impl Findings {
    pub(crate) fn add(
        &mut self,
        level: Level,
        place: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.places.entry((level, what.into(), why.into())).or_default().insert(place.into());
    }

    pub(crate) fn into_changes(self, detector: Detector) -> Vec<Change> {
        let change = |((level, what, why), places)| Change { level, detector, places, what, why };
        self.places.into_iter().map(change).collect()
    }
}
