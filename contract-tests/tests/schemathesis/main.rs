//! Schemathesis against a whole store: every check, all phases, and each link of `openapi.yaml`
//! followed.
//!
//! The seed and the time are fixed, so that `make test` finds what it found before; `make fuzz-api`
//! runs longer with a new seed (`MERCH_FUZZ_SEED`, `MERCH_FUZZ_SECONDS`). What the run must have
//! seen is in `report.rs`.

// What Schemathesis says is for whoever reads the test's output.
#![allow(clippy::disallowed_macros)]

/// Tests that need Python; `tools/test` skips them where it is missing.
mod needs_python {
    mod fuzzing;
}
mod report;
