//! The pages as people see them, in Chromium, and the samples as they paste them. `make test`
//! installs what is needed (tools/install).

// Tests end by panicking; that is what they are for.
#![allow(clippy::unwrap_used)]

/// Tests that need Chromium; `tools/test` skips them where it is missing.
mod needs_chromium {
    mod cors;
    mod pages;
}
/// Tests that need curl, likewise.
mod needs_curl {
    mod samples;
}
mod script;
