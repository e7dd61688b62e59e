//! The use-cases over the database, by resource. Nothing here knows gRPC but for the reasons of the
//! contract and the log events.

/// The database's time, in microseconds since 1970.
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
pub(crate) mod lease;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod password_checks;
pub(crate) mod place;
pub(crate) mod products;
pub(crate) mod refusals;
mod sql;
pub(crate) mod turns;
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
    db_error::{Intent, is_rolled_back, meaning},
    entity::users as users_table,
    failure::Failure,
    ids::Ids,
    metrics,
};
use outbox::Outbox;

/// Transactions that others made fail are run again this many times in all.
const ATTEMPTS: u32 = 4;

/// Who acts, as a verified token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) user_id: Uuid,
    pub(crate) token_version: i64,
}

/// Where a request came from, for its log event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
}

/// The store's data.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) outbox: Outbox,
    pub(crate) origin: Origin,
    /// Tells the first few refusals from a flood.
    pub(crate) rate_limiter: Arc<EventRateLimiter>,
    /// The budgets of password checks.
    pub(crate) log_ins: LogIns,
    /// Whoever changes the stock in this process takes it first, and one after another. They would
    /// wait for one another in the database anyway, as the products are few; but there each of them
    /// waits with a session of its own, and should this process be stopped just then (paused, cut
    /// off), each of those sessions would get the product in its turn and hold it until PostgreSQL
    /// ends it, while all other replicas wait.
    pub(crate) selling: Arc<tokio::sync::Mutex<()>>,
    /// The changes that are under way with each token version in this process: a void token takes
    /// no place of its owner's.
    pub(crate) writes: ConcurrencyLimit<(Caller, WriteClass)>,
    /// The database's clock.
    pub(crate) clock: Clock,
    /// Where the ids of users and orders come from.
    pub(crate) ids: Ids,
}

impl Store {
    /// Takes a place among the changes of a class that the caller has under way, until the permit
    /// is dropped.
    ///
    /// # Errors
    /// `TOO_MANY_WRITES` if the caller has no place left.
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

    /// Asks a question of the database that changes nothing; again, if the connection broke or
    /// another transaction was in the way.
    pub(crate) async fn read<T, F>(&self, question: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut attempt = 1;
        loop {
            match question().await.map_err(plain) {
                Err(Failure::Undone(error)) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "a question is asked again");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Runs `work` in a transaction and commits it. Where the database undid it because of another
    /// transaction, runs it again.
    ///
    /// `work` gets the transaction to share, and not by reference, as Rust cannot yet say that the
    /// future of such a closure is `Send`.
    pub(crate) async fn write<T, F>(
        &self,
        work: impl Fn(Arc<Transaction>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut attempt = 1;
        loop {
            match self.write_once(&work).await {
                Err(Failure::Undone(error)) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "a transaction is run again");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The same, once.
    pub(crate) async fn write_once<T, F>(
        &self,
        work: impl Fn(Arc<Transaction>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let timer = metrics::TRANSACTION_SECONDS.start_timer();
        let outcome =
            tokio::time::timeout(self.database.transaction_timeout(), self.transact(&work)).await;
        timer.observe_duration();
        outcome.unwrap_or(Err(Failure::TimedOut))
    }

    async fn transact<T, F>(&self, work: &impl Fn(Arc<Transaction>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let transaction = Arc::new(self.database.begin().await.map_err(plain)?);
        let worked = work(transaction.clone()).await;
        let transaction =
            Arc::into_inner(transaction).ok_or_else(|| fault("a transaction outlived its work"))?;
        let value = match worked {
            Ok(value) => value,
            Err(failure) => {
                if let Err(error) = transaction.rollback().await {
                    // The connection is gone, and the transaction with it.
                    tracing::debug!(%error, "a transaction could not be rolled back");
                }
                return Err(failure);
            }
        };
        // Unless the database itself says that it was not, nobody knows whether it was done, so it
        // is never run again.
        transaction.commit().await.map_err(|error| {
            if is_rolled_back(&error) {
                return Failure::Undone(error);
            }
            if matches!(plain(error.clone()), Failure::Fault(_)) {
                tracing::error!(%error, "a fault while committing; whether the work was done is not known");
            }
            Failure::Unavailable(error)
        })?;
        self.outbox.notify();
        Ok(value)
    }

    /// Reads the caller's row, locked against changes until the transaction ends (SQLite has one
    /// writer, so nothing is to be locked).
    ///
    /// # Errors
    /// `TOKEN_REVOKED` if the token is void.
    pub(crate) async fn lock_caller(
        &self,
        transaction: &Transaction,
        caller: Caller,
        lock: Lock,
    ) -> Result<users_table::Model, Failure> {
        let query = users_table::Entity::find().filter(valid(caller));
        let query = match lock {
            Lock::Share => query.lock_shared(),
            Lock::Change => query.lock_exclusive(),
        };
        query
            .one(transaction)
            .await
            .map_err(plain)?
            .ok_or(Failure::Refused(ErrorReason::TokenRevoked))
    }
}

/// What a locked row is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It must stay as it is.
    Share,
    /// It will be changed.
    Change,
}

/// The user's row, if the caller's token is not void.
pub(crate) fn valid(caller: Caller) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(users_table::Column::Id.eq(caller.user_id))
        .add(users_table::Column::TokenVersion.eq(caller.token_version))
        .add(users_table::Column::IsActive.eq(true))
}

/// The meaning of an error where no unique violation can be.
pub(crate) fn plain(error: DbErr) -> Failure {
    meaning(error, Intent::Plain)
}

/// The database, or this program, did what it cannot do.
pub(crate) fn fault(what: &str) -> Failure {
    Failure::Fault(DbErr::Custom(what.to_owned()))
}
