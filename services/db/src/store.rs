//! The use cases and their SQL, by resource. `committer` and `place` place orders; `outbox` keeps the
//! log events that were not shipped.

/// The database's time in microseconds since 1970.
macro_rules! now_micros {
    (postgres) => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
    (sqlite) => {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    };
}

pub(crate) mod admin;
pub(crate) mod committer;
pub(crate) mod events;
pub(crate) mod housekeeping;
pub(crate) mod known_networks;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod password_checks;
pub(crate) mod place;
pub(crate) mod products;
pub(crate) mod refusals;
mod sql;
pub(crate) mod transaction;
pub(crate) mod users;

use std::sync::Arc;

use merch_chassis::{ConcurrencyLimit, ConcurrencyPermit, WriteClass};
use merch_contract::grpc::assistant::v1::ErrorReason;
use merch_logging::client::{event::Origin, rate_limit::EventRateLimiter};
use sea_orm::{ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::LogIns,
    database::{Database, Transaction},
    db_error::{Intent, classify},
    entity::users as users_table,
    failure::Failure,
    ids::Ids,
    metrics,
};
use outbox::Outbox;
use place::direct::ProductsForSale;

/// The user of a verified token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) user_id: Uuid,
    pub(crate) token_version: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum UserLookup {
    Username(String),
    Caller(Caller),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) outbox: Outbox,
    pub(crate) origin: Origin,
    pub(crate) rate_limiter: Arc<EventRateLimiter>,
    pub(crate) log_ins: LogIns,
    /// Serialises this process's stock changes before they take a connection. Otherwise, if this
    /// process froze, each of its connections would lock the product in turn until PostgreSQL ends
    /// it, and all replicas would wait.
    pub(crate) stock_lock: Arc<tokio::sync::Mutex<()>>,
    /// Counts per token version, so that a revoked token takes no permit of its user.
    pub(crate) writes: ConcurrencyLimit<(Caller, WriteClass)>,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) products_for_sale: Arc<ProductsForSale>,
}

impl Store {
    /// Fails with `TOO_MANY_WRITES`.
    pub(crate) fn begin_write(
        &self,
        caller: Caller,
        class: WriteClass,
    ) -> Result<ConcurrencyPermit<(Caller, WriteClass)>, Failure> {
        self.writes.try_acquire((caller, class)).ok_or_else(|| {
            metrics::WRITES_REFUSED.inc();
            Failure::Refused(ErrorReason::TooManyWrites)
        })
    }

    /// `query` must not write. It is retried as described at [`transaction::retry`].
    pub(crate) async fn read<T, F>(&self, query: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        transaction::retry(|| async { query().await.map_err(db_failure) }).await
    }

    /// As [`transaction::write`]; then wakes the shipper of the outbox.
    pub(crate) async fn write<T, F>(
        &self,
        work: impl Fn(Arc<Transaction>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let value = transaction::write(&self.database, work).await?;
        self.outbox.notify();
        Ok(value)
    }

    /// Locks the caller's row until the transaction ends (SQLite has one writer and no row locks).
    /// Fails with `TOKEN_REVOKED`.
    pub(crate) async fn lock_caller(
        &self,
        transaction: &Transaction,
        caller: Caller,
        lock: RowLock,
    ) -> Result<users_table::Model, Failure> {
        let query = users_table::Entity::find().filter(has_valid_token(caller));
        let query = match lock {
            RowLock::Shared => query.lock_shared(),
            RowLock::Exclusive => query.lock_exclusive(),
        };
        query
            .one(transaction)
            .await
            .map_err(db_failure)?
            .ok_or(Failure::Refused(ErrorReason::TokenRevoked))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowLock {
    Shared,
    Exclusive,
}

pub(crate) fn has_valid_token(caller: Caller) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(users_table::Column::Id.eq(caller.user_id))
        .add(users_table::Column::TokenVersion.eq(caller.token_version))
        .add(users_table::Column::IsActive.eq(true))
}

/// Classifies errors of statements that cannot violate a unique constraint.
pub(crate) fn db_failure(error: DbErr) -> Failure {
    classify(error, Intent::Other)
}

/// Returns the failure for a state that should be impossible.
pub(crate) fn internal(message: &str) -> Failure {
    Failure::Internal(DbErr::Custom(message.to_owned()))
}
