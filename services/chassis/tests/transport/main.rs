//! Who reaches a gRPC server, by which way, and what they may call there.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]

mod handshakes;
mod listeners;
mod roles;
mod support;
mod trust;
