//! One call, on as many replicas as it takes, within one deadline.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{
    super::transport::Address,
    choosing::Set,
    connection::{Connection, Fate},
};

/// Whether a call may be made once more when it is not known what has become of it. One that never
/// left is always tried elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Safe,
    /// Made twice, it is done once: it carries a key, or a second time finds it done.
    Keyed,
    /// Neither.
    Once,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// Its deadline passed first. Whether it was done is not known.
    TooLate,
    /// No replica serves. It was not done.
    NoReplica,
    /// What the last attempt came to: the service's own answer, or a failure of the connection
    /// (then it has a source).
    Failed(Status),
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate => formatter.write_str("no answer within the deadline"),
            Self::NoReplica => formatter.write_str("no replica serves"),
            Self::Failed(status) => status.fmt(formatter),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLate | Self::NoReplica => None,
            Self::Failed(status) => Some(status),
        }
    }
}

/// How often a call that may have arrived is repeated: a request that brings down whoever takes it
/// must not bring down all of them.
const REPEATS: u32 = 2;

/// Makes the call, and again while that may help. `deadline` is for all attempts together; each is
/// told what is left of it.
pub(super) async fn call<T, A>(
    set: &Set,
    budget: &Budget,
    kind: Kind,
    deadline: Duration,
    attempt: impl Fn(Connection, Duration) -> A,
) -> Result<T, CallError>
where
    A: Future<Output = Result<T, Status>>,
{
    let until = Instant::now() + deadline;
    timeout_at(until, attempts(set, budget, kind, until, attempt))
        .await
        .unwrap_or(Err(CallError::TooLate))
}

async fn attempts<T, A>(
    set: &Set,
    budget: &Budget,
    kind: Kind,
    until: Instant,
    attempt: impl Fn(Connection, Duration) -> A,
) -> Result<T, CallError>
where
    A: Future<Output = Result<T, Status>>,
{
    let mut tried: Vec<Address> = Vec::new();
    let mut repeats = 0;
    let mut failure = CallError::NoReplica;
    loop {
        let Some(held) = set.hold(&mut tried).await else { return Err(failure) };
        let repeatable = kind != Kind::Once && repeats < REPEATS;
        let left = until.saturating_duration_since(Instant::now());
        let answered = tokio::select! {
            biased;
            answered = attempt(held.connection(), left) => Some(answered),
            () = held.abandoned(), if repeatable => None,
        };
        tried.push(held.address());
        let reason = match answered {
            Some(Ok(answer)) => {
                budget.earn();
                return Ok(answer);
            }
            None => {
                repeats += 1;
                // Should nobody else take it: whether it was done is not known.
                failure = CallError::TooLate;
                "abandoned"
            }
            Some(Err(status)) => {
                let fate = Fate::of(&status);
                let elsewhere = || set.pick(&tried).is_some();
                let reason = match fate {
                    Fate::NeverLeft => "never_left",
                    Fate::Lost if repeatable => "lost",
                    Fate::GoingDown if repeatable => "going_down",
                    Fate::Busy if repeatable && repeats == 0 && elsewhere() && budget.spend() => {
                        "busy"
                    }
                    Fate::Lost | Fate::GoingDown | Fate::Busy | Fate::Answered => {
                        return Err(CallError::Failed(status));
                    }
                };
                repeats += u32::from(fate != Fate::NeverLeft);
                failure = CallError::Failed(status);
                reason
            }
        };
        set.meters.repeated(reason).inc();
        tracing::debug!(replica = %held.address(), reason, "a call is tried again");
    }
}

/// How many calls may be repeated because a replica was busy: one for ten that went well. When all
/// of them are busy, more calls would not help.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Budget {
    const MOST: i64 = 100;
    const COST: i64 = 10;

    pub(super) fn full() -> Self {
        Self(AtomicI64::new(Self::MOST))
    }

    fn earn(&self) {
        // Read first: while all is well, no call writes what all of them share.
        if self.0.load(Ordering::Relaxed) < Self::MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        let spend = |budget: i64| (budget >= Self::COST).then(|| budget - Self::COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}
