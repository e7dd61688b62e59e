use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Client networks where an account proved its password: the SHA-256 of user and network, and the
/// last time, in microseconds since 1970 by the database's clock.
const KNOWN_NETWORKS: &str = "
CREATE TABLE known_networks (
    user_id        {uuid}   NOT NULL CONSTRAINT fk_known_networks_user REFERENCES users (id),
    network_digest {bytes}  NOT NULL,
    seen_at        {bigint} NOT NULL,
    CONSTRAINT pk_known_networks PRIMARY KEY (user_id, network_digest),
    CONSTRAINT ck_known_networks_network_digest_length CHECK (length(network_digest) = 32)
){strict}";
const KNOWN_NETWORKS_BY_TIME: &str =
    "CREATE INDEX ix_known_networks_seen_at ON known_networks (seen_at)";

/// log2 of scrypt's N for each active user. Each log-in reads the greatest one.
const HASH_COST_POSTGRES: &str = r"
CREATE INDEX ix_users_hash_cost ON users
    ((substring(password_hash FROM '^\$scrypt\$ln=([0-9]{1,2}),')::integer)) WHERE is_active";
const HASH_COST_SQLITE: &str = "
CREATE INDEX ix_users_hash_cost ON users
    (CAST(substr(password_hash, 12, 2) AS INTEGER)) WHERE is_active = TRUE";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        let hash_cost = if sqlite { HASH_COST_SQLITE } else { HASH_COST_POSTGRES };
        dialect::execute(manager, &[KNOWN_NETWORKS, KNOWN_NETWORKS_BY_TIME, hash_cost]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements = ["DROP INDEX ix_users_hash_cost", "DROP TABLE known_networks"];
        dialect::execute(manager, &statements).await
    }
}
