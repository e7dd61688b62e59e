//! Starts the versions of products anew, so that those of a new database differ from those of an
//! earlier one: products have the same ids in every database, unlike users and orders.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::{dialect, versions::VersionEpoch};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let next = VersionEpoch::now()
            .next("version", manager.get_database_backend() == DbBackend::Sqlite);
        dialect::execute(manager, &[&format!("UPDATE products SET version = {next}")]).await
    }

    /// Does nothing: a version that clients have seen cannot be taken back.
    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
