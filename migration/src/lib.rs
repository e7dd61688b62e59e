//! Schema and seed data of the store, the same on PostgreSQL 17 and SQLite.
//!
//! A migration that has been released is never edited: the next change is a new one.
//!
//! While replicas are replaced one by one, programs of two releases work on one schema. So a
//! migration *expands*: it adds what the program before it can do without (a table, an index, a
//! column that is nullable or has a default). What it makes superfluous goes in a later release, by
//! a migration that *contracts* and that says so in `schema_requirements`: the oldest migration
//! that a program has to know to go on working.

mod dialect;
mod m20260101_000001_create_store;
mod m20260101_000002_seed_products;
mod m20260301_000003_many_replicas;
mod m20260301_000004_admin_requests;
mod m20261130_000005_known_networks;
mod m20261130_000006_versions_of_a_new_database;
mod standing;
mod versions;

use sea_orm_migration::prelude::MigrationTrait;

pub use sea_orm_migration::MigratorTrait;
pub use standing::{Standing, standing};
pub use versions::Era;

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_create_store::Migration),
            Box::new(m20260101_000002_seed_products::Migration),
            Box::new(m20260301_000003_many_replicas::Migration),
            Box::new(m20260301_000004_admin_requests::Migration),
            Box::new(m20261130_000005_known_networks::Migration),
            Box::new(m20261130_000006_versions_of_a_new_database::Migration),
        ]
    }
}
