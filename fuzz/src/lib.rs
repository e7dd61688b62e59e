//! Fuzz targets: functions that take any bytes and panic if a parser, a validator or the whole api
//! service breaks a promise. Each one asserts more than the absence of panics.
//!
//! `fuzz_targets/` runs them in libFuzzer, `tests/corpus.rs` on their corpora. docs/fuzzing.md
//! describes both.

mod document;
mod generator;
mod headers;
mod journal;
mod json;
mod messages;
mod parameters;
mod proto_rules;
mod requests;
mod tokens;

use tokio::runtime::Runtime;

pub use self::{
    generator::generator,
    headers::headers,
    journal::journal,
    json::json,
    messages::{event_json, grpc},
    parameters::{idempotency_key, query},
    proto_rules::proto_rules,
    requests::requests,
    tokens::{page_token, token},
};

/// Returns a runtime for parsers that are asynchronous and never wait.
fn runtime() -> &'static Runtime {
    static RUNTIME: std::sync::LazyLock<Runtime> = std::sync::LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts")
    });
    &RUNTIME
}
