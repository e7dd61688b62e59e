//! The last release of the contracts, and how the next one is made.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use semver::Version;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    change::Level,
    contracts::{ContractError, Contracts},
    gate::Report,
};

/// Where releases are told of, below a checkout.
pub const CHANGELOG: &str = "docs/contract-changelog.md";

/// A baseline that cannot be trusted.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// A file is not there or cannot be read.
    #[error("{path} cannot be read: {error}; it belongs to the last release of the contracts, and `make release-contract` writes it", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A contract in it cannot be read.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// It is not what was released.
    #[error(
        "contract-tests/released/ was edited: {what}. Restore it from git; only `make release-contract` moves it"
    )]
    Edited {
        /// What does not fit.
        what: String,
    },
}

/// A release that was not made.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// Nothing has changed.
    #[error("there is nothing to release: the contracts are those of {0}")]
    Nothing(Version),
    /// The version does not say what the changes need.
    #[error(
        "these changes need a {level} release: expected {expected} or later at info.version in openapi.yaml, found {found} (released is {released}). \
         Raise it, build (gen/ and the tests follow it), commit, and try again"
    )]
    Version {
        /// What the gravest change asks for.
        level: Level,
        /// The lowest version that will do.
        expected: Version,
        /// `info.version`.
        found: Version,
        /// The baseline's.
        released: Version,
    },
    /// The date is none.
    #[error("expected a date such as 2026-11-22, found \"{0}\"")]
    Date(String),
    /// The changelog is not as it was left.
    #[error(
        "{CHANGELOG}: expected a heading `## {0}`, that of the last release; the new entry belongs in front of it"
    )]
    Changelog(Version),
    /// The baseline cannot be read.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// A contract cannot be read.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The contracts as they were last released.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Of the release.
    pub version: Version,
    /// What was released.
    pub contracts: Contracts,
}

impl Baseline {
    /// Where it stands in a checkout.
    #[must_use]
    pub fn folder(root: &Path) -> PathBuf {
        root.join("contract-tests/released")
    }

    /// Reads it, and makes sure that nobody has edited it: a baseline that follows the contracts by
    /// hand sees no break.
    ///
    /// # Errors
    /// If a file is missing, or differs from what was released.
    pub fn read(root: &Path) -> Result<Self, BaselineError> {
        let folder = Self::folder(root);
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|error| BaselineError::File { path, error })
        };
        let (written, sums) = (text("version")?, text("SHA256SUMS")?);
        let contracts = Contracts::read(&folder)?;
        let version = contracts.version()?;
        if written.trim_end() != version.to_string() {
            let what = format!(
                "`version` says {}, and info.version there is {version}",
                written.trim_end()
            );
            return Err(BaselineError::Edited { what });
        }
        if sums != self::sums(&contracts) {
            return Err(BaselineError::Edited {
                what: "its files are not those of SHA256SUMS".to_owned(),
            });
        }
        Ok(Self { version, contracts })
    }

    /// Makes the contracts of a checkout the baseline, whatever it was.
    ///
    /// # Errors
    /// If the contracts cannot be read, or the baseline cannot be written.
    pub fn replace(root: &Path) -> Result<Version, ReleaseError> {
        let contracts = Contracts::read(root)?;
        let (folder, version) = (Self::folder(root), contracts.version()?);
        let write = || {
            contracts.write(&folder)?;
            fs::write(folder.join("version"), format!("{version}\n"))?;
            fs::write(folder.join("SHA256SUMS"), sums(&contracts))
        };
        write().map_err(|error| ReleaseError::File { path: folder.clone(), error })?;
        Ok(version)
    }
}

/// Makes the contracts of a checkout the last release: holds `info.version` against what has
/// changed, writes the entry in the changelog, and moves the baseline. `date` is that of the
/// release, in UTC.
///
/// # Errors
/// If there is nothing to release, the version has not grown as far as the changes need, or a file
/// cannot be read or written.
pub fn release(root: &Path, report: &Report, date: &str) -> Result<Version, ReleaseError> {
    if !is_date(date) {
        return Err(ReleaseError::Date(date.to_owned()));
    }
    let (Some(level), Some(expected)) = (report.needs(), report.next()) else {
        return Err(ReleaseError::Nothing(report.released.clone()));
    };
    if report.current < expected {
        return Err(ReleaseError::Version {
            level,
            expected,
            found: report.current.clone(),
            released: report.released.clone(),
        });
    }
    let path = root.join(CHANGELOG);
    let failed = |error| ReleaseError::File { path: path.clone(), error };
    let changelog = fs::read_to_string(&path).map_err(failed)?;
    let last = format!("\n## {} ", report.released);
    let at =
        changelog.find(&last).ok_or_else(|| ReleaseError::Changelog(report.released.clone()))?;
    let changelog = format!("{}\n{}{}", &changelog[..at], entry(report, date), &changelog[at..]);
    // The baseline first: were it the other way round and this one failed, the changelog would tell
    // of a release that is none.
    let version = Baseline::replace(root)?;
    fs::write(&path, changelog).map_err(failed)?;
    Ok(version)
}

fn entry(report: &Report, date: &str) -> String {
    let mut entry = format!("## {} ({date})\n", report.current);
    for (level, heading) in
        [(Level::Major, "Breaking"), (Level::Minor, "Compatible"), (Level::Patch, "Words")]
    {
        let mut changes = report.changes.iter().filter(|change| change.level == level).peekable();
        if changes.peek().is_some() {
            write!(entry, "\n### {heading}\n\n").expect("a String takes everything");
        }
        for change in changes {
            writeln!(entry, "- {change}").expect("a String takes everything");
        }
    }
    entry
}

/// In the form of `sha256sum`, so that `sha256sum --check` reads it, too.
fn sums(contracts: &Contracts) -> String {
    let mut sums = String::new();
    for (name, text) in contracts.files() {
        for byte in Sha256::digest(text.as_bytes()) {
            write!(sums, "{byte:02x}").expect("a String takes everything");
        }
        writeln!(sums, "  {name}").expect("a String takes everything");
    }
    sums
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize| {
        (part.len() == digits).then(|| part.parse::<u32>().ok()).flatten()
    };
    match parts.as_slice() {
        [year, month, day] => {
            number(year, 4).is_some()
                && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
                && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
        }
        _ => false,
    }
}
