//! Who may call: looks at the credential before anything of a call is read, and tells the log of attempts without it, at a bounded rate.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use merch_chassis::grpc::Peer;
use prometheus::{IntCounter, register_int_counter};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::admin_token::AdminToken;

/// The time between two lines of the log about refused calls.
const QUIET: Duration = Duration::from_secs(1);

/// Calls of the operator's service without its credential.
static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("merch_db_admin_refused_calls_total", "Calls of the operator's service without the admin token.")
        .expect("the name is registered here and nowhere else")
});

/// Lets pass what shows the admin token.
#[derive(Clone)]
pub(crate) struct Guard {
    token: AdminToken,
    refusals: Arc<Mutex<Refusals>>,
}

impl Guard {
    pub(crate) fn new(token: AdminToken) -> Self {
        // So that it is there, with 0, before the first attempt.
        LazyLock::force(&REFUSED);
        Self { token, refusals: Arc::default() }
    }

    fn refused(&self, peer: Option<&Peer>) {
        REFUSED.inc();
        let told = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now());
        if let Some(attempts) = told {
            let peer = peer.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(attempts, peer, "calls of the operator's service without the admin token were refused");
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization").map_or(&[][..], |value| value.as_bytes());
        // The scheme is no secret; what follows is compared in constant time. Without the scheme nothing is, and nothing can match an empty text.
        let sent = match header.split_at_checked("Bearer ".len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token,
            Some(_) | None => &[],
        };
        if self.token.is(sent) {
            return Ok(request);
        }
        self.refused(request.extensions().get::<Peer>());
        Err(Status::unauthenticated("expected the admin token: authorization: Bearer …"))
    }
}

/// What was refused and not told yet.
#[derive(Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// Counts one more; how many there were since the last line, if it is time for another.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_a_second_with_its_size() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.one_more(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.one_more(start + QUIET / 2), None);
        }
        assert_eq!(refusals.one_more(start + QUIET), Some(1001));
        assert_eq!(refusals.one_more(start + QUIET), None);
    }

    #[test]
    fn only_the_token_in_its_scheme_passes() {
        let text = "0123456789abcdef0123456789abcdef";
        let mut guard = Guard::new(AdminToken::new(text).unwrap());
        let mut try_with = |header: Option<String>| {
            let mut request = Request::new(());
            if let Some(header) = header {
                request.metadata_mut().insert("authorization", header.parse().unwrap());
            }
            guard.call(request).map(|_| ()).map_err(|status| status.code())
        };
        assert_eq!(try_with(Some(format!("Bearer {text}"))), Ok(()));
        assert_eq!(try_with(Some(format!("bearer {text}"))), Ok(()), "a scheme's case does not matter (RFC 9110)");
        let wrong = [
            None,
            Some(String::new()),
            Some(text.to_owned()),
            Some(format!("Basic {text}")),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
        ];
        for header in wrong.into_iter().chain([Some(format!("Bearer {text}x")), Some(format!("Bearer  {text}"))]) {
            assert_eq!(try_with(header.clone()), Err(tonic::Code::Unauthenticated), "{header:?}");
        }
    }
}
