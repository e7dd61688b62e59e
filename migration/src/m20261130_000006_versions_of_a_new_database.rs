//! Restarts the versions of products, so that a new database does not repeat those of an earlier
//! one. Product ids, unlike those of users and orders, are the same in every database.

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
