use std::time::Duration;

use merch_chassis::{
    Part,
    clock::{MAX_SKEW_SECONDS, SkewMonitor},
};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::{Store, sql::Sql};
use crate::{clock::Skew, database::DELETE_BATCH, metrics};

const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// `$1` is [`Clock::expiry`](crate::clock::Clock::expiry), `$2` the limit.
const DELETE_EXPIRED_KEYS: Sql = Sql {
    postgres: "
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM idempotency_keys
            WHERE created_at < clock_timestamp() - make_interval(secs => $1)
            ORDER BY created_at
            LIMIT $2
        )",
    sqlite: "
        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM idempotency_keys
            WHERE created_at < $1
            ORDER BY created_at
            LIMIT $2
        )",
};

pub(crate) async fn run(
    store: Store,
    retention: Duration,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut running = stop.run_until_cancelled(ticker.tick()).await.is_some();
    while running {
        // A round consists of single statements, so a shutdown may cancel it anywhere.
        let round = async {
            run_round(&store, retention).await;
            ticker.tick().await;
        };
        running = stop.run_until_cancelled(round).await.is_some();
    }
}

async fn run_round(store: &Store, retention: Duration) {
    match delete_expired_keys(store, retention).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "deleted expired idempotency keys"),
        Err(error) => {
            tracing::warn!(%error, "failed to delete expired idempotency keys; retrying next round")
        }
    }
    if let Err(error) = store.delete_expired_admin_requests(retention).await {
        tracing::warn!(
            %error,
            "failed to delete expired keys of stock changes; retrying next round"
        );
    }
    match store.delete_full_budgets().await {
        Ok(removed) => tracing::debug!(removed, "deleted full budgets of password checks"),
        Err(error) => {
            tracing::warn!(
                %error,
                "failed to delete full budgets of password checks; retrying next round"
            )
        }
    }
    match store.delete_expired_networks().await {
        Ok(removed) => tracing::debug!(removed, "deleted expired client networks"),
        Err(error) => {
            tracing::warn!(%error, "failed to delete expired client networks; retrying next round")
        }
    }
    match store.outbox.trim().await {
        Ok(removed) => tracing::debug!(removed, "deleted shipped events from the outbox"),
        Err(error) => {
            tracing::warn!(%error, "failed to delete shipped events; retrying next round")
        }
    }
}

pub(crate) async fn delete_expired_keys(store: &Store, retention: Duration) -> Result<u64, DbErr> {
    let Some(expiry) = store.clock.expiry(retention) else { return Ok(0) };
    let statement = DELETE_EXPIRED_KEYS
        .with(store.database.backend(), [expiry, i64::from(DELETE_BATCH).into()]);
    store.database.remove(statement, DELETE_BATCH.into()).await
}

/// `database` reports whether the database answers, `clock` whether the clocks agree.
pub(crate) async fn watch(store: Store, database: Part, clock: Part, stop: CancellationToken) {
    // Concurrent, because a slow count does not mean that the database is unavailable.
    tokio::join!(check_database(&store, &database, &clock, &stop), measure_backlog(&store, &stop));
}

async fn check_database(store: &Store, database: &Part, clock: &Part, stop: &CancellationToken) {
    let mut ticker = ticker();
    let (mut skews, mut jumps) = (SkewMonitor::default(), JumpLog::default());
    while stop.run_until_cancelled(ticker.tick()).await.is_some() {
        match stop.run_until_cancelled(store.clock.synchronise(&store.database)).await {
            Some(Ok(skew)) => {
                database.ready();
                metrics::CLOCK_SKEW.set(skew.seconds);
                if store.clock.is_server_clock() {
                    // A role whose clock differs from the server's is not ready.
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

#[derive(Debug, Default)]
struct JumpLog {
    jumped: f64,
}

impl JumpLog {
    /// SQLite has no clock but this machine's, so a jump changes no decision.
    fn compare(&mut self, skew: Skew) {
        if (skew.seconds - self.jumped).abs() > MAX_SKEW_SECONDS {
            self.jumped = skew.seconds;
            tracing::warn!(
                jumped_seconds = skew.seconds,
                "this machine's clock has jumped since this process started; idempotency keys \
                 expire by process uptime instead"
            );
        }
    }
}

async fn measure_backlog(store: &Store, stop: &CancellationToken) {
    let mut ticker = ticker();
    while stop.run_until_cancelled(ticker.tick()).await.is_some() {
        match stop.run_until_cancelled(store.outbox.backlog()).await {
            Some(Ok(backlog)) => metrics::OUTBOX_BACKLOG.set(backlog),
            Some(Err(error)) => tracing::warn!(%error, "failed to count unshipped events"),
            None => return,
        }
    }
}

fn ticker() -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(CHECK_INTERVAL);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticker
}
