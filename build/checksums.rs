//! `gen/SHA256SUMS`: checksums of the contracts and of the files generated from them. It detects a
//! stale file without a generator. `sha256sum --check gen/SHA256SUMS` reads it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::Error;

/// The file, relative to the package.
pub(crate) const CHECKSUM_FILE: &str = "gen/SHA256SUMS";

/// Returns the contracts, relative to the package: `openapi.yaml` and `proto/`.
pub(crate) fn contracts(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = vec![PathBuf::from("openapi.yaml")];
    for file in walk(&root.join("proto"))? {
        files.push(file.strip_prefix(root)?.to_owned());
    }
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "yaml" || extension == "proto")
    });
    Ok(files)
}

pub(crate) fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares the files with their checksums. Returns one sentence for each file that differs.
#[cfg_attr(feature = "generate", allow(dead_code, reason = "the generators compare texts"))]
pub(crate) fn differences(root: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(root.join(CHECKSUM_FILE))
        .map_err(|error| format!("cannot read {CHECKSUM_FILE}: {error}; `make gen` writes it"))?;
    let mut listed: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    let mut files = contracts(root)?;
    for file in walk(&root.join("gen"))? {
        files.push(file.strip_prefix(root)?.to_owned());
    }
    let mut differences = Vec::new();
    for file in files.iter().filter(|file| **file != Path::new(CHECKSUM_FILE)) {
        let name =
            file.to_str().ok_or("a contract or generated file has a name that is not UTF-8")?;
        match (listed.remove(name), name.starts_with("gen/")) {
            (None, true) => differences.push(format!("{name} is not generated from the contracts")),
            (None, false) => differences.push(format!("{name} was added after gen/ was generated")),
            (Some(wanted), generated) if wanted != sum(&fs::read(root.join(file))?) => differences
                .push(if generated {
                    format!("{name} is not what the contracts generate")
                } else {
                    format!("{name} has changed since gen/ was generated")
                }),
            (Some(_), _) => {}
        }
    }
    differences
        .extend(listed.keys().map(|name| format!("{name} is missing; gen/ was generated with it")));
    Ok(differences)
}

/// Returns all files below a path in order, the path itself if it is a file, or nothing if it does
/// not exist.
pub(crate) fn walk(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            files.extend(walk(&entry?.path())?);
        }
    }
    files.sort();
    Ok(files)
}
