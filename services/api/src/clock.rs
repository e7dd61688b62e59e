//! Whether the clock of this machine agrees with the database's: tokens are good until a time that
//! this clock tells.

use std::{sync::LazyLock, time::Duration};

use merch_chassis::{Part, clock::SkewMonitor};
use merch_contract::grpc::assistant::v1 as proto;
use prometheus::{Gauge, register_gauge};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::db::{CallFailure, Db, Idempotency};

/// The time between two readings.
const LOOK: Duration = Duration::from_secs(5);
/// The same, while none has succeeded.
const LOOK_AT_FIRST: Duration = Duration::from_millis(500);

/// How far the clock of this machine is ahead of the database's.
static CLOCK_SKEW: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "merch_api_clock_skew_seconds",
        "How far this machine's clock is ahead of the database's."
    )
    .expect("the name is registered here and nowhere else, with valid words")
});

/// Keeps `part` up to date until `shutdown` is cancelled: not ready while this clock differs too
/// much from the database's.
pub(crate) async fn follow(db: Db, part: Part, shutdown: CancellationToken) {
    let (mut pause, mut log) = (LOOK_AT_FIRST, SkewMonitor::default());
    while let Some(reading) = shutdown.run_until_cancelled(read(&db)).await {
        match reading {
            Ok((skew, uncertainty)) => {
                pause = LOOK;
                CLOCK_SKEW.set(skew);
                log.compare(skew, uncertainty, &part);
            }
            // A db service of an earlier release: there is nothing to compare with.
            Err(CallFailure::Refused { code: Code::Unimplemented, .. }) => {
                pause = LOOK;
                part.ready();
            }
            // Whether a db service is there says another part. What is known of the clock stays.
            Err(error) => tracing::debug!(%error, "failed to read the database's clock"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Reads the database's clock. Gives by how many seconds this machine's is ahead of it, and by how
/// many that may be wrong.
async fn read(db: &Db) -> Result<(f64, f64), CallFailure> {
    let asked = Instant::now();
    let request = proto::GetClockRequest {};
    let answer =
        db.call(Idempotency::Safe, request, |mut db, request| async move {
            db.get_clock(request).await
        })
        .await?;
    let (now, uncertainty) = (OffsetDateTime::now_utc(), asked.elapsed().as_secs_f64() / 2.0);
    let theirs = crate::model::time(crate::model::required(
        answer.now,
        "GetClock answered without a time",
    )?)?;
    // The database's clock was read in the middle of the call, about.
    Ok(((now - theirs).as_seconds_f64() - uncertainty, uncertainty))
}
