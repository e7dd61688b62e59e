//! The clients of other languages against a store: each is generated from the unmodified contracts,
//! and driven by `target/clients/LANG/drive`, which `make clients` makes.
//! `contract-tests/clients/README.md` has the rules.

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod driver;
mod grpc;
mod journey;
mod lies;
mod travel;
