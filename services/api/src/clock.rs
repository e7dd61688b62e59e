//! Compares this machine's clock with the database's. The expiry of tokens depends on this clock.

use std::{sync::LazyLock, time::Duration};

use merch_chassis::{Part, clock::SkewMonitor};
use merch_contract::grpc::assistant::v1 as proto;
use prometheus::{Gauge, register_gauge};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::db::{Db, DbError, Idempotency};

const INTERVAL: Duration = Duration::from_secs(5);
/// The interval until the first comparison succeeds.
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);

static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "merch_api_clock_skew_seconds",
        "How far this machine's clock is ahead of the database's."
    )
    .expect("the name is valid and registered only here")
});

/// Keeps `part` not ready while the clocks differ too much, until `shutdown` is cancelled.
pub(crate) async fn watch(db: Db, part: Part, shutdown: CancellationToken) {
    let (mut pause, mut log) = (INITIAL_INTERVAL, SkewMonitor::default());
    while let Some(reading) = shutdown.run_until_cancelled(measure_skew(&db)).await {
        match reading {
            Ok((skew, uncertainty)) => {
                pause = INTERVAL;
                CLOCK_SKEW.set(skew);
                log.compare(skew, uncertainty, &part);
            }
            // A db service of an earlier release has no clock to compare with.
            Err(DbError::Status { code: Code::Unimplemented, .. }) => {
                pause = INTERVAL;
                part.ready();
            }
            // The part `db` reports an unreachable db service. The last comparison stays valid.
            Err(error) => tracing::debug!(%error, "failed to read the database's clock"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Returns the skew of this clock and its uncertainty, in seconds.
async fn measure_skew(db: &Db) -> Result<(f64, f64), DbError> {
    let sent_at = Instant::now();
    let request = proto::GetClockRequest {};
    let response =
        db.call(Idempotency::Safe, request, |mut db, request| async move {
            db.get_clock(request).await
        })
        .await?;
    let (now, uncertainty) = (OffsetDateTime::now_utc(), sent_at.elapsed().as_secs_f64() / 2.0);
    let database_now =
        crate::convert::time(crate::convert::required(response.now, "GetClock returned no time")?)?;
    // Assumes that the database's clock was read halfway through the call.
    Ok(((now - database_now).as_seconds_f64() - uncertainty, uncertainty))
}
