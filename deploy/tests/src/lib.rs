//! Compose stacks for tests: a separate project, fault injection, and consistency checks.
//!
//! The tests in `tests/` need a container engine and the program `target/debug/merch`; `make
//! test-compose` provides both. Without an engine only this library's tests run.

#![allow(missing_docs, reason = "only the tests of this crate use it")]
#![allow(clippy::disallowed_macros, reason = "progress of tests that take minutes")]

pub mod checker;
pub mod command;
pub mod container;
pub mod directories;
pub mod history;
pub mod http;
pub mod image;
pub mod load;
pub mod settings;
pub mod shared;
pub mod stack;
pub mod topic;
pub mod wait;
