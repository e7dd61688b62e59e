//! Proves that an implementation keeps to `openapi.yaml`, with nothing but what any client has:
//! HTTP.

pub mod cases;
pub mod check;
pub mod contract;
pub mod document;
pub mod http;
pub mod options;
pub mod report;
pub mod suite;
