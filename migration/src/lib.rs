//! Schema and seed data of the store on PostgreSQL and SQLite. A released migration is never
//! edited.
//!
//! During a rolling upgrade, two releases use one schema. So a migration *expands*: it adds what
//! the previous release can ignore, such as a table or a nullable column. A later release
//! *contracts*: it removes what is unused, and writes the oldest migration that a program must know
//! to `schema_requirements`.

mod compatibility;
mod dialect;
mod m20260101_000001_create_store;
mod m20260101_000002_seed_products;
mod m20260301_000003_many_replicas;
mod m20260301_000004_admin_requests;
mod m20261130_000005_known_networks;
mod m20261130_000006_versions_of_a_new_database;
mod m20261201_000007_budget_draws;
mod m20261201_000008_newest_orders;
mod versions;

use sea_orm_migration::prelude::MigrationTrait;

pub use compatibility::{Compatibility, check_compatibility};
pub use sea_orm_migration::MigratorTrait;
pub use versions::VersionEpoch;

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
            Box::new(m20261201_000007_budget_draws::Migration),
            Box::new(m20261201_000008_newest_orders::Migration),
        ]
    }
}
