//! Compiles the contracts, `openapi.yaml` and `proto/`, into `gen/`.
//!
//! Everything is generated in memory and compared with what is committed; only what differs is written. With `CI` set, or where this package is
//! not a checkout of its own (a dependency that cargo fetched), nothing is written: a stale file is an error that names it.

#![allow(clippy::disallowed_macros, reason = "how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=openapi.yaml");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=gen");
    println!("cargo::rerun-if-env-changed=CI");
    #[cfg(feature = "generate")]
    if let Err(error) = generate::run() {
        // `cargo::error` makes cargo show the text as it is, without a panic and its backtrace.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

#[cfg(feature = "generate")]
#[path = "build/generate.rs"]
mod generate;
