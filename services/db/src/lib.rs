//! The db service: users, products and orders over PostgreSQL or SQLite, behind
//! `merch.assistant.v1.AssistantService`.
//!
//! | floor | modules |
//! |---|---|
//! | the contract's words | `grpc`, by resource |
//! | the use-cases and their statements | `store`, by resource; placing orders is `place` behind the `committer` |
//! | the tables | `entity`; their rules stand in `merch-migration` |
//!
//! [`serve`] runs it all; [`migrate`] brings a database up to date.

mod admin_token;
mod clock;
mod config;
mod database;
mod db_error;
mod entity;
mod failure;
mod grpc;
mod ids;
mod metrics;
mod restored;
mod serve;
mod store;

pub use admin_token::{AdminToken, WeakAdminToken};
pub use clock::{MachineClock, SystemClock};
pub use config::{Config, LogIns, Orders, Pool, Pooler, Rate, ShippedEvents, Turns};
pub use database::{Connection, Database, Location, Transaction, migrate, migrate_patiently};
pub use restored::mark_restored;
pub use serve::serve;
pub use store::outbox::Outbox;
