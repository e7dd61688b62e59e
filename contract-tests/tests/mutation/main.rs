//! Tests of the suite: it covers every declaration of `openapi.yaml` and detects violations.

// Tests panic to fail.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_macros, reason = "progress of a long test")]

mod backend_failures;
mod coverage;
mod exchange;
mod faulty_db;
mod mutants;
mod mutants_page;
mod observed;
mod proxy;
mod suite_store;
mod trials;
