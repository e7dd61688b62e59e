use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// `fingerprint` identifies the request; `stock` and `difference` are its response.
const ADMIN_REQUESTS: &str = "
CREATE TABLE admin_requests (
    key         text   NOT NULL,
    fingerprint text   NOT NULL,
    stock       {int}  NOT NULL,
    difference  {int}  NOT NULL,
    created_at  {time} NOT NULL,
    CONSTRAINT pk_admin_requests PRIMARY KEY (key),
    CONSTRAINT ck_admin_requests_key_length CHECK (length(key) BETWEEN 1 AND 255),
    CONSTRAINT ck_admin_requests_stock      CHECK (stock >= 0)
){strict}";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &[ADMIN_REQUESTS]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &["DROP TABLE admin_requests"]).await
    }
}
