//! Adds the greatest id of each product's orders, so that one statement can place an order with a
//! greater one. NULL: none since this migration. The previous release ignores it; its orders are
//! not counted.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &["ALTER TABLE products ADD COLUMN newest_order {uuid}"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &["ALTER TABLE products DROP COLUMN newest_order"]).await
    }
}
