//! Tests of the store through its API, a file per resource.
//!
//! One binary: linking the store takes most of the time, and all tests run in parallel.

// Tests panic to fail.
#![allow(clippy::unwrap_used)]

mod docs;
mod drift;
mod errors;
mod events;
mod greeting;
mod identity;
mod orders;
mod products;
mod shared_reads;
mod test_store;
mod users;
