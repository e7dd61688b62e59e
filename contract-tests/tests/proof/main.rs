//! Proves the suite itself: that it leaves out nothing that `openapi.yaml` declares, and that it
//! notices when an implementation breaks it.

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_macros, reason = "progress of a long test")]

mod catch;
mod exchange;
mod failures;
mod faulty;
mod memory;
mod mutants;
mod proxy;
mod ratchet;
mod stores;
mod table;
