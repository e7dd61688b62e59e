//! Client networks at which an account is known: it proved its password there within
//! [`LogIns::known_for`](crate::config::LogIns::known_for).

use std::time::Duration;

use merch_chassis::network;
use sea_orm::{ConnectionTrait as _, DbErr, Statement, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Store, plain, sql::Sql};
use crate::{
    database::{BOUND, Transaction},
    failure::Failure,
};

/// Networks of one account, at most; the one that was not seen for longest goes first.
const MOST: i64 = 20;

/// Whether a row is there that is young enough: `$1` the user, `$2` the network, `$3` microseconds.
const IS_KNOWN: Sql = Sql {
    postgres: concat!(
        "SELECT 1 FROM known_networks WHERE user_id = $1 AND network_digest = $2 AND seen_at > ",
        now_micros!(postgres),
        " - $3"
    ),
    sqlite: concat!(
        "SELECT 1 FROM known_networks WHERE user_id = $1 AND network_digest = $2 AND seen_at > ",
        now_micros!(sqlite),
        " - $3"
    ),
};
const SEE_AGAIN: Sql = Sql {
    postgres: concat!(
        "UPDATE known_networks SET seen_at = ",
        now_micros!(postgres),
        " WHERE user_id = $1 AND network_digest = $2"
    ),
    sqlite: concat!(
        "UPDATE known_networks SET seen_at = ",
        now_micros!(sqlite),
        " WHERE user_id = $1 AND network_digest = $2"
    ),
};
const ADD: Sql = Sql {
    postgres: concat!(
        "INSERT INTO known_networks (user_id, network_digest, seen_at) VALUES ($1, $2, ",
        now_micros!(postgres),
        ") ON CONFLICT (user_id, network_digest) DO UPDATE SET seen_at = excluded.seen_at"
    ),
    sqlite: concat!(
        "INSERT INTO known_networks (user_id, network_digest, seen_at) VALUES ($1, $2, ",
        now_micros!(sqlite),
        ") ON CONFLICT (user_id, network_digest) DO UPDATE SET seen_at = excluded.seen_at"
    ),
};
const KEEP_LATEST: &str = "DELETE FROM known_networks WHERE user_id = $1 AND network_digest \
     NOT IN (SELECT network_digest FROM known_networks WHERE user_id = $1 \
     ORDER BY seen_at DESC, network_digest LIMIT $2)";
const REMOVE_OTHERS: &str =
    "DELETE FROM known_networks WHERE user_id = $1 AND network_digest <> $2";
/// Removes rows that are too old: `$1` microseconds, `$2` how many at most.
const EXPIRE: Sql = Sql {
    postgres: concat!(
        "DELETE FROM known_networks WHERE (user_id, network_digest) IN \
         (SELECT user_id, network_digest FROM known_networks WHERE seen_at <= ",
        now_micros!(postgres),
        " - $1 ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
    ),
    sqlite: concat!(
        "DELETE FROM known_networks WHERE (user_id, network_digest) IN \
         (SELECT user_id, network_digest FROM known_networks WHERE seen_at <= ",
        now_micros!(sqlite),
        " - $1 ORDER BY seen_at LIMIT $2)"
    ),
};

/// Where a client is: an IPv4 address, the first address of an IPv6 /64, or empty for not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network(String);

impl Network {
    /// Reads the text form. An address within a /64 stands for the /64.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        Some(Self(network(text.parse().ok()?).to_string()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored. Addresses of IPv4 are few, so that a digest hides them from a glance only:
    /// rows are removed after [`LogIns::known_for`](crate::config::LogIns::known_for).
    fn digest(&self, user: Uuid) -> Value {
        let hash =
            Sha256::new().chain_update("merch known network\0").chain_update(user.as_bytes());
        hash.chain_update(&self.0).finalize().to_vec().into()
    }
}

impl Store {
    /// Whether the user proved the password in this network lately.
    pub(super) async fn is_known(&self, user: Uuid, network: &Network) -> Result<bool, Failure> {
        let values = [user.into(), network.digest(user), micros(self.log_ins.known_for)];
        let statement = IS_KNOWN.with(self.database.backend(), values);
        let row = self.read(|| self.database.reader().query_one_raw(statement.clone())).await?;
        Ok(row.is_some())
    }

    /// Makes a user known in a network, as part of a transaction; does nothing without a network.
    pub(super) async fn remember_network(
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
        let seen = transaction.execute_raw(SEE_AGAIN.with(backend, values())).await;
        if seen.map_err(plain)?.rows_affected() > 0 {
            return Ok(());
        }
        transaction.execute_raw(ADD.with(backend, values())).await.map_err(plain)?;
        // Only a transaction that adds a row removes others, so that no two wait for each other.
        let latest =
            Statement::from_sql_and_values(backend, KEEP_LATEST, [user.into(), MOST.into()]);
        transaction.execute_raw(latest).await.map_err(plain).map(|_| ())
    }

    /// Forgets every other network of a user, as part of a transaction.
    pub(super) async fn forget_other_networks(
        &self,
        transaction: &Transaction,
        user: Uuid,
        network: &Network,
    ) -> Result<(), Failure> {
        let others = Statement::from_sql_and_values(
            self.database.backend(),
            REMOVE_OTHERS,
            [user.into(), network.digest(user)],
        );
        transaction.execute_raw(others).await.map_err(plain).map(|_| ())
    }

    /// Removes what is too old, a bounded number with each statement. Yields how many.
    pub(crate) async fn forget_networks(&self) -> Result<u64, DbErr> {
        let values = [micros(self.log_ins.known_for), i64::from(BOUND).into()];
        self.database.remove(EXPIRE.with(self.database.backend(), values), BOUND.into()).await
    }
}

fn micros(time: Duration) -> Value {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 16).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_slash_64() {
        for (text, network) in [
            ("", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1::", "2001:db8:0:1::"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ] {
            assert_eq!(Network::read(text).as_ref().map(Network::as_str), Some(network), "{text}");
        }
        for text in ["192.0.2.1:80", "192.0.2", "alice", " 192.0.2.1", "2001:db8::/64"] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
