//! What is tried again, and when.

use std::time::Duration;

use progenitor_client::{ClientHooks, ClientInfo as _, OperationInfo};
use reqwest::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, RETRY_AFTER},
};

use super::Session;
use crate::rest::client::{Client, Error};

/// What is tried again: requests that were answered with 503 or 429, or not at all, and that are
/// safe (RFC 9110 §9.2.1) or carry an `Idempotency-Key`. Nothing else is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often a request is sent at most, the first time included. 1 is: never again.
    pub attempts: u32,
    /// How long a single wait may be. When `Retry-After` says more, the answer is given to the
    /// caller at once.
    pub longest_wait: Duration,
    /// How long the first wait is when nothing says it; each one after is twice as long. A part of
    /// it is random, so that clients that were refused together do not come back together.
    pub first_wait: Duration,
}

impl Retries {
    /// Every request is sent once.
    pub const NEVER: Self =
        Self { attempts: 1, longest_wait: Duration::ZERO, first_wait: Duration::ZERO };

    /// How long to wait before the next attempt; `None` to give up. `made` is how many there were.
    fn wait(self, made: u32, outcome: &reqwest::Result<Response>) -> Option<Duration> {
        if made >= self.attempts {
            return None;
        }
        let said = match outcome {
            Ok(answer)
                if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]
                    .contains(&answer.status()) =>
            {
                retry_after(answer.headers())
            }
            Ok(_) => return None,
            Err(error) if error.is_connect() || error.is_timeout() || error.is_request() => None,
            // Neither a request that cannot be built nor an answer that cannot be read gets better.
            Err(_) => return None,
        };
        match said {
            Some(wait) => (wait <= self.longest_wait).then_some(wait),
            None => Some(
                jittered(self.first_wait.saturating_mul(1 << (made - 1).min(16)))
                    .min(self.longest_wait),
            ),
        }
    }
}

impl Default for Retries {
    /// Four attempts, 0.2 s, 0.4 s and 0.8 s apart or as the store says, up to 30 s each.
    fn default() -> Self {
        Self {
            attempts: 4,
            longest_wait: Duration::from_secs(30),
            first_wait: Duration::from_millis(200),
        }
    }
}

/// The store gives seconds; the other form of RFC 9110 §10.2.3, a date, counts as not said.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Between the half and the whole of a time.
fn jittered(time: Duration) -> Duration {
    let random = u32::from_le_bytes(
        uuid::Uuid::new_v4().as_bytes()[..4].try_into().expect("a UUID has sixteen bytes"),
    );
    time / 2 + (time / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Whether sending it twice does the same as sending it once.
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
            let (Some(again), Some(wait)) = (again, self.inner().retries.wait(made, &outcome))
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
    fn waits_as_long_as_it_is_told() {
        let retries = Retries::default();
        assert_eq!(retries.wait(1, &answer(503, Some("7"))), Some(Duration::from_secs(7)));
        assert_eq!(retries.wait(1, &answer(429, Some("30"))), Some(Duration::from_secs(30)));
        assert_eq!(retries.wait(1, &answer(429, Some("31"))), None, "longer than the longest wait");
        assert_eq!(retries.wait(4, &answer(503, Some("1"))), None, "attempts are used up");
        for status in [200, 400, 401, 409, 500, 502] {
            assert_eq!(retries.wait(1, &answer(status, Some("1"))), None, "{status}");
        }
        assert_eq!(Retries::NEVER.wait(1, &answer(503, Some("0"))), None);
    }

    #[test]
    fn waits_longer_each_time_when_nothing_is_said() {
        let retries = Retries { attempts: 100, ..Retries::default() };
        for (made, most) in [(1, 200), (2, 400), (3, 800), (99, 30_000)] {
            for said in [None, Some("Sun, 22 Nov 2026 08:00:00 GMT")] {
                let wait = retries.wait(made, &answer(503, said)).unwrap();
                assert!(
                    wait <= Duration::from_millis(most) && wait >= Duration::from_millis(most / 2),
                    "{made}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn only_what_is_safe_or_keyed_is_repeatable() {
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
