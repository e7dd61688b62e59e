use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{
    super::transport::Address, balancer::Balancer, channel::Channel, connection::FailureKind,
};

/// Whether a call with an unknown outcome may be retried. Unprocessed calls always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Has no effects.
    Safe,
    /// A repetition has no further effect, for example because the call has an idempotency key.
    Idempotent,
    /// May have its effects twice.
    NonIdempotent,
}

/// Why a call has no response.
#[derive(Debug)]
pub enum CallError {
    /// The deadline passed. The outcome is unknown.
    DeadlineExceeded,
    /// No replica is healthy. The call was not processed.
    NoReplica,
    /// The last attempt's status: the service's own or, with a source, a connection failure.
    Failed(Status),
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlineExceeded => formatter.write_str("no response within the deadline"),
            Self::NoReplica => formatter.write_str("no healthy replica"),
            Self::Failed(status) => status.fmt(formatter),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DeadlineExceeded | Self::NoReplica => None,
            Self::Failed(status) => Some(status),
        }
    }
}

/// Maximum retries of a call that may have arrived: it must not crash every replica.
const MAX_RETRIES: u32 = 2;

pub(super) async fn call<C, T, A>(
    balancer: &Balancer<C>,
    budget: &RetryBudget,
    idempotency: Idempotency,
    deadline: Duration,
    attempt: impl Fn(C, Duration) -> A,
) -> Result<T, CallError>
where
    C: Channel,
    A: Future<Output = Result<T, Status>>,
{
    let deadline_at = Instant::now() + deadline;
    timeout_at(deadline_at, retry_loop(balancer, budget, idempotency, deadline_at, attempt))
        .await
        .unwrap_or(Err(CallError::DeadlineExceeded))
}

async fn retry_loop<C, T, A>(
    balancer: &Balancer<C>,
    budget: &RetryBudget,
    idempotency: Idempotency,
    deadline_at: Instant,
    attempt: impl Fn(C, Duration) -> A,
) -> Result<T, CallError>
where
    C: Channel,
    A: Future<Output = Result<T, Status>>,
{
    let mut tried: Vec<Address> = Vec::new();
    let mut retries = 0;
    let mut failure = CallError::NoReplica;
    loop {
        let Some(guard) = balancer.wait_for_pick(&mut tried).await else { return Err(failure) };
        let may_retry = idempotency != Idempotency::NonIdempotent && retries < MAX_RETRIES;
        let left = deadline_at.saturating_duration_since(Instant::now());
        let answered = tokio::select! {
            biased;
            answered = attempt(guard.connection(), left) => Some(answered),
            () = guard.abandoned(), if may_retry => None,
        };
        tried.push(guard.address());
        let reason = match answered {
            Some(Ok(answer)) => {
                budget.deposit();
                return Ok(answer);
            }
            None => {
                retries += 1;
                failure = CallError::DeadlineExceeded;
                "abandoned"
            }
            Some(Err(status)) => {
                let kind = FailureKind::of(&status);
                let has_other = || balancer.pick(&tried).is_some();
                let reason = match kind {
                    FailureKind::Unprocessed => "unprocessed",
                    FailureKind::Lost if may_retry => "lost",
                    FailureKind::Draining if may_retry => "draining",
                    FailureKind::Overloaded
                        if may_retry && retries == 0 && has_other() && budget.withdraw() =>
                    {
                        "busy"
                    }
                    FailureKind::Lost
                    | FailureKind::Draining
                    | FailureKind::Overloaded
                    | FailureKind::Response => {
                        return Err(CallError::Failed(status));
                    }
                };
                retries += u32::from(kind != FailureKind::Unprocessed);
                failure = CallError::Failed(status);
                reason
            }
        };
        balancer.metrics.retried(reason).inc();
        tracing::debug!(replica = %guard.address(), reason, "retrying call");
    }
}

/// Limits retries on `Overloaded` to one per ten successful calls: they do not help when all
/// replicas are busy.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicI64);

impl RetryBudget {
    const MAX_TOKENS: i64 = 100;
    const TOKENS_PER_RETRY: i64 = 10;

    pub(super) fn full() -> Self {
        Self(AtomicI64::new(Self::MAX_TOKENS))
    }

    fn deposit(&self) {
        // Read first: no writes to shared memory while the budget is full.
        if self.0.load(Ordering::Relaxed) < Self::MAX_TOKENS {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn withdraw(&self) -> bool {
        let withdraw = |tokens: i64| {
            (tokens >= Self::TOKENS_PER_RETRY).then(|| tokens - Self::TOKENS_PER_RETRY)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, withdraw).is_ok()
    }
}
