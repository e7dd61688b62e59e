//! Keeps `gen/` in agreement with `openapi.yaml` and `proto/`.
//!
//! With the feature `generate`, the build script generates all files in memory and writes those
//! that differ from `gen/`. With `CI` set, or if the package is not a checkout, it writes nothing
//! and fails for a stale file. Without the feature it compares checksums and fails for a stale
//! file.

#![allow(clippy::disallowed_macros, reason = "cargo reads the output of build scripts")]

use std::{env, path::PathBuf};

type Error = Box<dyn std::error::Error>;

const REGENERATE_COMMAND: &str = "make gen";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=openapi.yaml");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=gen");
    println!("cargo::rerun-if-env-changed=CI");
    if let Err(error) = run() {
        // `cargo::error` shows the text without a panic and a backtrace.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), Error> {
    let root = PathBuf::from(
        env::var_os("CARGO_MANIFEST_DIR")
            .ok_or("CARGO_MANIFEST_DIR is not set: run this through cargo")?,
    );
    #[cfg(feature = "generate")]
    generate::run(&root)?;
    #[cfg(not(feature = "generate"))]
    {
        let differences = checksums::differences(&root)?;
        if !differences.is_empty() {
            return Err(format!(
                "{}\nThis build has no generator. Run `{REGENERATE_COMMAND}` (or `env -u CI cargo build --package \
                 merch-contract --features generate`), review `git diff gen`, and commit it with \
                 the contract.",
                differences.join("\n")
            )
            .into());
        }
    }
    Ok(())
}

#[path = "build/checksums.rs"]
mod checksums;
#[cfg(feature = "generate")]
#[path = "build/generate.rs"]
mod generate;
