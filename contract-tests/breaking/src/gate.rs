//! Holds the contracts of a checkout against the last release, and says whether they may pass.

use std::{
    fmt,
    path::{Path, PathBuf},
    thread,
};

use semver::Version;
use thiserror::Error;

use crate::{
    change::{Change, Level, Witness},
    contracts::{ContractError, Contracts},
    openapi, proto,
    release::{Baseline, BaselineError},
    tools::{Buf, Redocly, ToolError},
};

/// Why there is no judgement.
#[derive(Debug, Error)]
pub enum GateError {
    /// A contract cannot be read.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The baseline cannot be trusted.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// A tool cannot be trusted.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The version is lower than the released one.
    #[error(
        "info.version in openapi.yaml is {current}, lower than the released {released}: versions only grow"
    )]
    Backwards {
        /// In `openapi.yaml`.
        current: Version,
        /// Of the baseline.
        released: Version,
    },
}

/// A checkout, and the programs that are asked.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The folder with `openapi.yaml`, `proto/`, `redocly-diff.yaml`, `buf.yaml` and
    /// `contract-tests/released/`.
    pub root: PathBuf,
    /// `redocly`.
    pub redocly: PathBuf,
    /// `buf`.
    pub buf: PathBuf,
}

/// What has changed since the last release.
#[derive(Clone, Debug)]
pub struct Report {
    /// The version of the last release.
    pub released: Version,
    /// `info.version` as it is.
    pub current: Version,
    /// All that was found; from the tools, only what they call a break.
    pub changes: Vec<Change>,
}

impl Gate {
    /// Asks all three witnesses, after each tool has shown that it is awake.
    ///
    /// # Errors
    /// If there can be no judgement: a contract or the baseline cannot be read, a tool fails, or
    /// does not see a break that is known to be one.
    pub fn examine(&self) -> Result<Report, GateError> {
        let (redocly, buf) = (self.redocly(), self.buf());
        let (redocly, buf) = both(|| redocly.sees(), || buf.sees(&self.root));
        redocly.and(buf)?;
        self.ask(true, true)
    }

    /// Asks our rules, and the tools that are wanted, as they are.
    ///
    /// # Errors
    /// As [`examine`](Self::examine), but for tools that see nothing.
    pub fn ask(&self, redocly: bool, buf: bool) -> Result<Report, GateError> {
        let baseline = Baseline::read(&self.root)?;
        let contracts = Contracts::read(&self.root)?;
        let (released, current, before) =
            (baseline.version, contracts.version()?, baseline.contracts);
        if current < released {
            return Err(GateError::Backwards { current, released });
        }
        let mut changes = ours(&before, &contracts)?;
        // The tools name files as they are given them: as a reader of the checkout would.
        let folder = Baseline::folder(Path::new(""));
        let released_at = folder.join("openapi.yaml");
        let (from_redocly, from_buf) = both(
            || {
                if redocly {
                    self.redocly().breaks(
                        (&released_at, &before.openapi),
                        (Path::new("openapi.yaml"), &contracts.openapi),
                    )
                } else {
                    Ok(Vec::new())
                }
            },
            || {
                if buf {
                    self.buf().breaking(&self.root, &folder.join("proto"))
                } else {
                    Ok(Vec::new())
                }
            },
        );
        changes.extend(from_redocly?);
        changes.extend(from_buf?);
        Ok(Report { released, current, changes })
    }

    fn redocly(&self) -> Redocly<'_> {
        Redocly { program: &self.redocly, root: &self.root }
    }

    fn buf(&self) -> Buf<'_> {
        Buf { program: &self.buf }
    }
}

/// What the rules of this crate find between two states of the contracts.
///
/// # Errors
/// If a `.proto` does not compile.
pub fn ours(old: &Contracts, new: &Contracts) -> Result<Vec<Change>, ContractError> {
    let mut changes = openapi::compare(&old.openapi, &new.openapi);
    if old.proto != new.proto {
        changes.extend(proto::compare(&old.descriptors()?, &new.descriptors()?));
    }
    Ok(changes)
}

impl Report {
    /// The part of the version that the gravest change asks to be raised; nothing if nothing has
    /// changed.
    #[must_use]
    pub fn needs(&self) -> Option<Level> {
        self.changes.iter().map(|change| change.level).max()
    }

    /// The lowest version that the next release may have; nothing if nothing has changed.
    #[must_use]
    pub fn next(&self) -> Option<Version> {
        let Version { major, minor, patch, .. } = self.released;
        self.needs().map(|level| match level {
            Level::Major => Version::new(major + 1, 0, 0),
            Level::Minor => Version::new(major, minor + 1, 0),
            Level::Patch => Version::new(major, minor, patch + 1),
        })
    }

    /// Whether a break stands in a version that promises none. What is compatible may gather until
    /// the next release.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.needs() == Some(Level::Major) && self.current.major <= self.released.major
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { released, current, changes } = self;
        let count = |level: Level| changes.iter().filter(|change| change.level == level).count();
        let Some(next) = self.next() else {
            return write!(formatter, "the contracts are those of release {released}");
        };
        if count(Level::Major) > 0 {
            let before = if self.refused() {
                "The contracts break release"
            } else {
                "The contracts break, as their version says, release"
            };
            writeln!(formatter, "{before} {released}, which stands in contract-tests/released/:")?;
            for witness in [Witness::Ours, Witness::Redocly, Witness::Buf] {
                for change in changes
                    .iter()
                    .filter(|change| change.level == Level::Major && change.witness == witness)
                {
                    writeln!(formatter, "  - {change} [{witness}]")?;
                }
            }
        }
        if self.refused() {
            write!(
                formatter,
                "\nWhat to do: make the change in a way that breaks nobody (docs/breaking-changes.md shows how), or, if it has to be, raise `info.version` \
                 in openapi.yaml from {current} to {next}: then the break is announced, and passes."
            )
        } else {
            let gathered = format!(
                "{} compatible changes and {} in words",
                count(Level::Minor),
                count(Level::Patch)
            );
            write!(
                formatter,
                "since release {released}: {} breaks, {gathered}; the next release is {next} or later, info.version is {current}",
                count(Level::Major)
            )
        }
    }
}

/// Both at once: each waits for a program.
fn both<L: Send, R>(left: impl FnOnce() -> L + Send, right: impl FnOnce() -> R) -> (L, R) {
    thread::scope(|scope| {
        let left = scope.spawn(left);
        let right = right();
        (left.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), right)
    })
}
