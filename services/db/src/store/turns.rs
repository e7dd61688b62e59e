//! Shipping in turns: whoever has the lease on a shared outbox ships all of it, in order; the
//! others stand by and take over.
//!
//! An event is sent twice only where it is not known whether the first time came through: when a
//! turn ends with events under way.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use merch_chassis::grpc::replicas::Replicas;
use merch_logging::client::{EventSource as _, ShipOptions, ship};
use tokio_util::sync::CancellationToken;

use super::{lease::Lease, outbox::Outbox};
use crate::metrics;

/// How often whoever stands by asks for the lease, about.
const STAND_BY: Duration = Duration::from_millis(400);

/// How a turn ended.
#[derive(Debug)]
enum End {
    /// The service stops, and all that was written before is shipped, or its time is up.
    Drained,
    /// The lease could not be renewed in time, or somebody else has it.
    Lost,
    /// Nothing came through.
    Stuck,
}

/// Ships what is in `outbox` whenever it is this process's turn, until `shutdown` is cancelled and
/// what was written before is shipped, by whomever, or [`ShipOptions::drain_timeout`] is over.
///
/// A holder that has had something to ship for `patience`, and none of it came through, lets
/// another try: the way to the logging service may be barred for this process alone.
pub(crate) async fn ship_in_turns(
    outbox: Outbox,
    lease: Lease,
    patience: Duration,
    logging: Replicas,
    options: ShipOptions,
    shutdown: CancellationToken,
) {
    let turns = Turns { outbox, lease, patience, logging, options, shutdown };
    let mut heard = true;
    while !turns.shutdown.is_cancelled() {
        let mut pause = STAND_BY;
        match turns.lease.claim().await {
            Ok(Some(until)) => {
                heard = true;
                match turns.take(until).await {
                    End::Drained => return,
                    End::Lost => {}
                    End::Stuck => pause = turns.lease.duration(),
                }
            }
            Ok(None) => heard = true,
            // Told once: it is asked for again and again.
            Err(error) if heard => {
                heard = false;
                tracing::warn!(%error, "the lease on the outbox could not be asked for; trying on");
            }
            Err(error) => tracing::debug!(%error, "the lease on the outbox could not be asked for"),
        }
        // Not all at the same time, should many stand by.
        let pause = pause.mul_f64(rand::random_range(0.75..=1.25));
        let _ = turns.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    if tokio::time::timeout(turns.options.drain_timeout, turns.stand_down()).await.is_err() {
        tracing::warn!(
            "log events are left at the end of the drain; they stay in the outbox for whoever ships next"
        );
        turns.release().await;
    }
}

struct Turns {
    outbox: Outbox,
    lease: Lease,
    patience: Duration,
    logging: Replicas,
    options: ShipOptions,
    shutdown: CancellationToken,
}

impl Turns {
    /// A turn, from the claim to the release.
    async fn take(&self, until: Instant) -> End {
        tracing::info!("this process ships the outbox now");
        let leading = Leading::begin();
        let end = self.turn(until).await;
        drop(leading);
        match end {
            End::Drained => self.release().await,
            // Nothing to give back, or nobody to tell.
            End::Lost => {
                tracing::warn!("the lease on the outbox was lost; whoever gets it next goes on")
            }
            End::Stuck => {
                tracing::warn!(
                    "no event came through for long; another process may try to ship the outbox"
                );
                self.release().await;
            }
        }
        end
    }

    /// Ships until the turn ends. Nothing is read or sent any more when this returns, and, whatever
    /// the database does, not after `until` either, which the renewals put off.
    async fn turn(&self, until: Instant) -> End {
        self.outbox.begin_turn();
        let (until, draining) = (Mutex::new(until), CancellationToken::new());
        let shipping =
            ship(self.outbox.clone(), self.logging.clone(), self.options.clone(), draining.clone());
        // The order matters: whenever this task runs, it first looks at its clock.
        tokio::select! {
            biased;
            () = over(&until) => End::Lost,
            () = self.keep(&until) => End::Lost,
            () = self.stuck() => End::Stuck,
            () = self.drain(&draining) => End::Drained,
            () = shipping => End::Drained,
        }
    }

    /// Renews the lease; returns when somebody else has it.
    async fn keep(&self, until: &Mutex<Instant>) {
        let mut pause = self.lease.pace();
        loop {
            tokio::time::sleep(pause).await;
            match self.lease.claim().await {
                Ok(Some(later)) => {
                    *until.lock().unwrap_or_else(PoisonError::into_inner) = later;
                    pause = self.lease.pace();
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the lease on the outbox could not be renewed yet");
                    pause = self.lease.pace() / 4;
                }
            }
        }
    }

    /// Returns when there has been something to ship for long and nothing came through. Not while
    /// the service stops: then the drain has its own time.
    async fn stuck(&self) {
        loop {
            tokio::time::sleep(self.lease.pace()).await;
            match self.outbox.waiting().await {
                Ok(waited) if waited >= self.patience && !self.shutdown.is_cancelled() => return,
                // A database that does not answer is for the lease to tell.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Once the service stops, has the shipper end with what was written before: others go on
    /// writing, and one of them goes on shipping. Never returns.
    async fn drain(&self, draining: &CancellationToken) {
        self.shutdown.cancelled().await;
        self.outbox.end_turn(self.lease.pace()).await;
        draining.cancel();
        std::future::pending().await
    }

    /// Waits until what was written before is shipped: by whoever has the lease, or, if nobody has
    /// it any more, by this process.
    async fn stand_down(&self) {
        self.outbox.begin_turn();
        self.outbox.end_turn(self.lease.pace()).await;
        while !matches!(self.outbox.read(None, 1).await, Ok(left) if left.is_empty()) {
            if let Ok(Some(until)) = self.lease.claim().await
                && matches!(self.take(until).await, End::Drained)
            {
                return;
            }
            tokio::time::sleep(STAND_BY / 4).await;
        }
    }

    async fn release(&self) {
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the lease on the outbox could not be released; it runs out by itself");
        }
    }
}

/// Returns when the time is over, and as soon as it is polled after that, however late a timer may
/// come.
async fn over(until: &Mutex<Instant>) {
    let read = || *until.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sleep = pin!(tokio::time::sleep_until(read().into()));
    poll_fn(|context| {
        loop {
            let until = read();
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            if sleep.deadline() != until.into() {
                sleep.as_mut().reset(until.into());
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Says in the metrics that this process ships, for as long as it lives.
pub(crate) struct Leading;

impl Leading {
    pub(crate) fn begin() -> Self {
        metrics::OUTBOX_LEADER.set(1);
        Self
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        metrics::OUTBOX_LEADER.set(0);
    }
}
