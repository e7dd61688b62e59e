//! The suite as a program: output, cleanup and exit codes.

// Tests panic to fail.
#![allow(clippy::unwrap_used)]

mod faulty_servers;
mod full_run;
mod interrupt;
mod output;
mod program;
mod proxy;
mod reports;
mod runner;
mod usage_errors;
