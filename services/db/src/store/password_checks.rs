//! Budgets of password checks, counted in the database: the same at ten replicas as at one.
//!
//! Each check draws from the budget of the account at the client's network and, unless the account
//! is known at that network, from the account's budget over all networks (`docs/identity.md`).
//! A budget is one number, the time at which it is whole again: the generic cell rate algorithm.
//! Checks are reserved before a password is hashed, as counting afterwards would let any number
//! run at the same time. A reservation is given back when the password was right or not hashed.
//!
//! A name that no user has is counted like an account, or the difference would show which names
//! exist. A refused check reads rows by their keys and writes nothing. A reserved one costs a hash,
//! so the hashing pools bound the number of rows: `2 × hashes a second × period`, over all
//! replicas.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Statement, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Store,
    known_networks::Network,
    plain,
    sql::Sql,
    users::{By, fold},
};
use crate::{
    config::Rate,
    database::{BOUND, Transaction},
    entity::users::Model,
    failure::Failure,
    metrics,
};

/// More than clocks are set back by, little by little. A time further ahead than any attempt can
/// bring about is not trusted: the clock was set back, or another rate was set; the budget is
/// whole.
const SLACK: i64 = 1_000_000;
/// Bytes of one budget's key.
const KEY: usize = 32;

/// How far ahead a budget's time is: `$1` the budget.
const AHEAD: Sql = Sql {
    postgres: concat!(
        "SELECT whole_at - ",
        now_micros!(postgres),
        " AS ahead FROM log_in_attempts WHERE name_digest = $1"
    ),
    sqlite: concat!(
        "SELECT whole_at - ",
        now_micros!(sqlite),
        " AS ahead FROM log_in_attempts WHERE name_digest = $1"
    ),
};
/// Draws from a budget, if it may be drawn from: `$1` the budget, `$2` what a check takes, `$3` how
/// far ahead its time may be for another one, `$4` how far it can be at all.
const DRAW: Sql = Sql {
    postgres: concat!(
        "INSERT INTO log_in_attempts AS a (name_digest, whole_at) VALUES ($1, ",
        now_micros!(postgres),
        " + $2) ON CONFLICT (name_digest) DO UPDATE SET whole_at = $2 + CASE WHEN a.whole_at > ",
        now_micros!(postgres),
        " + $4 THEN ",
        now_micros!(postgres),
        " ELSE greatest(a.whole_at, ",
        now_micros!(postgres),
        ") END WHERE NOT (a.whole_at > ",
        now_micros!(postgres),
        " + $3 AND a.whole_at <= ",
        now_micros!(postgres),
        " + $4)"
    ),
    sqlite: concat!(
        "INSERT INTO log_in_attempts AS a (name_digest, whole_at) VALUES ($1, ",
        now_micros!(sqlite),
        " + $2) ON CONFLICT (name_digest) DO UPDATE SET whole_at = $2 + CASE WHEN a.whole_at > ",
        now_micros!(sqlite),
        " + $4 THEN ",
        now_micros!(sqlite),
        " ELSE max(a.whole_at, ",
        now_micros!(sqlite),
        ") END WHERE NOT (a.whole_at > ",
        now_micros!(sqlite),
        " + $3 AND a.whole_at <= ",
        now_micros!(sqlite),
        " + $4)"
    ),
};
/// Gives a check back to a budget: `$1` the budget, `$2` what a check takes.
const GIVE_BACK: &str =
    "UPDATE log_in_attempts SET whole_at = whole_at - $2 WHERE name_digest = $1";
/// Removes a budget that is whole: `$1` the budget. A time that lies ahead after the clock was set
/// back would pass for an exhausted budget.
const REMOVE_WHOLE: Sql = Sql {
    postgres: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest = $1 AND whole_at <= ",
        now_micros!(postgres)
    ),
    sqlite: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest = $1 AND whole_at <= ",
        now_micros!(sqlite)
    ),
};
/// Removes budgets that are whole; `$1` how many at most.
const FORGET: Sql = Sql {
    postgres: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest IN \
         (SELECT name_digest FROM log_in_attempts WHERE whole_at < ",
        now_micros!(postgres),
        " ORDER BY whole_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    sqlite: concat!(
        "DELETE FROM log_in_attempts WHERE name_digest IN \
         (SELECT name_digest FROM log_in_attempts WHERE whole_at < ",
        now_micros!(sqlite),
        " ORDER BY whole_at LIMIT $1)"
    ),
};
/// The greatest cost of an active user's hash, log2 of scrypt's N: the last entry of an index.
const HASH_COST: Sql = Sql {
    postgres: r"SELECT max((substring(password_hash FROM '^\$scrypt\$ln=([0-9]{1,2}),')::integer))
        AS cost FROM users WHERE is_active",
    sqlite: "SELECT CAST(substr(password_hash, 12, 2) AS INTEGER) AS cost FROM users \
             WHERE is_active = TRUE ORDER BY 1 DESC LIMIT 1",
};

/// A rate in the numbers of the statements, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    /// What a check takes.
    each: i64,
    /// How far ahead a budget's time may be for another check.
    most: i64,
}

impl From<Rate> for Cells {
    fn from(rate: Rate) -> Self {
        // Far beyond any rate, and so small that the numbers can be added to one another and to
        // the time of today.
        const MOST: i64 = i64::MAX / 16;
        let each = i64::try_from(rate.period.as_micros()).unwrap_or(MOST).clamp(1, MOST);
        Self { each, most: (i64::from(rate.burst.get()) - 1).saturating_mul(each).min(MOST) }
    }
}

impl Cells {
    /// How far ahead a budget's time can be at all.
    fn whole(self) -> i64 {
        self.most + self.each + SLACK
    }

    /// How long to wait with a budget whose time is so far `ahead`.
    fn wait(self, ahead: i64) -> Option<Duration> {
        let exhausted = ahead > self.most && ahead <= self.whole();
        let wait = exhausted.then_some((ahead - self.most).min(self.each))?;
        u64::try_from(wait).ok().map(Duration::from_micros)
    }
}

/// What budgets belong to: a user, or a name that no active user has.
///
/// A user has the same budgets under a new name, so that renaming does not renew them.
#[derive(Clone, Copy, Debug)]
enum Account<'a> {
    User(Uuid),
    Name(&'a str),
}

impl Account<'_> {
    /// The key of the account's budget at a network, or over all of them. A digest, as the name
    /// may be a password that was typed in the wrong field.
    fn key(self, network: Option<&Network>) -> [u8; KEY] {
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

/// The budgets that a check was drawn from: that of the network and, if it was drawn from, that of
/// all networks. It travels to the api service and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reservation(Vec<[u8; KEY]>);

impl Reservation {
    /// Reads what [`to_bytes`](Self::to_bytes) wrote; empty is a reservation of nothing.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY>();
        (rest.is_empty() && keys.len() <= 2).then(|| Self(keys.to_vec()))
    }

    /// At most 64 bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }
}

/// A reserved check, and what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// `None` if no active user has the name.
    pub(crate) user: Option<Model>,
    /// The greatest cost of any active user's hash; 0 if there is none.
    pub(crate) hash_cost: i32,
    pub(crate) reservation: Reservation,
}

impl Store {
    /// Reserves one password check of an account, for a client in `network`.
    ///
    /// # Errors
    /// How long to wait if a budget is exhausted, and nothing is reserved then; that the caller's
    /// token is void; that the database is away.
    pub(crate) async fn begin_password_check(
        &self,
        by: &By,
        network: &Network,
    ) -> Result<Check, Failure> {
        // The same reads whether or not there is such a user.
        let user = self.find_user(by).await?;
        let id = user.as_ref().map_or(Uuid::nil(), |user| user.id);
        let known = self.is_known(id, network).await?;
        let hash_cost = self.greatest_hash_cost().await?;
        let account = match (&user, by) {
            (Some(user), _) => Account::User(user.id),
            (None, By::Username(name)) => Account::Name(name),
            (None, By::Caller(caller)) => Account::User(caller.user_id),
        };
        let mut keys = vec![account.key(Some(network))];
        if !known {
            keys.push(account.key(None));
        }
        let reservation = Reservation(keys);
        if let Err(failure) = self.reserve(&reservation).await {
            if matches!(failure, Failure::TooManyLogIns(_)) {
                metrics::LOG_INS_REFUSED.inc();
            }
            return Err(failure);
        }
        Ok(Check { user, hash_cost, reservation })
    }

    /// Draws from every budget of the reservation, or from none.
    async fn reserve(&self, reservation: &Reservation) -> Result<(), Failure> {
        let backend = self.database.backend();
        let mut wait = None;
        for (key, cells) in self.budgets(reservation) {
            let look = AHEAD.with(backend, [key]);
            let row = self.read(|| self.database.reader().query_one_raw(look.clone())).await?;
            let ahead = row.map(|row| row.try_get("", "ahead")).transpose().map_err(plain)?;
            wait = wait.max(ahead.and_then(|ahead| cells.wait(ahead)));
        }
        if let Some(wait) = wait {
            return Err(Failure::TooManyLogIns(wait));
        }
        self.write(|transaction| async move {
            // First the network's, then the account's: no two transactions wait for each other.
            for (key, cells) in self.budgets(reservation) {
                let values = [key, cells.each.into(), cells.most.into(), cells.whole().into()];
                let draw = DRAW.with(backend, values);
                if transaction.execute_raw(draw).await.map_err(plain)?.rows_affected() != 1 {
                    // Others took the last ones in the meantime, at this very moment.
                    let wait = Duration::from_micros(cells.each.unsigned_abs());
                    return Err(Failure::TooManyLogIns(wait));
                }
            }
            Ok(())
        })
        .await
    }

    /// Gives a reservation back whose password was not hashed.
    pub(crate) async fn cancel_password_check(
        &self,
        reservation: &Reservation,
    ) -> Result<(), Failure> {
        self.write(|transaction| async move { self.give_back(&transaction, reservation).await })
            .await
    }

    /// Gives a reservation back as part of a transaction.
    pub(super) async fn give_back(
        &self,
        transaction: &Transaction,
        reservation: &Reservation,
    ) -> Result<(), Failure> {
        for (key, cells) in self.budgets(reservation) {
            let backend = self.database.backend();
            let give_back = Statement::from_sql_and_values(
                backend,
                GIVE_BACK,
                [key.clone(), cells.each.into()],
            );
            for statement in [give_back, REMOVE_WHOLE.with(backend, [key])] {
                transaction.execute_raw(statement).await.map_err(plain)?;
            }
        }
        Ok(())
    }

    /// The budgets of a reservation, each with its rate.
    fn budgets<'a>(
        &self,
        reservation: &'a Reservation,
    ) -> impl Iterator<Item = (Value, Cells)> + use<'a> {
        let rates = [self.log_ins.per_network.into(), self.log_ins.over_all.into()];
        reservation.0.iter().map(|key| key.to_vec().into()).zip(rates)
    }

    async fn greatest_hash_cost(&self) -> Result<i32, Failure> {
        let statement = HASH_COST.with(self.database.backend(), []);
        let row = self.read(|| self.database.reader().query_one_raw(statement.clone())).await?;
        let cost: Option<Option<i32>> =
            row.map(|row| row.try_get("", "cost")).transpose().map_err(plain)?;
        Ok(cost.flatten().unwrap_or(0))
    }

    /// Removes the budgets that are whole, a bounded number with each statement. Yields how many.
    pub(crate) async fn forget_log_ins(&self) -> Result<u64, DbErr> {
        let statement = FORGET.with(self.database.backend(), [i64::from(BOUND).into()]);
        self.database.remove(statement, BOUND.into()).await
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn cells(burst: u32, period: Duration) -> Cells {
        Cells::from(Rate { burst: NonZeroU32::new(burst).unwrap(), period })
    }

    #[test]
    fn a_budget_waits_only_while_it_is_exhausted() {
        let cells = cells(10, Duration::from_secs(6));
        assert_eq!(cells.wait(54_000_000), None, "nine were drawn: one is left");
        assert_eq!(cells.wait(60_000_000), Some(Duration::from_secs(6)));
        assert_eq!(cells.wait(54_000_001), Some(Duration::from_micros(1)));
        assert_eq!(cells.wait(-5), None);
        let after_a_small_step_back = cells.wait(60_500_000);
        assert_eq!(after_a_small_step_back, Some(Duration::from_secs(6)));
        assert_eq!(cells.wait(3_600_000_000), None, "no check can bring this about");
    }

    #[test]
    fn no_rate_is_too_much_for_the_numbers() {
        for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let cells = cells(u32::MAX, period);
            let bounded = cells.whole() > cells.most && cells.whole() < i64::MAX / 2;
            assert!(cells.each >= 1 && bounded, "{cells:?}");
        }
    }

    #[test]
    fn each_account_has_one_key_for_each_network_and_the_name_is_not_kept() {
        let networks = ["192.0.2.1", "192.0.2.2"].map(|text| Network::read(text).unwrap());
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
    fn a_reservation_comes_back_as_it_was() {
        for keys in [vec![], vec![[1; KEY]], vec![[1; KEY], [2; KEY]]] {
            let reservation = Reservation(keys);
            assert_eq!(Reservation::from_bytes(&reservation.to_bytes()), Some(reservation));
        }
        for length in [1, 31, 33, 65, 96] {
            assert_eq!(Reservation::from_bytes(&vec![0; length]), None, "{length}");
        }
    }
}
