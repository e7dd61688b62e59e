//! Lets the versions of the products begin anew, so that those of a database that was made anew are
//! none that an earlier one gave.
//!
//! Products have the same ids in every database. Users and orders have ids of their own.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::{dialect, versions::Era};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let next =
            Era::begin().next("version", manager.get_database_backend() == DbBackend::Sqlite);
        dialect::execute(manager, &[&format!("UPDATE products SET version = {next}")]).await
    }

    /// Nothing: a version that was given stays given.
    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
