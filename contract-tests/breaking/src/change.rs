//! One thing that is different from the last release, and how much that asks of the version.

use std::{collections::BTreeMap, fmt};

/// Which part of the version a change asks to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only words for people differ.
    Patch,
    /// Something is new or freer; whoever was built against the last release goes on working.
    Minor,
    /// Somebody who was built against the last release, or generates code from the contract, may
    /// stop working.
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

/// Who saw a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The rules of this crate.
    Ours,
    /// `redocly diff`.
    Redocly,
    /// `buf breaking`.
    Buf,
}

impl fmt::Display for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ours => "our rules",
            Self::Redocly => "redocly",
            Self::Buf => "buf",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it asks of the version.
    pub level: Level,
    /// Who saw it.
    pub witness: Witness,
    /// Where, for a reader: `POST /orders, header Idempotency-Key`, `schema Order.status`,
    /// `merch.assistant.v1.Order`.
    pub place: String,
    /// What is different, in one sentence without a full stop.
    pub what: String,
    /// Why it is a break, or the name of the tool's rule; empty where the sentence says it all.
    pub why: String,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)?;
        if !self.why.is_empty() {
            write!(formatter, " ({})", self.why)?;
        }
        Ok(())
    }
}

/// What our rules have found so far: each difference once, with the gravest of its levels, as one
/// schema is reached in many ways.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: BTreeMap<(String, String), (Level, String)>,
}

impl Findings {
    pub(crate) fn add(
        &mut self,
        level: Level,
        place: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        let (key, why) = ((place.into(), what.into()), why.into());
        let graver = self.found.get(&key).is_none_or(|(known, _)| *known < level);
        if graver {
            self.found.insert(key, (level, why));
        }
    }

    pub(crate) fn breaking(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.add(Level::Major, place, what, why);
    }

    pub(crate) fn compatible(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.add(Level::Minor, place, what, "");
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        let change = |((place, what), (level, why))| Change {
            level,
            witness: Witness::Ours,
            place,
            what,
            why,
        };
        self.found.into_iter().map(change).collect()
    }
}
