//! Runs work in a transaction, again if it was rolled back.
//!
//! Generic over the database, so that the simulation runs the same code.

use std::{sync::Arc, time::Duration};

use super::{db_failure, internal};
use crate::{
    database::{self, Database},
    db_error::is_rolled_back,
    failure::Failure,
    metrics,
};

/// Includes the first attempt.
const MAX_ATTEMPTS: u32 = 4;

/// Begins and ends transactions.
pub(crate) trait Transactions: Sync {
    /// Rolled back when dropped.
    type Transaction: Send + Sync;

    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, Failure>> + Send;

    /// Fails with [`Failure::Retryable`] if the transaction was certainly rolled back. After any
    /// other failure it may be committed.
    fn commit(
        &self,
        transaction: Self::Transaction,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn roll_back(&self, transaction: Self::Transaction) -> impl Future<Output = ()> + Send;

    fn transaction_timeout(&self) -> Duration;
}

impl Transactions for Database {
    type Transaction = database::Transaction;

    async fn begin(&self) -> Result<database::Transaction, Failure> {
        Database::begin(self).await.map_err(db_failure)
    }

    async fn commit(&self, transaction: database::Transaction) -> Result<(), Failure> {
        transaction.commit().await.map_err(|error| {
            if is_rolled_back(&error) {
                return Failure::Retryable(error);
            }
            if matches!(db_failure(error.clone()), Failure::Internal(_)) {
                tracing::error!(%error, "failed to commit a transaction; its outcome is unknown");
            }
            Failure::Unavailable(error)
        })
    }

    async fn roll_back(&self, transaction: database::Transaction) {
        // Without a connection, PostgreSQL rolls back by itself.
        if let Err(error) = transaction.rollback().await {
            tracing::debug!(%error, "failed to roll back a transaction");
        }
    }

    fn transaction_timeout(&self) -> Duration {
        Database::transaction_timeout(self)
    }
}

/// Runs `work` in a transaction and commits it. Retries as described at [`retry`].
///
/// `work` shares the transaction: Rust cannot express that the future of a closure with a reference
/// as its argument is `Send`.
///
/// # Errors
/// Those of `work`; `TimedOut`; `Unavailable` if the outcome of the commit is unknown.
pub(crate) async fn write<D: Transactions, T, F>(
    database: &D,
    work: impl Fn(Arc<D::Transaction>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    retry(|| write_once(database, &work)).await
}

async fn write_once<D: Transactions, T, F>(
    database: &D,
    work: &impl Fn(Arc<D::Transaction>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let timer = metrics::TRANSACTION_SECONDS.start_timer();
    // Boxed, because the compiler limits the depth of nested futures.
    let transacting = Box::pin(transact(database, work));
    let outcome = tokio::time::timeout(database.transaction_timeout(), transacting).await;
    timer.observe_duration();
    outcome.unwrap_or(Err(Failure::TimedOut))
}

async fn transact<D: Transactions, T, F>(
    database: &D,
    work: &impl Fn(Arc<D::Transaction>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let transaction = Arc::new(database.begin().await?);
    let outcome = work(transaction.clone()).await;
    let transaction = Arc::into_inner(transaction)
        .ok_or_else(|| internal("the transaction is still shared after its work"))?;
    match outcome {
        Ok(value) => database.commit(transaction).await.map(|()| value),
        Err(failure) => {
            database.roll_back(transaction).await;
            Err(failure)
        }
    }
}

/// Repeats `operation` if it fails with [`Failure::Retryable`], at most [`MAX_ATTEMPTS`] times in
/// all.
pub(crate) async fn retry<T, F>(operation: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut attempt = 1;
    loop {
        match operation().await {
            Err(Failure::Retryable(error)) if attempt < MAX_ATTEMPTS => {
                tracing::debug!(%error, attempt, "transaction rolled back; retrying");
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}
