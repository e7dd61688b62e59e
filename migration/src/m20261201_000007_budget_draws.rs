//! When each budget of password checks was last drawn from, so that a clock that is set back
//! exhausts none.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    /// `drawn_at` is in microseconds since 1970 by the database's clock; 0 if an earlier release drew.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = "ALTER TABLE log_in_attempts ADD COLUMN drawn_at {bigint} NOT NULL DEFAULT 0";
        dialect::execute(manager, &[column]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &["ALTER TABLE log_in_attempts DROP COLUMN drawn_at"]).await
    }
}
