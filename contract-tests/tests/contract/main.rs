//! The store, from outside, a file for each resource.
//!
//! One program and not one for each file: linking the whole store is what takes time, and all tests
//! can run at the same time.

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]

mod dialog;
mod docs;
mod drift;
mod errors;
mod events;
mod identity;
mod orders;
mod products;
mod test_store;
mod users;
