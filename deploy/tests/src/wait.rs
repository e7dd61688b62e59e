//! Waiting for a condition with a deadline, never for a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long it is between two looks.
const BETWEEN: Duration = Duration::from_millis(100);

/// Looks until `look` says `Ok`, and answers with what it found and how long that took.
///
/// A look that fails says what it saw instead; the last such sentence is in the error.
///
/// # Errors
/// When `limit` has passed.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let started = Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return Ok((found, started.elapsed())),
            Err(seen) => seen,
        };
        if started.elapsed() >= limit {
            bail!(
                "waited {:.1} s for {what}; at the last look: {seen:#}",
                started.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_what_was_found_or_with_what_was_seen_last() {
        let mut looks = 0;
        let look = async || {
            looks += 1;
            if looks == 3 { Ok("there") } else { Err(anyhow!("look {looks}")) }
        };
        assert_eq!(until("it", Duration::from_secs(5), look).await.unwrap().0, "there");
        let never =
            until("it", Duration::from_millis(1), async || Err::<(), _>(anyhow!("nothing")))
                .await
                .unwrap_err()
                .to_string();
        assert!(
            never.contains("for it") && never.ends_with("at the last look: nothing"),
            "{never}"
        );
    }
}
