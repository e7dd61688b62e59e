//! Creates what all replicas share: the outbox lease, the budgets of password checks, and the
//! schema requirements.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// One row: the leader and the end of its lease by the database's clock. `holder` is NULL before
/// the first election and after a release.
const OUTBOX_LEASE: &str = "
CREATE TABLE outbox_lease (
    id         {int}  NOT NULL CONSTRAINT pk_outbox_lease PRIMARY KEY,
    holder     {uuid},
    expires_at {time} NOT NULL,
    CONSTRAINT ck_outbox_lease_id CHECK (id = 1)
){strict}";
const INSERT_FREE_LEASE: &str =
    "INSERT INTO outbox_lease (id, holder, expires_at) VALUES (1, NULL, '1970-01-01T00:00:00Z')";

/// `name_digest` is the SHA-256 of a lower-case name, whether or not a user has it: it may be a
/// password typed into the wrong field. `whole_at` is when the budget is full again, in
/// microseconds since 1970 by the database's clock. Rows in the past may be deleted.
const LOG_IN_ATTEMPTS: &str = "
CREATE TABLE log_in_attempts (
    name_digest {bytes}  NOT NULL,
    whole_at    {bigint} NOT NULL,
    CONSTRAINT pk_log_in_attempts PRIMARY KEY (name_digest),
    CONSTRAINT ck_log_in_attempts_name_digest_length CHECK (length(name_digest) = 32)
){strict}";
const LOG_IN_ATTEMPTS_BY_TIME: &str =
    "CREATE INDEX ix_log_in_attempts_whole_at ON log_in_attempts (whole_at)";

/// One row: a program works on this schema if it knows this migration. A migration that removes
/// something sets it to the oldest migration whose programs do not need it.
const SCHEMA_REQUIREMENTS: &str = "
CREATE TABLE schema_requirements (
    id               {int} NOT NULL CONSTRAINT pk_schema_requirements PRIMARY KEY,
    oldest_migration text  NOT NULL,
    CONSTRAINT ck_schema_requirements_id CHECK (id = 1)
){strict}";
const INSERT_REQUIREMENT: &str = "
INSERT INTO schema_requirements (id, oldest_migration)
VALUES (1, 'm20260101_000001_create_store')";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &[OUTBOX_LEASE, INSERT_FREE_LEASE]).await?;
        dialect::execute(manager, &[LOG_IN_ATTEMPTS, LOG_IN_ATTEMPTS_BY_TIME]).await?;
        dialect::execute(manager, &[SCHEMA_REQUIREMENTS, INSERT_REQUIREMENT]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(
            manager,
            &[
                "DROP TABLE schema_requirements",
                "DROP TABLE log_in_attempts",
                "DROP TABLE outbox_lease",
            ],
        )
        .await
    }
}
