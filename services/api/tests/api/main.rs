//! The api service over HTTP, with a scripted db service.

#![allow(clippy::unwrap_used)] // in tests a failure is a panic

#[path = "../support/mod.rs"]
mod support;

mod clock_skew;
mod conditional_requests;
mod connections;
mod cors;
mod db_errors;
mod floods;
mod headers;
mod identity;
mod key_rotation;
mod middleware;
mod operations;
mod order_batches;
mod pages;
mod proxies;
mod replicas;
mod shared_reads;
mod shutdown;
mod tokens;
mod trace_context;
mod write_limits;
