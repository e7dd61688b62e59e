//! Runs Schemathesis against a store: every check and phase, and each link of `openapi.yaml`.
//!
//! Seed and time are fixed, so that `make test` is reproducible; `make fuzz-api` runs longer with a
//! new seed (`MERCH_FUZZ_SEED`, `MERCH_FUZZ_SECONDS`). `report.rs` checks what the run reached.

// Prints Schemathesis's output.
#![allow(clippy::disallowed_macros)]

/// Tests that need Python; `tools/test` skips them where it is missing.
mod needs_python {
    mod fuzzing;
}
mod report;
