//! Creates what several replicas of the db service share: who ships the outbox, how often one may
//! log in, and which programs fit this schema.
//!
//! It only adds, so a program that was made before it still works on this schema.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// One row: who ships the outbox, and until when by the database's clock. Nobody does before the
/// first one asks, and after a release.
const OUTBOX_LEASE: &str = "
CREATE TABLE outbox_lease (
    id         {int}  NOT NULL CONSTRAINT pk_outbox_lease PRIMARY KEY,
    holder     {uuid},
    expires_at {time} NOT NULL,
    CONSTRAINT ck_outbox_lease_id CHECK (id = 1)
){strict}";
const NOBODY: &str =
    "INSERT INTO outbox_lease (id, holder, expires_at) VALUES (1, NULL, '1970-01-01T00:00:00Z')";

/// How often a name was tried to log in with, whether or not a user has it: the SHA-256 of the
/// name, folded as `users.username_key`, as what was typed may be a password in the wrong field;
/// and when its allowance is whole again, in microseconds since 1970 by the database's clock. A row
/// in the past says nothing and may go.
const LOG_IN_ATTEMPTS: &str = "
CREATE TABLE log_in_attempts (
    name_digest {bytes}  NOT NULL,
    whole_at    {bigint} NOT NULL,
    CONSTRAINT pk_log_in_attempts PRIMARY KEY (name_digest),
    CONSTRAINT ck_log_in_attempts_name_digest_length CHECK (length(name_digest) = 32)
){strict}";
/// For the removal of rows in the past.
const LOG_IN_ATTEMPTS_BY_TIME: &str =
    "CREATE INDEX ix_log_in_attempts_whole_at ON log_in_attempts (whole_at)";

/// One row: a program works on this schema if it knows the migration that is named here. A
/// migration that only adds leaves the name as it is; one that takes something away names the
/// oldest migration whose programs no longer miss it.
const SCHEMA_REQUIREMENTS: &str = "
CREATE TABLE schema_requirements (
    id               {int} NOT NULL CONSTRAINT pk_schema_requirements PRIMARY KEY,
    oldest_migration text  NOT NULL,
    CONSTRAINT ck_schema_requirements_id CHECK (id = 1)
){strict}";
const SINCE_THE_FIRST: &str = "INSERT INTO schema_requirements (id, oldest_migration) VALUES (1, 'm20260101_000001_create_store')";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &[OUTBOX_LEASE, NOBODY]).await?;
        dialect::execute(manager, &[LOG_IN_ATTEMPTS, LOG_IN_ATTEMPTS_BY_TIME]).await?;
        dialect::execute(manager, &[SCHEMA_REQUIREMENTS, SINCE_THE_FIRST]).await
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
