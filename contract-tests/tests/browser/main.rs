//! The pages as people see them, in Chromium, and the samples as they paste them. `make test` installs what is needed (tools/install).

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]

mod pages;
mod samples;
mod script;
