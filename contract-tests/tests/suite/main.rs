//! The suite as a program: what it finds, prints and leaves behind, and how it ends.

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]

mod hostile;
mod interrupt;
mod output;
mod program;
mod proxy;
mod refusals;
mod reports;
mod runner;
mod whole;
