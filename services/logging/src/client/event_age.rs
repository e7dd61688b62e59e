use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use merch_chassis::Part;
use prometheus::{GaugeVec, register_gauge_vec};
use tokio_util::sync::CancellationToken;

use super::{EventSource, ShipStatus, source::OldestEvent};

/// The maximum; age limits of a few seconds have a shorter interval.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);

static AGE: LazyLock<GaugeVec> = LazyLock::new(|| {
    register_gauge_vec!(
        "merch_log_ship_oldest_event_age_seconds",
        "Age of the oldest log event that is not yet on the topic; 0 if there is none",
        &["source"]
    )
    .expect("a metric of a valid name is registered once")
});

/// Default age limit of [`watch_age`].
pub const DEFAULT_AGE_LIMIT: Duration = Duration::from_secs(60);

/// Watches the age of the oldest event in `source` until `stop` is cancelled. `name` labels the
/// metric. Past `limit`, `part` is degraded, with the last failure from `status`.
///
/// The age counts from the event's time or from when this process first read it, whichever is
/// longer, so that a wrong clock cannot hide a delay.
pub async fn watch_age<S: EventSource>(
    source: S,
    name: &'static str,
    status: ShipStatus,
    limit: Duration,
    part: Part,
    stop: CancellationToken,
) {
    let metric = AGE.with_label_values(&[name]);
    let mut first_seen = None;
    let mut degraded = false;
    part.ready();
    let poll = async {
        loop {
            match source.oldest().await {
                Ok(oldest) => {
                    let age = age(&mut first_seen, oldest, Instant::now(), SystemTime::now());
                    metric.set(age.as_secs_f64());
                    if age > limit {
                        let reason = reason(age, limit, &status);
                        if !degraded {
                            tracing::warn!(
                                source = name,
                                reason,
                                "log events exceed the age limit"
                            );
                        }
                        part.degraded(reason);
                    } else {
                        part.ready();
                    }
                    degraded = age > limit;
                }
                Err(error) => {
                    tracing::debug!(
                        source = name,
                        %error,
                        "failed to read the oldest log event; retrying"
                    )
                }
            }
            tokio::time::sleep((limit / 4).clamp(Duration::from_millis(50), MAX_POLL_INTERVAL))
                .await;
        }
    };
    tokio::select! {
        () = poll => {}
        () = stop.cancelled() => {}
    }
}

fn age(
    first_seen: &mut Option<(String, Instant)>,
    oldest: Option<OldestEvent>,
    now: Instant,
    clock: SystemTime,
) -> Duration {
    let Some(OldestEvent { id, time }) = oldest else {
        *first_seen = None;
        return Duration::ZERO;
    };
    let since = match first_seen {
        Some((known, since)) if *known == id => *since,
        Some(_) | None => now,
    };
    *first_seen = Some((id, since));
    let by_clock = time.and_then(|time| clock.duration_since(time).ok()).unwrap_or_default();
    by_clock.max(now.saturating_duration_since(since))
}

fn reason(age: Duration, limit: Duration, status: &ShipStatus) -> String {
    let mut reason = format!(
        "the oldest log event has waited for {} s to reach Kafka, longer than {} s; events stay on \
         disk and the store keeps serving",
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

    fn oldest(id: &str, time: SystemTime) -> Option<OldestEvent> {
        Some(OldestEvent { id: id.to_owned(), time: Some(time) })
    }

    #[test]
    fn age_is_the_maximum_of_clock_and_observed_wait() {
        let (start, clock, second) = (Instant::now(), SystemTime::now(), Duration::from_secs(1));
        let mut first_seen = None;
        assert_eq!(
            age(&mut first_seen, oldest("a", clock - 90 * second), start, clock),
            90 * second
        );
        assert_eq!(age(&mut first_seen, None, start, clock), Duration::ZERO);
        // Dated two hours ahead: only the observed wait counts.
        let ahead = clock + 7200 * second;
        assert_eq!(age(&mut first_seen, oldest("b", ahead), start, clock), Duration::ZERO);
        assert_eq!(
            age(&mut first_seen, oldest("b", ahead), start + 75 * second, clock + 75 * second),
            75 * second
        );
        assert_eq!(
            age(&mut first_seen, oldest("c", ahead), start + 80 * second, clock + 80 * second),
            Duration::ZERO
        );
        let replayed = Some(OldestEvent { id: "d".to_owned(), time: None });
        assert_eq!(age(&mut first_seen, replayed, start, clock), Duration::ZERO);
    }
}
