//! The changes since the last release, and the version that they require.

use std::fmt;

use semver::Version;

use crate::change::{Change, Level};

/// The changes since the last release.
#[derive(Clone, Debug)]
pub struct Report {
    /// The version of the last release.
    pub released: Version,
    /// `info.version` of the checkout.
    pub current: Version,
    /// All changes, with those of one detector side by side.
    pub changes: Vec<Change>,
}

impl Report {
    /// Returns the highest level of all changes, or nothing without changes.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.changes.iter().map(|change| change.level).max()
    }

    /// Returns the lowest version that the next release may have, or nothing without changes.
    #[must_use]
    pub fn next_version(&self) -> Option<Version> {
        let Version { major, minor, patch, .. } = self.released;
        self.level().map(|level| match level {
            Level::Major => Version::new(major + 1, 0, 0),
            Level::Minor => Version::new(major, minor + 1, 0),
            Level::Patch => Version::new(major, minor, patch + 1),
        })
    }

    /// Whether there is a break and the major has not grown. Compatible changes may wait for the
    /// next release.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.level() == Some(Level::Major) && self.current.major <= self.released.major
    }

    /// Returns the changes of one level.
    pub fn of_level(&self, level: Level) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.level == level)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { released, current, .. } = self;
        let count = |level: Level| self.of_level(level).count();
        let Some(next) = self.next_version() else {
            return write!(formatter, "the contracts equal release {released}");
        };
        if count(Level::Major) > 0 {
            let announced = if self.is_refused() { "" } else { ", as info.version announces," };
            writeln!(
                formatter,
                "The contracts break{announced} release {released} (contract-tests/released/):"
            )?;
            for change in self.of_level(Level::Major) {
                writeln!(formatter, "  - {change} [{}]", change.detector)?;
            }
        }
        if self.is_refused() {
            write!(
                formatter,
                "\nMake the change without a break (docs/breaking-changes.md shows how), \
                 or raise info.version in openapi.yaml from {current} to {next}."
            )
        } else {
            write!(
                formatter,
                "since release {released}: {} breaks, {} compatible changes, {} changes of prose; \
                 the next release is {next} or later, info.version is {current}",
                count(Level::Major),
                count(Level::Minor),
                count(Level::Patch)
            )
        }
    }
}
