//! Waits for a condition with a time limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Repeats `check` until it succeeds. Returns its value and how long that took.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let started = Instant::now();
    loop {
        let error = match check().await {
            Ok(found) => return Ok((found, started.elapsed())),
            Err(error) => error,
        };
        if started.elapsed() >= limit {
            bail!(
                "waited {:.1} s for {what}; at the last check: {error:#}",
                started.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[tokio::test]
    async fn wait_returns_the_value_or_the_last_error() {
        let mut attempts = 0;
        let check = async || {
            attempts += 1;
            if attempts == 3 { Ok("there") } else { Err(anyhow!("check {attempts}")) }
        };
        assert_eq!(wait_until("it", Duration::from_secs(5), check).await.unwrap().0, "there");
        let never =
            wait_until("it", Duration::from_millis(1), async || Err::<(), _>(anyhow!("nothing")))
                .await
                .unwrap_err()
                .to_string();
        assert!(
            never.contains("for it") && never.ends_with("at the last check: nothing"),
            "{never}"
        );
    }
}
