//! The golden library, driven over HTTP: every rejection and every response.

mod faults;
#[path = "../library/mod.rs"]
mod library;
#[path = "../minimal/mod.rs"]
mod minimal;
mod operations;
