//! The last release of the contracts, in `contract-tests/released/`.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use semver::Version;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::contracts::{ContractError, Contracts};

/// A baseline that cannot be read, trusted or written.
#[derive(Debug, Error)]
pub enum BaselineError {
    #[error(
        "failed to read {path}: {error}; the file belongs to the last release of the contracts, which `make release-contract` writes",
        path = path.display()
    )]
    Read { path: PathBuf, error: io::Error },
    #[error("failed to write {path}: {error}", path = path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error(
        "contract-tests/released/ was edited: {what}. Restore it from git; only `make release-contract` may change it"
    )]
    Edited { what: String },
}

/// The contracts of the last release.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// The version of the release.
    pub version: Version,
    /// The released contracts.
    pub contracts: Contracts,
}

impl Baseline {
    /// Returns the baseline's directory in a checkout.
    #[must_use]
    pub fn directory(root: &Path) -> PathBuf {
        root.join("contract-tests/released")
    }

    /// Reads the baseline and verifies its checksums: a baseline that was edited together with the
    /// contracts would hide a break.
    ///
    /// # Errors
    /// If a file is missing, or differs from the released one.
    pub fn read(root: &Path) -> Result<Self, BaselineError> {
        let directory = Self::directory(root);
        let text = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| BaselineError::Read { path, error })
        };
        let (recorded, sums) = (text("version")?, text("SHA256SUMS")?);
        let contracts = Contracts::read(&directory)?;
        let version = contracts.version()?;
        let edited = |what: String| Err(BaselineError::Edited { what });
        if recorded.trim_end() != version.to_string() {
            let recorded = recorded.trim_end();
            return edited(format!("`version` has {recorded}, info.version has {version}"));
        }
        if sums != self::sums(&contracts) {
            return edited("its files do not match SHA256SUMS".to_owned());
        }
        Ok(Self { version, contracts })
    }

    /// Replaces the baseline with the contracts of the checkout. Returns their version.
    ///
    /// # Errors
    /// If the contracts cannot be read, or the baseline cannot be written.
    pub fn replace(root: &Path) -> Result<Version, BaselineError> {
        let contracts = Contracts::read(root)?;
        let (directory, version) = (Self::directory(root), contracts.version()?);
        let write = || {
            contracts.write(&directory)?;
            fs::write(directory.join("version"), format!("{version}\n"))?;
            fs::write(directory.join("SHA256SUMS"), sums(&contracts))
        };
        write().map_err(|error| BaselineError::Write { path: directory.clone(), error })?;
        Ok(version)
    }
}

/// Returns checksums in the format of `sha256sum`.
fn sums(contracts: &Contracts) -> String {
    let mut sums = String::new();
    for (name, text) in contracts.files() {
        for byte in Sha256::digest(text.as_bytes()) {
            write!(sums, "{byte:02x}").expect("writing to a String cannot fail");
        }
        writeln!(sums, "  {name}").expect("writing to a String cannot fail");
    }
    sums
}
