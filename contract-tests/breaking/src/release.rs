//! Releases the contracts: writes the changelog entry and replaces the baseline.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use semver::Version;
use thiserror::Error;

use crate::{
    baseline::{Baseline, BaselineError},
    change::Level,
    report::Report,
};

/// The changelog of the contracts, below a checkout.
pub const CHANGELOG: &str = "docs/contract-changelog.md";

/// Why there is no release.
#[derive(Debug, Error)]
pub enum ReleaseError {
    #[error("nothing to release: the contracts equal {0}")]
    Unchanged(Version),
    #[error(
        "these changes need a {level} release: expected {expected} or later at info.version in openapi.yaml, found {found} (released is {released}). \
         Raise it, build (gen/ and the tests follow it), commit, and try again"
    )]
    VersionTooLow { level: Level, expected: Version, found: Version, released: Version },
    #[error("expected a date such as 2026-11-22, found \"{0}\"")]
    Date(String),
    /// The changelog lacks the entry of the last release, above which the new entry is inserted.
    #[error("{CHANGELOG}: expected the heading `## {0}` of the last release; restore it")]
    Changelog(Version),
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    #[error("{path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
}

/// Checks that `info.version` has grown as far as the changes require, writes the changelog entry,
/// and replaces the baseline. `date` is the day of the release in UTC, for example `2026-11-22`.
///
/// # Errors
/// If nothing has changed, the version is too low, or a file cannot be read or written.
pub fn release(root: &Path, report: &Report, date: &str) -> Result<Version, ReleaseError> {
    if !is_date(date) {
        return Err(ReleaseError::Date(date.to_owned()));
    }
    let (Some(level), Some(expected)) = (report.level(), report.next_version()) else {
        return Err(ReleaseError::Unchanged(report.released.clone()));
    };
    if report.current < expected {
        let (found, released) = (report.current.clone(), report.released.clone());
        return Err(ReleaseError::VersionTooLow { level, expected, found, released });
    }
    let path = root.join(CHANGELOG);
    let failed = |error| ReleaseError::File { path: path.clone(), error };
    let changelog = fs::read_to_string(&path).map_err(failed)?;
    let last = format!("\n## {} ", report.released);
    let at =
        changelog.find(&last).ok_or_else(|| ReleaseError::Changelog(report.released.clone()))?;
    let changelog = format!("{}\n{}{}", &changelog[..at], entry(report, date), &changelog[at..]);
    // The baseline first: the changelog must not name a release that failed.
    let version = Baseline::replace(root)?;
    fs::write(&path, changelog).map_err(failed)?;
    Ok(version)
}

fn entry(report: &Report, date: &str) -> String {
    let mut entry = format!("## {} ({date})\n", report.current);
    for (level, heading) in
        [(Level::Major, "Breaking"), (Level::Minor, "Compatible"), (Level::Patch, "Prose")]
    {
        let mut changes = report.of_level(level).peekable();
        if changes.peek().is_some() {
            write!(entry, "\n### {heading}\n\n").expect("writing to a String cannot fail");
        }
        for change in changes {
            writeln!(entry, "- {change}").expect("writing to a String cannot fail");
        }
    }
    entry
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
