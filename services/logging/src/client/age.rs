//! How long the oldest event waits to be shipped: a metric, and past a limit a reason to look at
//! the service, which works on meanwhile.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use merch_chassis::Part;
use prometheus::{GaugeVec, register_gauge_vec};
use tokio_util::sync::CancellationToken;

use super::{EventSource, ShipStatus, source::Oldest};

/// Between two looks, at most: a limit of a few seconds is looked at more often.
const LOOK: Duration = Duration::from_secs(5);

static AGE: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "merch_log_ship_oldest_event_age_seconds",
        "Age of the oldest log event that is not on the topic yet; 0 if there is none",
        &["source"]
    )
    .expect("a metric of a valid name is registered once")
});

/// How long an event may wait before [`watch_age`] calls its service degraded, unless another limit
/// is set.
pub const DEFAULT_AGE_LIMIT: Duration = Duration::from_secs(60);

/// Follows the age of the oldest event in `source`, whose name in the metrics is `name`, until
/// `stop` is cancelled. `part` is degraded while the age is more than `limit`, with what `status`
/// says of the last attempt, and ready otherwise.
///
/// The age is the longer of two times: since the event happened, by this machine's clock, and since
/// this function first saw it. So a clock that is wrong hides nothing.
pub async fn watch_age<S: EventSource>(
    source: S,
    name: &'static str,
    status: ShipStatus,
    limit: Duration,
    part: Part,
    stop: CancellationToken,
) {
    let metric = AGE.with_label_values(&[name]);
    let mut seen = None;
    let mut degraded = false;
    part.ready();
    let look = async {
        loop {
            match source.oldest().await {
                Ok(oldest) => {
                    let age = age(&mut seen, oldest, Instant::now(), SystemTime::now());
                    metric.set(age.as_secs_f64());
                    if age > limit {
                        let reason = reason(age, limit, &status);
                        if !degraded {
                            tracing::warn!(source = name, reason, "log events wait too long");
                        }
                        part.degraded(reason);
                    } else {
                        part.ready();
                    }
                    degraded = age > limit;
                }
                Err(error) => {
                    tracing::debug!(source = name, %error, "failed to read the oldest log event; retrying")
                }
            }
            tokio::time::sleep((limit / 4).clamp(Duration::from_millis(50), LOOK)).await;
        }
    };
    tokio::select! {
        () = look => {}
        () = stop.cancelled() => {}
    }
}

/// `seen` holds the id of the oldest event of the last look, and when it first was the oldest.
fn age(
    seen: &mut Option<(String, Instant)>,
    oldest: Option<Oldest>,
    now: Instant,
    clock: SystemTime,
) -> Duration {
    let Some(Oldest { id, time }) = oldest else {
        *seen = None;
        return Duration::ZERO;
    };
    let since = match seen {
        Some((known, since)) if *known == id => *since,
        Some(_) | None => now,
    };
    *seen = Some((id, since));
    let by_clock = time.and_then(|time| clock.duration_since(time).ok()).unwrap_or_default();
    by_clock.max(now.saturating_duration_since(since))
}

fn reason(age: Duration, limit: Duration, status: &ShipStatus) -> String {
    let mut reason = format!(
        "the oldest log event has waited for {} s to reach Kafka, longer than {} s; events wait on disk and the store serves on",
        age.as_secs(),
        limit.as_secs_f64()
    );
    if let Some(failure) = status.failure() {
        reason.push_str("; the last attempt failed: ");
        reason.push_str(&failure);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oldest(id: &str, time: SystemTime) -> Option<Oldest> {
        Some(Oldest { id: id.to_owned(), time: Some(time) })
    }

    #[test]
    fn the_age_is_the_longer_of_the_clock_and_of_what_was_seen() {
        let (start, clock, second) = (Instant::now(), SystemTime::now(), Duration::from_secs(1));
        let mut seen = None;
        assert_eq!(age(&mut seen, oldest("a", clock - 90 * second), start, clock), 90 * second);
        assert_eq!(age(&mut seen, None, start, clock), Duration::ZERO);
        // Dated two hours ahead: the clock says nothing, but it does wait.
        let ahead = clock + 7200 * second;
        assert_eq!(age(&mut seen, oldest("b", ahead), start, clock), Duration::ZERO);
        assert_eq!(
            age(&mut seen, oldest("b", ahead), start + 75 * second, clock + 75 * second),
            75 * second
        );
        assert_eq!(
            age(&mut seen, oldest("c", ahead), start + 80 * second, clock + 80 * second),
            Duration::ZERO
        );
        let replayed = Some(Oldest { id: "d".to_owned(), time: None });
        assert_eq!(age(&mut seen, replayed, start, clock), Duration::ZERO);
    }
}
