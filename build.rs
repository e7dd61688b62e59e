//! Keeps `gen/` and the contracts, `openapi.yaml` and `proto/`, in agreement.
//!
//! With the feature `generate`, everything is generated in memory and compared with what is
//! committed; only what differs is written. With `CI` set, or where this package is not a checkout
//! of its own (a dependency that cargo fetched), nothing is written: a stale file is an error that
//! names it. Without the feature no generator is compiled; checksums show a stale file, which is an
//! error as well.

#![allow(clippy::disallowed_macros, reason = "how a build script speaks to cargo")]

use std::{env, path::PathBuf};

type Error = Box<dyn std::error::Error>;

/// The command that brings `gen/` up to date.
const MENDING_COMMAND: &str = "make gen";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=openapi.yaml");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=gen");
    println!("cargo::rerun-if-env-changed=CI");
    if let Err(error) = run() {
        // `cargo::error` makes cargo show the text as it is, without a panic and its backtrace.
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
                "{}\nThis build has no generator. Run `{MENDING_COMMAND}` (or `env -u CI cargo build --package merch-contract --features generate`), \
                 look at the difference with `git diff gen`, and commit it with the contract.",
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
