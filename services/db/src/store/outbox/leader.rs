//! Leader election: the process with the lease ships the whole outbox, in order; followers wait to
//! take over. An event is sent twice only if a term ends while it is in flight.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use merch_logging::client::EventSource as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Outbox, lease::Lease};
use crate::metrics;

const ELECTION_INTERVAL: Duration = Duration::from_millis(400);

#[derive(Debug)]
enum TermEnd {
    /// The service stops: its events are shipped, or the drain timed out.
    Drained,
    /// The lease expired before a renewal, or another process has it.
    Lost,
    Stalled,
}

/// Ships the events of an outbox: [`merch_logging::client::ship`], or the simulation.
pub(crate) trait Ship: Send + Sync {
    /// After `shutdown`, returns when all events are acknowledged, or after a time limit.
    fn ship(&self, outbox: Outbox, shutdown: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// Ships `outbox` whenever this process is the leader. After `shutdown`, waits until any process
/// has shipped all earlier events, at most for `drain_timeout`.
///
/// A leader that ships no event for `stall_timeout` steps down, as only its own connection to the
/// logging service may be broken.
pub(crate) async fn ship_as_leader(
    outbox: Outbox,
    lease: Lease,
    stall_timeout: Duration,
    shipper: impl Ship,
    drain_timeout: Duration,
    shutdown: CancellationToken,
) {
    let election = Election { outbox, lease, stall_timeout, shipper, drain_timeout, shutdown };
    let mut reachable = true;
    let mut random = StdRng::seed_from_u64(election.lease.seed());
    while !election.shutdown.is_cancelled() {
        let mut pause = ELECTION_INTERVAL;
        match election.lease.acquire().await {
            Ok(Some(until)) => {
                reachable = true;
                match election.lead(until).await {
                    TermEnd::Drained => return,
                    TermEnd::Lost => {}
                    TermEnd::Stalled => pause = election.lease.duration(),
                }
            }
            Ok(None) => reachable = true,
            Err(error) if reachable => {
                reachable = false;
                tracing::warn!(%error, "failed to acquire the outbox lease; retrying");
            }
            Err(error) => tracing::debug!(%error, "failed to acquire the outbox lease"),
        }
        // With jitter, followers do not ask at the same time.
        let pause = pause.mul_f64(random.random_range(0.75..=1.25));
        let _ = election.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    if tokio::time::timeout(election.drain_timeout, election.drain_after_shutdown()).await.is_err()
    {
        tracing::warn!(
            "the drain timed out; unshipped events stay in the outbox for the next leader"
        );
        election.release().await;
    }
}

struct Election<S> {
    outbox: Outbox,
    lease: Lease,
    stall_timeout: Duration,
    shipper: S,
    drain_timeout: Duration,
    shutdown: CancellationToken,
}

impl<S: Ship> Election<S> {
    async fn lead(&self, until: Instant) -> TermEnd {
        tracing::info!("became the leader of the outbox");
        let leading = LeaderMetric::begin();
        let end = self.ship_until_term_ends(until).await;
        drop(leading);
        match end {
            TermEnd::Drained => self.release().await,
            TermEnd::Lost => {
                tracing::warn!("lost the outbox lease; the next leader continues")
            }
            TermEnd::Stalled => {
                tracing::warn!(
                    "no event was acknowledged in time; stepping down as the leader of the outbox"
                );
                self.release().await;
            }
        }
        end
    }

    /// Sends nothing after it returns or after `until`, which renewals extend.
    async fn ship_until_term_ends(&self, until: Instant) -> TermEnd {
        self.outbox.begin_term();
        let (until, draining) = (Mutex::new(until), CancellationToken::new());
        let shipping = self.shipper.ship(self.outbox.clone(), draining.clone());
        // This order checks the clock first at each poll.
        tokio::select! {
            biased;
            () = wait_until_expired(&until) => TermEnd::Lost,
            () = self.renew(&until) => TermEnd::Lost,
            () = self.wait_until_stalled() => TermEnd::Stalled,
            () = self.end_term_on_shutdown(&draining) => TermEnd::Drained,
            () = shipping => TermEnd::Drained,
        }
    }

    /// Returns when another process has the lease.
    async fn renew(&self, until: &Mutex<Instant>) {
        let mut pause = self.lease.renew_interval();
        loop {
            tokio::time::sleep(pause).await;
            match self.lease.acquire().await {
                Ok(Some(later)) => {
                    *until.lock().unwrap_or_else(PoisonError::into_inner) = later;
                    pause = self.lease.renew_interval();
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "failed to renew the outbox lease; retrying");
                    pause = self.lease.renew_interval() / 4;
                }
            }
        }
    }

    /// Returns when events have waited too long; never during the shutdown.
    async fn wait_until_stalled(&self) {
        loop {
            tokio::time::sleep(self.lease.renew_interval()).await;
            match self.outbox.stalled_for().await {
                Ok(stalled) if stalled >= self.stall_timeout && !self.shutdown.is_cancelled() => {
                    return;
                }
                // If the database does not answer, the lease expires.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// After the shutdown, ends the term with the earlier events. Never returns.
    async fn end_term_on_shutdown(&self, draining: &CancellationToken) {
        self.shutdown.cancelled().await;
        self.outbox.end_term(self.lease.renew_interval()).await;
        draining.cancel();
        std::future::pending().await
    }

    /// Waits until the earlier events are shipped, by the leader or, without a leader, by this
    /// process.
    async fn drain_after_shutdown(&self) {
        self.outbox.begin_term();
        self.outbox.end_term(self.lease.renew_interval()).await;
        while !matches!(self.outbox.read(None, 1).await, Ok(left) if left.is_empty()) {
            if let Ok(Some(until)) = self.lease.acquire().await
                && matches!(self.lead(until).await, TermEnd::Drained)
            {
                return;
            }
            tokio::time::sleep(ELECTION_INTERVAL / 4).await;
        }
    }

    async fn release(&self) {
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "failed to release the outbox lease; it will expire");
        }
    }
}

/// Returns at the first poll after `until`, even if the timer fires late.
async fn wait_until_expired(until: &Mutex<Instant>) {
    let read = || *until.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sleep = pin!(tokio::time::sleep_until(read()));
    poll_fn(|context| {
        loop {
            let until = read();
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

pub(crate) struct LeaderMetric;

impl LeaderMetric {
    pub(crate) fn begin() -> Self {
        metrics::OUTBOX_LEADER.set(1);
        Self
    }
}

impl Drop for LeaderMetric {
    fn drop(&mut self) {
        metrics::OUTBOX_LEADER.set(0);
    }
}
