//! Budgets of password checks, in the database, so that all replicas share them.
//!
//! Each check draws from the account's budget at the client's network and, unless the account is
//! known there, from its budget over all networks (`docs/identity.md`). A budget is the time at
//! which it is full again: the generic cell rate algorithm (GCRA). The time of the last draw limits
//! what a budget owes after the clock is set back. A check is reserved before the password is
//! hashed, and refunded if the password was right or not hashed.
//!
//! A name without a user has budgets, too, so that refusals do not reveal which names exist. A
//! refused check writes nothing; a reserved one costs a hash. So the hash pools of all replicas
//! bound the rows: `2 × hashes per second × period`.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Statement, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Store, UserLookup, db_failure, known_networks::Network, sql::Sql};
use crate::{
    config::{LogIns, Rate},
    database::{DELETE_BATCH, Transaction},
    entity::users::{Model, fold},
    failure::Failure,
    metrics,
};

/// Microseconds; more than a clock adjustment. A time further ahead than any check can cause counts
/// as full: the rate changed, or an earlier release drew from the budget before the clock was set
/// back.
const SLACK: i64 = 1_000_000;
const KEY_BYTES: usize = 32;

/// Names a budget.
pub(crate) type BudgetKey = [u8; KEY_BYTES];

/// Microseconds from now until the budget `$1` is full, at most those when it was last drawn from.
const SELECT_AHEAD: Sql = Sql {
    postgres: concat!(
        "
        SELECT whole_at - greatest(",
        now_micros!(postgres),
        ", drawn_at) AS ahead
        FROM log_in_attempts
        WHERE name_digest = $1",
    ),
    sqlite: concat!(
        "
        SELECT whole_at - max(",
        now_micros!(sqlite),
        ", drawn_at) AS ahead
        FROM log_in_attempts
        WHERE name_digest = $1",
    ),
};
/// `$1` the budget, `$2` the emission interval, `$3` the burst tolerance, `$4` the greatest
/// plausible distance of `whole_at` from now. `excluded` is a first draw, now.
const DRAW: Sql = Sql {
    postgres: concat!(
        "
        INSERT INTO log_in_attempts AS a (name_digest, whole_at, drawn_at)
        VALUES ($1, ",
        now_micros!(postgres),
        " + $2, ",
        now_micros!(postgres),
        ")
        ON CONFLICT (name_digest) DO UPDATE
        SET whole_at = excluded.whole_at + CASE
            WHEN a.whole_at - greatest(a.drawn_at, excluded.drawn_at) > $4 THEN 0
            ELSE greatest(a.whole_at - greatest(a.drawn_at, excluded.drawn_at), 0)
        END,
            drawn_at = excluded.drawn_at
        WHERE NOT (a.whole_at - greatest(a.drawn_at, excluded.drawn_at) > $3
            AND a.whole_at - greatest(a.drawn_at, excluded.drawn_at) <= $4)",
    ),
    sqlite: concat!(
        "
        INSERT INTO log_in_attempts AS a (name_digest, whole_at, drawn_at)
        VALUES ($1, ",
        now_micros!(sqlite),
        " + $2, ",
        now_micros!(sqlite),
        ")
        ON CONFLICT (name_digest) DO UPDATE
        SET whole_at = excluded.whole_at + CASE
            WHEN a.whole_at - max(a.drawn_at, excluded.drawn_at) > $4 THEN 0
            ELSE max(a.whole_at - max(a.drawn_at, excluded.drawn_at), 0)
        END,
            drawn_at = excluded.drawn_at
        WHERE NOT (a.whole_at - max(a.drawn_at, excluded.drawn_at) > $3
            AND a.whole_at - max(a.drawn_at, excluded.drawn_at) <= $4)",
    ),
};
/// `$1` the budget, `$2` the emission interval.
const REFUND: &str = "UPDATE log_in_attempts SET whole_at = whole_at - $2 WHERE name_digest = $1";
/// Deletes the budget `$1` if it is full.
const DELETE_IF_FULL: Sql = Sql {
    postgres: concat!(
        "
        DELETE FROM log_in_attempts WHERE name_digest = $1 AND whole_at <= greatest(",
        now_micros!(postgres),
        ", drawn_at)",
    ),
    sqlite: concat!(
        "
        DELETE FROM log_in_attempts WHERE name_digest = $1 AND whole_at <= max(",
        now_micros!(sqlite),
        ", drawn_at)",
    ),
};
/// After the clock was set back, budgets that were drawn from later recover from now on.
const REBASE: Sql = Sql {
    postgres: concat!(
        "
        UPDATE log_in_attempts
        SET whole_at = whole_at - drawn_at + n.now, drawn_at = n.now
        FROM (SELECT ",
        now_micros!(postgres),
        " AS now) AS n
        WHERE drawn_at > n.now AND name_digest IN (
            SELECT name_digest FROM log_in_attempts
            WHERE drawn_at > ",
        now_micros!(postgres),
        "
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )",
    ),
    sqlite: concat!(
        "
        UPDATE log_in_attempts
        SET whole_at = whole_at - drawn_at + n.now, drawn_at = n.now
        FROM (SELECT ",
        now_micros!(sqlite),
        " AS now) AS n
        WHERE drawn_at > n.now AND name_digest IN (
            SELECT name_digest FROM log_in_attempts
            WHERE drawn_at > ",
        now_micros!(sqlite),
        "
            LIMIT $1
        )",
    ),
};
/// `$1` the limit.
const DELETE_FULL: Sql = Sql {
    postgres: concat!(
        "
        DELETE FROM log_in_attempts WHERE name_digest IN (
            SELECT name_digest FROM log_in_attempts
            WHERE whole_at < ",
        now_micros!(postgres),
        "
            ORDER BY whole_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )",
    ),
    sqlite: concat!(
        "
        DELETE FROM log_in_attempts WHERE name_digest IN (
            SELECT name_digest FROM log_in_attempts
            WHERE whole_at < ",
        now_micros!(sqlite),
        "
            ORDER BY whole_at
            LIMIT $1
        )",
    ),
};
/// Reads log2 of scrypt's N from the last entry of an index.
const SELECT_HASH_COST: Sql = Sql {
    postgres: r"
        SELECT max((substring(password_hash FROM '^\$scrypt\$ln=([0-9]{1,2}),')::integer)) AS cost
        FROM users
        WHERE is_active",
    sqlite: "
        SELECT CAST(substr(password_hash, 12, 2) AS INTEGER) AS cost
        FROM users
        WHERE is_active = TRUE
        ORDER BY 1 DESC
        LIMIT 1",
};

/// A rate in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    pub(crate) emission_interval: i64,
    /// How far in the future a budget's time may be for another check to be allowed.
    pub(crate) burst_tolerance: i64,
}

impl From<Rate> for Gcra {
    fn from(rate: Rate) -> Self {
        // Far beyond any rate; sums with the current time do not overflow.
        const MAX: i64 = i64::MAX / 16;
        let emission_interval = i64::try_from(rate.period.as_micros()).unwrap_or(MAX).clamp(1, MAX);
        Self {
            emission_interval,
            burst_tolerance: (i64::from(rate.burst.get()) - 1)
                .saturating_mul(emission_interval)
                .min(MAX),
        }
    }
}

impl Gcra {
    pub(crate) fn max_ahead(self) -> i64 {
        self.burst_tolerance + self.emission_interval + SLACK
    }

    fn wait(self, ahead: i64) -> Option<Duration> {
        let exhausted = ahead > self.burst_tolerance && ahead <= self.max_ahead();
        let wait =
            exhausted.then_some((ahead - self.burst_tolerance).min(self.emission_interval))?;
        u64::try_from(wait).ok().map(Duration::from_micros)
    }
}

/// A user, or a name without an active user. A renamed user keeps its budgets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Account<'a> {
    User(Uuid),
    Name(&'a str),
}

impl Account<'_> {
    /// Returns a digest, as the name may be a password typed into the wrong field.
    fn key(self, network: Option<&Network>) -> BudgetKey {
        let hash = Sha256::new().chain_update("merch password check\0");
        let hash = match self {
            Self::User(id) => hash.chain_update("user\0").chain_update(id.as_bytes()),
            Self::Name(name) => hash.chain_update("name\0").chain_update(fold(name)),
        };
        match network {
            Some(network) => hash.chain_update("\0network\0").chain_update(network.as_str()),
            None => hash,
        }
        .finalize()
        .into()
    }
}

/// The budgets drawn from: the network's, then that of all networks. The api service sends it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reservation(Vec<BudgetKey>);

impl Reservation {
    /// Reads the output of [`to_bytes`](Self::to_bytes); empty is an empty reservation.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        (rest.is_empty() && keys.len() <= 2).then(|| Self(keys.to_vec()))
    }

    /// At most 64 bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// Returns the budgets, in the order in which every transaction locks them.
    pub(crate) fn budgets(&self, log_ins: &LogIns) -> Vec<(BudgetKey, Gcra)> {
        let rates = [log_ins.per_network.into(), log_ins.over_all.into()];
        self.0.iter().copied().zip(rates).collect()
    }
}

/// The statements of password checks, behind a trait, so that the simulation runs the rest.
pub(crate) trait Budgets: Sync {
    /// Returns whether the user sent its correct password from the network.
    fn is_known(
        &self,
        user: Uuid,
        network: &Network,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Returns the microseconds from now until a budget is full, if it is stored.
    fn ahead(&self, key: &BudgetKey) -> impl Future<Output = Result<Option<i64>, Failure>> + Send;

    /// Draws from every budget in one transaction, or from none. Fails with
    /// [`Failure::TooManyLogIns`] if one is exhausted.
    fn draw(
        &self,
        budgets: &[(BudgetKey, Gcra)],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl Budgets for Store {
    async fn is_known(&self, user: Uuid, network: &Network) -> Result<bool, Failure> {
        Self::is_known(self, user, network).await
    }

    async fn ahead(&self, key: &BudgetKey) -> Result<Option<i64>, Failure> {
        let select = SELECT_AHEAD.with(self.database.backend(), [value(key)]);
        let row = self.read(|| self.database.reader().query_one_raw(select.clone())).await?;
        row.map(|row| row.try_get("", "ahead")).transpose().map_err(db_failure)
    }

    async fn draw(&self, budgets: &[(BudgetKey, Gcra)]) -> Result<(), Failure> {
        let backend = self.database.backend();
        self.write(|transaction| async move {
            for (key, gcra) in budgets {
                let values = [
                    value(key),
                    gcra.emission_interval.into(),
                    gcra.burst_tolerance.into(),
                    gcra.max_ahead().into(),
                ];
                let draw = DRAW.with(backend, values);
                if transaction.execute_raw(draw).await.map_err(db_failure)?.rows_affected() != 1 {
                    let wait = Duration::from_micros(gcra.emission_interval.unsigned_abs());
                    return Err(Failure::TooManyLogIns(wait));
                }
            }
            Ok(())
        })
        .await
    }
}

/// The statements of a refund in one transaction, behind a trait as [`Budgets`].
pub(crate) trait Refunds: Sync {
    /// Gives one draw back, and deletes the budget if it is full then.
    fn give_back(
        &self,
        key: &BudgetKey,
        gcra: Gcra,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl Refunds for Transaction {
    async fn give_back(&self, key: &BudgetKey, gcra: Gcra) -> Result<(), Failure> {
        let backend = self.get_database_backend();
        let values = [value(key), gcra.emission_interval.into()];
        let refund = Statement::from_sql_and_values(backend, REFUND, values);
        for statement in [refund, DELETE_IF_FULL.with(backend, [value(key)])] {
            self.execute_raw(statement).await.map_err(db_failure)?;
        }
        Ok(())
    }
}

fn value(key: &BudgetKey) -> Value {
    key.to_vec().into()
}

/// Draws from the account's budget at the network and, unless the account is known there, from that
/// over all networks. Draws nothing if one is exhausted.
pub(crate) async fn reserve(
    statements: &impl Budgets,
    log_ins: &LogIns,
    account: Account<'_>,
    network: &Network,
) -> Result<Reservation, Failure> {
    // The reads do not depend on whether the user exists.
    let user = match account {
        Account::User(id) => id,
        Account::Name(_) => Uuid::nil(),
    };
    let is_known = statements.is_known(user, network).await?;
    let mut keys = vec![account.key(Some(network))];
    if !is_known {
        keys.push(account.key(None));
    }
    let reservation = Reservation(keys);
    let budgets = reservation.budgets(log_ins);
    let mut wait = None;
    for (key, gcra) in &budgets {
        wait = wait.max(statements.ahead(key).await?.and_then(|ahead| gcra.wait(ahead)));
    }
    if let Some(wait) = wait {
        return Err(Failure::TooManyLogIns(wait));
    }
    statements.draw(&budgets).await?;
    Ok(reservation)
}

/// Gives back what a check has drawn.
pub(crate) async fn refund(
    statements: &impl Refunds,
    log_ins: &LogIns,
    reservation: &Reservation,
) -> Result<(), Failure> {
    for (key, gcra) in reservation.budgets(log_ins) {
        statements.give_back(&key, gcra).await?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct PasswordCheck {
    /// `None` if no active user has the name.
    pub(crate) user: Option<Model>,
    /// 0 if there is no active user.
    pub(crate) hash_cost: i32,
    pub(crate) reservation: Reservation,
}

impl Store {
    /// Reserves nothing if a budget is exhausted.
    pub(crate) async fn begin_password_check(
        &self,
        lookup: &UserLookup,
        network: &Network,
    ) -> Result<PasswordCheck, Failure> {
        // The reads do not depend on whether the user exists.
        let user = self.find_user(lookup).await?;
        let hash_cost = self.greatest_hash_cost().await?;
        let account = match (&user, lookup) {
            (Some(user), _) => Account::User(user.id),
            (None, UserLookup::Username(name)) => Account::Name(name),
            (None, UserLookup::Caller(caller)) => Account::User(caller.user_id),
        };
        let reservation =
            reserve(self, &self.log_ins, account, network).await.inspect_err(|failure| {
                if matches!(failure, Failure::TooManyLogIns(_)) {
                    metrics::LOG_INS_REFUSED.inc();
                }
            })?;
        Ok(PasswordCheck { user, hash_cost, reservation })
    }

    /// Refunds a check whose password was not hashed.
    pub(crate) async fn cancel_password_check(
        &self,
        reservation: &Reservation,
    ) -> Result<(), Failure> {
        self.write(
            |transaction| async move { refund(&*transaction, &self.log_ins, reservation).await },
        )
        .await
    }

    async fn greatest_hash_cost(&self) -> Result<i32, Failure> {
        let statement = SELECT_HASH_COST.with(self.database.backend(), []);
        let row = self.read(|| self.database.reader().query_one_raw(statement.clone())).await?;
        let cost: Option<Option<i32>> =
            row.map(|row| row.try_get("", "cost")).transpose().map_err(db_failure)?;
        Ok(cost.flatten().unwrap_or(0))
    }

    /// Also lets budgets recover that were drawn from before the clock was set back.
    pub(crate) async fn delete_full_budgets(&self) -> Result<u64, DbErr> {
        let (database, backend) = (&self.database, self.database.backend());
        let limit = || [i64::from(DELETE_BATCH).into()];
        database.remove(REBASE.with(backend, limit()), DELETE_BATCH.into()).await?;
        database.remove(DELETE_FULL.with(backend, limit()), DELETE_BATCH.into()).await
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn gcra(burst: u32, period: Duration) -> Gcra {
        Gcra::from(Rate { burst: NonZeroU32::new(burst).unwrap(), period })
    }

    #[test]
    fn only_an_exhausted_budget_waits() {
        let gcra = gcra(10, Duration::from_secs(6));
        assert_eq!(gcra.wait(54_000_000), None, "nine checks were drawn, one is left");
        assert_eq!(gcra.wait(60_000_000), Some(Duration::from_secs(6)));
        assert_eq!(gcra.wait(54_000_001), Some(Duration::from_micros(1)));
        assert_eq!(gcra.wait(-5), None);
        let after_a_small_step_back = gcra.wait(60_500_000);
        assert_eq!(after_a_small_step_back, Some(Duration::from_secs(6)));
        assert_eq!(gcra.wait(3_600_000_000), None, "no check can cause this");
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let gcra = gcra(u32::MAX, period);
            let bounded =
                gcra.max_ahead() > gcra.burst_tolerance && gcra.max_ahead() < i64::MAX / 2;
            assert!(gcra.emission_interval >= 1 && bounded, "{gcra:?}");
        }
    }

    #[test]
    fn budget_keys_differ_and_hide_the_name() {
        let networks = ["192.0.2.1", "192.0.2.2"].map(|text| Network::parse(text).unwrap());
        let (one, other) = (Some(&networks[0]), Some(&networks[1]));
        let id = Uuid::now_v7();
        assert_eq!(Account::Name("Ada").key(one), Account::Name("aDA").key(one));
        let mut keys = vec![
            Account::Name("ada").key(one),
            Account::Name("ada").key(other),
            Account::Name("ada").key(None),
            Account::Name("adb").key(one),
            Account::User(id).key(one),
            Account::User(id).key(None),
        ];
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6);
        assert!(!keys.concat().windows(3).any(|bytes| bytes == b"ada"));
    }

    #[test]
    fn reservations_round_trip() {
        for keys in [vec![], vec![[1; KEY_BYTES]], vec![[1; KEY_BYTES], [2; KEY_BYTES]]] {
            let reservation = Reservation(keys);
            assert_eq!(Reservation::from_bytes(&reservation.to_bytes()), Some(reservation));
        }
        for length in [1, 31, 33, 65, 96] {
            assert_eq!(Reservation::from_bytes(&vec![0; length]), None, "{length}");
        }
    }
}
