//! The store in its containers, for tests: a Compose project of one's own, what may be done to it,
//! and what is compared afterwards.
//!
//! What stands in `tests/` needs a container engine and the program `target/debug/merch`; `make
//! test-compose` sees to both. Without an engine only the tests of this library run.

#![allow(clippy::disallowed_macros, reason = "progress of tests that take minutes")]

pub mod audit;
pub mod command;
pub mod container;
pub mod http;
pub mod image;
pub mod ledger;
pub mod load;
pub mod settings;
pub mod shared;
pub mod stack;
pub mod topic;
pub mod wait;
