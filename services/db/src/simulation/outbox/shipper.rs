//! Sends events as [`merch_logging::client::ship`] does: in the order of reading, and again from
//! the oldest after an error.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use merch_logging::client::EventSource as _;
use simulator::locked;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DRAIN_TIMEOUT, Mutant, POLL_INTERVAL, TO_TOPIC, World};
use crate::store::outbox::{Outbox, OutboxPosition, leader::Ship};

#[derive(Clone)]
pub(super) struct Shipper {
    pub(super) world: Arc<World>,
    pub(super) replica: usize,
    pub(super) holder: Uuid,
    pub(super) is_killed: Arc<AtomicBool>,
}

/// Events that are sent before the acknowledgements of earlier ones are written.
const MAX_UNACKNOWLEDGED: usize = 8;

async fn acknowledge(outbox: &Outbox, positions: &[OutboxPosition]) {
    while !positions.is_empty() && outbox.acknowledge(positions).await.is_err() {
        sleep(Duration::from_millis(200)).await;
    }
}

impl Ship for Shipper {
    async fn ship(&self, outbox: Outbox, shutdown: CancellationToken) {
        if self.world.has(Mutant::SendAfterTheTerm) {
            let shipper = self.clone();
            let _ = tokio::spawn(async move { shipper.send_all(outbox, shutdown).await }).await;
            return;
        }
        let drain_deadline = async {
            shutdown.cancelled().await;
            sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            () = self.send_all(outbox, shutdown.clone()) => {}
            () = drain_deadline => {}
        }
    }
}

impl Shipper {
    async fn send_all(&self, outbox: Outbox, shutdown: CancellationToken) {
        let (mut after, mut unacknowledged, mut is_idle) = (None, Vec::new(), false);
        let mut restart_at = Instant::now() + POLL_INTERVAL;
        loop {
            if Instant::now() >= restart_at && !self.world.has(Mutant::ForgetLateEvents) {
                after = None;
                restart_at = Instant::now() + POLL_INTERVAL;
            }
            if after.is_none() {
                acknowledge(&outbox, &std::mem::take(&mut unacknowledged)).await;
            }
            // Further events are read before the acknowledgements of the last ones are written.
            let is_due = is_idle || unacknowledged.len() > MAX_UNACKNOWLEDGED;
            let acknowledged =
                if is_due { std::mem::take(&mut unacknowledged) } else { Vec::new() };
            let (read, ()) =
                tokio::join!(outbox.read(after.as_ref(), 4), acknowledge(&outbox, &acknowledged));
            let Ok(mut events) = read else {
                after = None;
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            is_idle = events.is_empty();
            if is_idle && !unacknowledged.is_empty() {
                continue;
            }
            if is_idle {
                if shutdown.is_cancelled()
                    && outbox.read(None, 1).await.is_ok_and(|left| left.is_empty())
                {
                    return;
                }
                if shutdown.is_cancelled() {
                    after = None;
                }
                let _ = tokio::time::timeout(POLL_INTERVAL, outbox.changed()).await;
                continue;
            }
            after = events.last().map(|(position, _)| *position);
            let positions: Vec<OutboxPosition> =
                events.iter().map(|(position, _)| *position).collect();
            if self.world.has(Mutant::ReverseOrder) {
                events.reverse();
            }
            if self.world.has(Mutant::AcknowledgeEarly) {
                let _ = outbox.acknowledge(&positions).await;
            }
            let writes = events.iter().map(|(position, _)| position.id.as_u128() as usize);
            let sent = self.send(writes.collect()).await;
            if !sent && !self.world.has(Mutant::AcknowledgeFailures) {
                after = None;
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            unacknowledged.extend(positions);
        }
    }

    /// Returns whether the topic has acknowledged the events. A request in flight arrives even if
    /// this future is dropped, but not if the process is killed before it is sent.
    async fn send(&self, writes: Vec<usize>) -> bool {
        if self.is_killed.load(Ordering::Relaxed) {
            return false;
        }
        let this = self.clone();
        let sending = tokio::spawn(async move {
            let Self { world, replica, .. } = &this;
            world.travel(TO_TOPIC).await;
            let is_cut = || world.replicas[*replica].topic_cut.load(Ordering::Relaxed);
            if is_cut() {
                return false;
            }
            this.arrive(&writes);
            world.history.note(format!("replica {replica} has sent {writes:?}"));
            world.travel(5).await;
            // The acknowledgement can get lost.
            !is_cut()
        });
        sending.await.unwrap_or(false)
    }

    fn arrive(&self, writes: &[usize]) {
        let now = self.world.database_clock(None);
        let mut tables = locked(&self.world.tables);
        tables.topic.extend(writes);
        for write in writes {
            tables.arrived.entry(*write).or_insert_with(Instant::now);
        }
        let released = tables.releases.get(&self.holder);
        if released.is_some_and(|released| released.elapsed() < Duration::from_secs(1)) {
            return;
        }
        if let Some((other, until)) = tables.lease
            && self.world.keeps_leases
            && other != self.holder
            && until > now
        {
            tables.broken.push(format!(
                "{writes:?} arrive from replica {}, while another one has the lease",
                self.replica
            ));
        }
    }
}
