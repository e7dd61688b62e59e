//! Client networks from which an account sent its correct password within
//! [`LogIns::known_for`](crate::config::LogIns::known_for).

use std::time::Duration;

use merch_chassis::network;
use sea_orm::{ConnectionTrait as _, DbErr, Statement, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Store, db_failure, sql::Sql};
use crate::{
    database::{DELETE_BATCH, Transaction},
    failure::Failure,
};

/// Networks per account; the least recently seen one is deleted.
const MAX_NETWORKS: i64 = 20;

/// `$1` the user, `$2` the network, `$3` the retention in microseconds.
const SELECT_KNOWN: Sql = Sql {
    postgres: concat!(
        "
        SELECT 1 FROM known_networks
        WHERE user_id = $1 AND network_digest = $2 AND seen_at > ",
        now_micros!(postgres),
        " - $3",
    ),
    sqlite: concat!(
        "
        SELECT 1 FROM known_networks
        WHERE user_id = $1 AND network_digest = $2 AND seen_at > ",
        now_micros!(sqlite),
        " - $3",
    ),
};
const TOUCH: Sql = Sql {
    postgres: concat!(
        "
        UPDATE known_networks SET seen_at = ",
        now_micros!(postgres),
        "
        WHERE user_id = $1 AND network_digest = $2",
    ),
    sqlite: concat!(
        "
        UPDATE known_networks SET seen_at = ",
        now_micros!(sqlite),
        "
        WHERE user_id = $1 AND network_digest = $2",
    ),
};
const INSERT: Sql = Sql {
    postgres: concat!(
        "
        INSERT INTO known_networks (user_id, network_digest, seen_at)
        VALUES ($1, $2, ",
        now_micros!(postgres),
        ")
        ON CONFLICT (user_id, network_digest) DO UPDATE SET seen_at = excluded.seen_at",
    ),
    sqlite: concat!(
        "
        INSERT INTO known_networks (user_id, network_digest, seen_at)
        VALUES ($1, $2, ",
        now_micros!(sqlite),
        ")
        ON CONFLICT (user_id, network_digest) DO UPDATE SET seen_at = excluded.seen_at",
    ),
};
const DELETE_OLDEST: &str = "
    DELETE FROM known_networks
    WHERE user_id = $1 AND network_digest NOT IN (
        SELECT network_digest FROM known_networks
        WHERE user_id = $1
        ORDER BY seen_at DESC, network_digest
        LIMIT $2
    )";
const DELETE_OTHERS: &str =
    "DELETE FROM known_networks WHERE user_id = $1 AND network_digest <> $2";
/// `$1` the retention in microseconds, `$2` the limit.
const DELETE_EXPIRED: Sql = Sql {
    postgres: concat!(
        "
        DELETE FROM known_networks WHERE (user_id, network_digest) IN (
            SELECT user_id, network_digest FROM known_networks
            WHERE seen_at <= ",
        now_micros!(postgres),
        " - $1
            ORDER BY seen_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )",
    ),
    sqlite: concat!(
        "
        DELETE FROM known_networks WHERE (user_id, network_digest) IN (
            SELECT user_id, network_digest FROM known_networks
            WHERE seen_at <= ",
        now_micros!(sqlite),
        " - $1
            ORDER BY seen_at
            LIMIT $2
        )",
    ),
};

/// An IPv4 address, the first address of an IPv6 /64, or empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network(String);

impl Network {
    /// Accepts any address of a /64 and returns the /64.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        Some(Self(network(text.parse().ok()?).to_string()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Trying all IPv4 addresses reverses a digest, so rows expire.
    fn digest(&self, user: Uuid) -> Value {
        let hash =
            Sha256::new().chain_update("merch known network\0").chain_update(user.as_bytes());
        hash.chain_update(&self.0).finalize().to_vec().into()
    }
}

impl Store {
    pub(super) async fn is_known(&self, user: Uuid, network: &Network) -> Result<bool, Failure> {
        let values = [user.into(), network.digest(user), micros(self.log_ins.known_for)];
        let statement = SELECT_KNOWN.with(self.database.backend(), values);
        let row = self.read(|| self.database.reader().query_one_raw(statement.clone())).await?;
        Ok(row.is_some())
    }

    pub(super) async fn record_network(
        &self,
        transaction: &Transaction,
        user: Uuid,
        network: &Network,
    ) -> Result<(), Failure> {
        if network.0.is_empty() {
            return Ok(());
        }
        let backend = self.database.backend();
        let values = || [user.into(), network.digest(user)];
        let touched = transaction.execute_raw(TOUCH.with(backend, values())).await;
        if touched.map_err(db_failure)?.rows_affected() > 0 {
            return Ok(());
        }
        transaction.execute_raw(INSERT.with(backend, values())).await.map_err(db_failure)?;
        // Only a transaction that inserts a row deletes others, so that no two wait for each other.
        let latest = Statement::from_sql_and_values(
            backend,
            DELETE_OLDEST,
            [user.into(), MAX_NETWORKS.into()],
        );
        transaction.execute_raw(latest).await.map_err(db_failure).map(|_| ())
    }

    pub(super) async fn delete_other_networks(
        &self,
        transaction: &Transaction,
        user: Uuid,
        network: &Network,
    ) -> Result<(), Failure> {
        let others = Statement::from_sql_and_values(
            self.database.backend(),
            DELETE_OTHERS,
            [user.into(), network.digest(user)],
        );
        transaction.execute_raw(others).await.map_err(db_failure).map(|_| ())
    }

    pub(crate) async fn delete_expired_networks(&self) -> Result<u64, DbErr> {
        let values = [micros(self.log_ins.known_for), i64::from(DELETE_BATCH).into()];
        self.database
            .remove(DELETE_EXPIRED.with(self.database.backend(), values), DELETE_BATCH.into())
            .await
    }
}

fn micros(time: Duration) -> Value {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 16).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_ipv4_address_or_ipv6_64() {
        for (text, network) in [
            ("", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1::", "2001:db8:0:1::"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ] {
            assert_eq!(Network::parse(text).as_ref().map(Network::as_str), Some(network), "{text}");
        }
        for text in ["192.0.2.1:80", "192.0.2", "alice", " 192.0.2.1", "2001:db8::/64"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
