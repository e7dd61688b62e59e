//! The minimal document as a test server.

#![allow(unreachable_pub, reason = "generated for a library")]

#[rustfmt::skip]
#[path = "../golden/minimal.rs"]
pub mod server;

use server::{All, PingResponse};

pub struct Pong;

impl All for Pong {
    async fn ping(&self) -> PingResponse {
        PingResponse::NoContent
    }
}
