//! The db service: users, products and orders over PostgreSQL or SQLite, behind `merch.assistant.v1.AssistantService`.
//!
//! | floor | modules |
//! |---|---|
//! | the contract's words | `grpc`, by resource |
//! | the use-cases and their statements | `store`, by resource; placing orders is `place` behind the `committer` |
//! | the tables | `entity`; their rules stand in `merch-migration` |
//!
//! [`serve`] runs it all; [`migrate`] brings a database up to date.

mod clock;
mod config;
mod database;
mod db_error;
mod entity;
mod failure;
mod grpc;
mod metrics;
mod serve;
mod store;

pub use config::{Config, Orders, Pool, ShippedEvents};
pub use database::{Database, check_url, migrate};
pub use serve::serve;
pub use store::outbox::Outbox;
