//! Tests the pages in Chromium and the curl samples in shells. `make test` installs the tools
//! (tools/install).

// Tests panic to fail.
#![allow(clippy::unwrap_used)]

/// Tests that need Chromium; `tools/test` skips them if it is missing.
mod needs_chromium {
    mod cors;
    mod pages;
}
/// Tests that need curl; `tools/test` skips them if it is missing.
mod needs_curl {
    mod samples;
}
mod script;
