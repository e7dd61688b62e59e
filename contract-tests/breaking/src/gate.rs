//! Compares the contracts of a checkout with their last release.

use std::{
    path::{Path, PathBuf},
    thread,
};

use semver::Version;
use thiserror::Error;

use crate::{
    baseline::{Baseline, BaselineError},
    buf::Buf,
    change::Change,
    contracts::{ContractError, Contracts},
    oasdiff::Oasdiff,
    openapi, proto,
    report::Report,
    tool::ToolError,
};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum GateError {
    /// A contract cannot be read.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The baseline cannot be read.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The version went down.
    #[error(
        "info.version in openapi.yaml is {current}, lower than the released {released}; raise it"
    )]
    LowerVersion {
        /// `info.version` of the checkout.
        current: Version,
        /// The version of the last release.
        released: Version,
    },
}

/// A checkout and the tools that compare its contracts.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The checkout.
    pub root: PathBuf,
    /// Without oasdiff, only the rules of this crate compare `openapi.yaml`.
    pub oasdiff: Option<PathBuf>,
    /// The program buf.
    pub buf: PathBuf,
}

impl Gate {
    /// Tests the tools on a known break, then compares.
    ///
    /// # Errors
    /// If a contract or the baseline cannot be read, or a tool fails or misses the known break.
    pub fn check(&self) -> Result<Report, GateError> {
        let (oasdiff, buf) = in_parallel(
            || self.oasdiff().map_or(Ok(()), |oasdiff| oasdiff.self_test()),
            || self.buf().self_test(&self.root),
        );
        oasdiff.and(buf)?;
        self.compare()
    }

    /// Compares without testing the tools first.
    ///
    /// # Errors
    /// If a contract or the baseline cannot be read, or a tool fails.
    pub fn compare(&self) -> Result<Report, GateError> {
        let Baseline { version: released, contracts: old } = Baseline::read(&self.root)?;
        let new = Contracts::read(&self.root)?;
        let current = new.version()?;
        if current < released {
            return Err(GateError::LowerVersion { current, released });
        }
        let (openapi, proto) =
            in_parallel(|| self.openapi_changes(&old, &new), || self.proto_changes(&old, &new));
        let mut changes = openapi?;
        changes.extend(proto?);
        Ok(Report { released, current, changes })
    }

    fn openapi_changes(&self, old: &Contracts, new: &Contracts) -> Result<Vec<Change>, GateError> {
        if old.openapi == new.openapi {
            return Ok(Vec::new());
        }
        let mut changes = openapi::breaks(&old.openapi, &new.openapi);
        if let Some(oasdiff) = self.oasdiff() {
            // Relative paths, as the messages name them.
            let released = Baseline::directory(Path::new("")).join("openapi.yaml");
            changes.extend(oasdiff.changes(&released, Path::new("openapi.yaml"))?);
        }
        if changes.is_empty() {
            changes = openapi::other_changes(&old.openapi, &new.openapi);
        }
        Ok(changes)
    }

    fn proto_changes(&self, old: &Contracts, new: &Contracts) -> Result<Vec<Change>, GateError> {
        if old.proto == new.proto {
            return Ok(Vec::new());
        }
        let (old, new) = (old.compile()?, new.compile()?);
        let mut changes = proto::changes(&old, &new);
        let released = Baseline::directory(Path::new("")).join("proto");
        changes.extend(self.buf().breaks(&self.root, &released)?);
        if changes.is_empty() {
            changes = proto::other_changes(&old, &new);
        }
        Ok(changes)
    }

    fn oasdiff(&self) -> Option<Oasdiff<'_>> {
        self.oasdiff.as_deref().map(|program| Oasdiff { program, root: &self.root })
    }

    fn buf(&self) -> Buf<'_> {
        Buf { program: &self.buf }
    }
}

fn in_parallel<L: Send, R>(left: impl FnOnce() -> L + Send, right: impl FnOnce() -> R) -> (L, R) {
    thread::scope(|scope| {
        let left = scope.spawn(left);
        let right = right();
        (left.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), right)
    })
}
