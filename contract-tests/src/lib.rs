//! Proves that an implementation keeps to `openapi.yaml`, with nothing but what any client has: HTTP.

pub mod contract;
