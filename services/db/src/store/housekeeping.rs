//! What is done now and then: old idempotency keys, budgets of password checks that are whole,
//! client networks and shipped events are removed, and the database is asked whether it is there.

use std::time::Duration;

use merch_chassis::{
    Part,
    clock::{MAX_SKEW_SECONDS, SkewMonitor},
};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::{Store, sql::Sql};
use crate::{clock::Skew, database::BOUND, metrics};

/// The time between two looks at the database, and between two counts of the events that wait.
const LOOK: Duration = Duration::from_secs(2);

/// `$1` is what [`Clock::expiry`](crate::clock::Clock::expiry) gives.
const EXPIRE: Sql = Sql {
    postgres: "DELETE FROM idempotency_keys WHERE (user_id, key) IN (SELECT user_id, key FROM idempotency_keys \
               WHERE created_at < clock_timestamp() - make_interval(secs => $1) ORDER BY created_at LIMIT $2)",
    sqlite: "DELETE FROM idempotency_keys WHERE (user_id, key) IN \
             (SELECT user_id, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
};

/// Removes what is no longer needed, now and every `interval`, until `stop` is cancelled.
pub(crate) async fn run(
    store: Store,
    retention: Duration,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut go_on = stop.run_until_cancelled(ticks.tick()).await.is_some();
    while go_on {
        // Single statements, so that it may be dropped anywhere: a shutdown does not wait for a
        // database that is silent, or for all that is old.
        let round = async {
            tidy(&store, retention).await;
            ticks.tick().await;
        };
        go_on = stop.run_until_cancelled(round).await.is_some();
    }
}

/// One round.
async fn tidy(store: &Store, retention: Duration) {
    match expire_keys(store, retention).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "old idempotency keys were removed"),
        Err(error) => {
            tracing::warn!(%error, "old idempotency keys could not be removed; the next round tries again")
        }
    }
    if let Err(error) = store.expire_admin_requests(retention).await {
        tracing::warn!(%error, "old keys of restockings could not be removed; the next round tries again");
    }
    match store.forget_log_ins().await {
        Ok(removed) => tracing::debug!(removed, "removed unused budgets of password checks"),
        Err(error) => {
            tracing::warn!(%error, "failed to remove unused budgets of password checks; retrying next round")
        }
    }
    match store.forget_networks().await {
        Ok(removed) => tracing::debug!(removed, "removed expired client networks"),
        Err(error) => {
            tracing::warn!(%error, "failed to remove expired client networks; retrying next round")
        }
    }
    match store.outbox.trim().await {
        Ok(removed) => tracing::debug!(removed, "shipped events were removed from the outbox"),
        Err(error) => {
            tracing::warn!(%error, "shipped events could not be removed; the next round tries again")
        }
    }
}

/// Removes the idempotency keys that are older than `retention`, a bounded number with each
/// statement. Yields how many.
pub(crate) async fn expire_keys(store: &Store, retention: Duration) -> Result<u64, DbErr> {
    let Some(expiry) = store.clock.expiry(retention) else { return Ok(0) };
    let statement = EXPIRE.with(store.database.backend(), [expiry, i64::from(BOUND).into()]);
    store.database.remove(statement, BOUND.into()).await
}

/// Tells `database` whether the database answers, `clock` whether this machine's clock agrees with
/// the database's, and the metrics how far the shipper is behind, until `stop` is cancelled.
pub(crate) async fn watch(store: Store, database: Part, clock: Part, stop: CancellationToken) {
    // Side by side: a backlog that takes long to count says nothing about whether the database
    // answers.
    tokio::join!(look(&store, &database, &clock, &stop), measure(&store, &stop));
}

async fn look(store: &Store, database: &Part, clock: &Part, stop: &CancellationToken) {
    let mut ticks = ticks();
    let (mut skews, mut jumps) = (SkewMonitor::default(), JumpLog::default());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop.run_until_cancelled(store.clock.synchronise(&store.database)).await {
            Some(Ok(skew)) => {
                database.ready();
                metrics::CLOCK_SKEW.set(skew.seconds);
                if store.clock.is_of_a_server() {
                    // The database has a clock of its own: a role whose clock differs from it is
                    // not ready.
                    skews.compare(skew.seconds, skew.uncertainty, clock);
                } else {
                    jumps.compare(skew);
                    clock.ready();
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the database does not answer");
                database.not_ready("the database does not answer");
            }
            None => return,
        }
    }
}

/// What was logged of the clock's jumps, so that each is logged once.
#[derive(Debug, Default)]
struct JumpLog {
    /// Seconds by which the clock of this machine has jumped, as it was last logged.
    jumped: f64,
}

impl JumpLog {
    /// The database has no clock but this machine's: what was decided by it before stays decided.
    fn compare(&mut self, skew: Skew) {
        if (skew.seconds - self.jumped).abs() > MAX_SKEW_SECONDS {
            self.jumped = skew.seconds;
            tracing::warn!(
                jumped_seconds = skew.seconds,
                "the clock of this machine was set since this process started; idempotency keys are kept by the time that this process runs"
            );
        }
    }
}

async fn measure(store: &Store, stop: &CancellationToken) {
    let mut ticks = ticks();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop.run_until_cancelled(store.outbox.backlog()).await {
            Some(Ok(backlog)) => metrics::OUTBOX_BACKLOG.set(backlog),
            Some(Err(error)) => tracing::warn!(%error, "the events that wait could not be counted"),
            None => return,
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
