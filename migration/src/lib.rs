//! Schema and seed data of the store, the same on PostgreSQL 17 and SQLite.
//!
//! A migration that has been released is never edited: the next change is a new one.

mod dialect;
mod m20260101_000001_create_store;
mod m20260101_000002_seed_products;

use sea_orm_migration::prelude::{DbErr, MigrationTrait};
use sea_orm_migration::sea_orm::ConnectionTrait;

pub use sea_orm_migration::MigratorTrait;

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20260101_000001_create_store::Migration), Box::new(m20260101_000002_seed_products::Migration)]
    }
}

/// The names of the migrations that `connection`'s database still lacks, oldest first; empty when it is up to date.
///
/// Only reads, so that a service can ask with a role that may not create tables.
///
/// # Errors
/// If the database does not answer, or was migrated by a newer version of this program.
pub async fn pending<C: ConnectionTrait>(connection: &C) -> Result<Vec<String>, DbErr> {
    let pending = Migrator::get_pending_migrations_read_only(connection).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}
