//! The db service by its gRPC client over a socket. Most tests run on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]
#![allow(clippy::disallowed_macros, reason = "figures")]

mod admin;
mod clock;
mod concurrency;
mod field_rules;
mod harness;
mod orders;
mod outbox;
mod place_orders;
mod postgres;
mod products;
mod replicas;
mod restored;
mod rolling_upgrade;
mod schema;
mod servers;
mod sqlite;
mod users;
