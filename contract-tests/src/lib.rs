//! Tests any implementation of `openapi.yaml` over HTTP.

pub mod cases;
pub mod check;
pub mod contract;
pub mod document;
pub mod http;
pub mod options;
pub mod report;
pub mod suite;
