//! Tests any implementation of `openapi.yaml` over HTTP: [`run`].

pub mod cases;
pub mod check;
pub mod contract;
pub mod document;
pub mod http;
pub mod options;
pub mod report;
pub mod suite;

use std::sync::Arc;

use self::{document::Document, options::Options, report::Report};

/// Runs every case against an implementation and cleans up.
pub async fn run(options: Options, document: Arc<Document>) -> Report {
    let cases = cases::all(&document);
    suite::run_cases(options, document, cases).await
}
