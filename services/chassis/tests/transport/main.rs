//! Authentication and authorization of gRPC callers.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod handshakes;
mod listeners;
mod roles;
mod support;
mod trust;
#[path = "../fixtures/unary.rs"]
mod unary;
