//! Retries requests.

use std::time::Duration;

use progenitor_client::{ClientHooks, ClientInfo as _, OperationInfo};
use reqwest::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, RETRY_AFTER},
};

use super::Session;
use crate::rest::client::{Client, Error};

/// When to retry. The client retries a request after 503, 429 or no response, if the request is
/// safe (RFC 9110 §9.2.1) or carries an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// Maximum delay before an attempt. A longer `Retry-After` ends the retries.
    pub max_delay: Duration,
    /// Delay before the first retry without `Retry-After`; it doubles with each retry. A random
    /// part of up to half spreads the clients.
    pub initial_delay: Duration,
}

impl RetryPolicy {
    /// Sends each request once.
    pub const NEVER: Self =
        Self { max_attempts: 1, max_delay: Duration::ZERO, initial_delay: Duration::ZERO };

    /// Returns the delay before the next attempt, or `None` to stop. `made` counts the attempts.
    fn delay(self, made: u32, outcome: &reqwest::Result<Response>) -> Option<Duration> {
        if made >= self.max_attempts {
            return None;
        }
        let retry_after = match outcome {
            Ok(answer)
                if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]
                    .contains(&answer.status()) =>
            {
                retry_after(answer.headers())
            }
            Ok(_) => return None,
            Err(error) if error.is_connect() || error.is_timeout() || error.is_request() => None,
            // A retry does not help an invalid request or response.
            Err(_) => return None,
        };
        match retry_after {
            Some(wait) => (wait <= self.max_delay).then_some(wait),
            None => Some(
                jittered(self.initial_delay.saturating_mul(1 << (made - 1).min(16)))
                    .min(self.max_delay),
            ),
        }
    }
}

impl Default for RetryPolicy {
    /// Four attempts after 0.2 s, 0.4 s and 0.8 s or `Retry-After`, up to 30 s each.
    fn default() -> Self {
        Self {
            max_attempts: 4,
            max_delay: Duration::from_secs(30),
            initial_delay: Duration::from_millis(200),
        }
    }
}

/// Parses seconds. The store never sends a date, the other form of RFC 9110 §10.2.3.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn jittered(time: Duration) -> Duration {
    let random = u32::from_le_bytes(
        uuid::Uuid::new_v4().as_bytes()[..4].try_into().expect("a UUID has sixteen bytes"),
    );
    time / 2 + (time / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Whether a repeated request has the same effect as one.
fn is_repeatable(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        || request.headers().contains_key("idempotency-key")
}

impl ClientHooks<Session> for Client {
    async fn pre<E>(&self, request: &mut Request, _: &OperationInfo) -> Result<(), Error<E>> {
        if let Some(token) = &self.inner().token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        Ok(())
    }

    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let (mut request, mut made) = (request, 0);
        loop {
            let again = if is_repeatable(&request) { request.try_clone() } else { None };
            made += 1;
            let outcome = self.client().execute(request).await;
            let (Some(again), Some(wait)) = (again, self.inner().retries.delay(made, &outcome))
            else {
                return outcome;
            };
            tokio::time::sleep(wait).await;
            request = again;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> reqwest::Result<Response> {
        let mut answer = http::Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header("retry-after", value);
        }
        Ok(answer.body("").unwrap().into())
    }

    #[test]
    fn delay_follows_retry_after() {
        let retries = RetryPolicy::default();
        assert_eq!(retries.delay(1, &answer(503, Some("7"))), Some(Duration::from_secs(7)));
        assert_eq!(retries.delay(1, &answer(429, Some("30"))), Some(Duration::from_secs(30)));
        assert_eq!(retries.delay(1, &answer(429, Some("31"))), None, "longer than `max_delay`");
        assert_eq!(retries.delay(4, &answer(503, Some("1"))), None, "no attempt is left");
        for status in [200, 400, 401, 409, 500, 502] {
            assert_eq!(retries.delay(1, &answer(status, Some("1"))), None, "{status}");
        }
        assert_eq!(RetryPolicy::NEVER.delay(1, &answer(503, Some("0"))), None);
    }

    #[test]
    fn delay_doubles_without_retry_after() {
        let retries = RetryPolicy { max_attempts: 100, ..RetryPolicy::default() };
        for (made, most) in [(1, 200), (2, 400), (3, 800), (99, 30_000)] {
            for retry_after in [None, Some("Sun, 22 Nov 2026 08:00:00 GMT")] {
                let wait = retries.delay(made, &answer(503, retry_after)).unwrap();
                assert!(
                    wait <= Duration::from_millis(most) && wait >= Duration::from_millis(most / 2),
                    "{made}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn only_safe_or_keyed_requests_are_repeatable() {
        let request = |method: Method, key: bool| {
            let mut request = Request::new(method, "http://a/".parse().unwrap());
            if key {
                request.headers_mut().insert("Idempotency-Key", "k".parse().unwrap());
            }
            request
        };
        assert!(
            is_repeatable(&request(Method::GET, false))
                && is_repeatable(&request(Method::POST, true))
        );
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!is_repeatable(&request(method, false)));
        }
    }
}
