//! The generated clients of other languages against a store, driven by `target/clients/LANG/drive`,
//! which `make clients` builds. `contract-tests/clients/README.md` has the rules.

// Tests panic to fail.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod driver;
mod driver_faults;
mod grpc;
mod journey;
mod journey_file;
