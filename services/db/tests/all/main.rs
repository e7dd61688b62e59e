//! The db service through a real gRPC client over a real socket; every test runs on SQLite and on
//! PostgreSQL, each with a database of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]
#![allow(clippy::disallowed_macros, reason = "figures")]

mod admin;
mod clocks;
mod contention;
mod harness;
mod orders;
mod outbox;
mod placing;
mod postgres;
mod products;
mod replicas;
mod restored;
mod schema;
mod servers;
mod sqlite;
mod upgrades;
mod users;
