//! Tests every rejection and response of the golden library.

mod faults;
#[path = "../library/mod.rs"]
mod library;
#[path = "../minimal/mod.rs"]
mod minimal;
mod operations;
