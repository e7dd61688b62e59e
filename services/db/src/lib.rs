//! The db service: users, products and orders in PostgreSQL or SQLite, behind
//! `merch.assistant.v1.AssistantService`.
//!
//! | layer | modules |
//! |---|---|
//! | gRPC | `grpc`, by resource |
//! | use cases, SQL | `store`, by resource; `committer` and `place` place orders |
//! | tables | `entity`; constraints are in `merch-migration` |
//!
//! [`serve`] runs the service; [`migrate`] updates the schema of its database.

mod admin_token;
mod clock;
mod config;
mod database;
mod db_error;
mod entity;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grpc;
mod ids;
mod metrics;
mod restored;
mod serve;
#[cfg(test)]
mod simulation;
mod store;

pub use admin_token::{AdminToken, WeakAdminToken};
pub use clock::{MachineClock, SystemClock};
pub use config::{Config, LeaderElection, LogIns, Orders, Rate, ShippedEvents};
pub use database::{
    Connection, Database, Location, Pool, Pooler, Transaction, migrate, migrate_with_timeout,
};
pub use restored::mark_restored;
pub use serve::serve;
pub use store::outbox::{Outbox, OutboxPosition};
