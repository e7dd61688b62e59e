use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::transport::Address, channel::Channel, connection::Connection, metrics::Metrics,
};
use crate::sync::{AtomicUsize, Mutex, Notify, RwLock};

/// Time limit of a pending call, counted from the beginning of the outage.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum wait of a pending call. Otherwise a process without replicas would fail calls fastest,
/// and least-latency load balancers would send it the most requests.
const PENDING_TIMEOUT: Duration = Duration::from_millis(1500);
/// Maximum of pending calls with this minimum wait.
const MAX_PENDING: usize = 256;
/// Delay before a retry on a replica that did not process the call.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// Time for calls in flight on a removed replica to finish.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemovalReason {
    Closed,
    Silent,
    NotServing,
    Unlisted,
    Untrusted,
}

impl RemovalReason {
    const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::NotServing => "not_serving",
            Self::Unlisted => "unlisted",
            Self::Untrusted => "untrusted",
        }
    }
}

#[derive(Debug)]
pub(super) struct Subchannel<C> {
    address: Address,
    connection: C,
    in_flight: AtomicUsize,
    /// Cancelled when this subchannel is removed or ejected and another one is healthy.
    replaced: CancellationToken,
    /// Cancelled when, in addition, the replica does not respond or [`DRAIN_GRACE`] has passed.
    abandoned: CancellationToken,
    /// Cancelled when, in addition, the replica does not respond or is no longer listed.
    unreachable: CancellationToken,
}

impl<C> Subchannel<C> {
    pub(super) fn new(address: Address, connection: C) -> Self {
        Self {
            address,
            connection,
            in_flight: AtomicUsize::new(0),
            replaced: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            unreachable: CancellationToken::new(),
        }
    }
}

/// A call or stream on a subchannel; counts as its load until dropped.
#[derive(Debug)]
pub struct InFlightGuard<C = Connection>(Arc<Subchannel<C>>);

impl<C> InFlightGuard<C> {
    fn new(subchannel: &Arc<Subchannel<C>>) -> Self {
        subchannel.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(subchannel))
    }

    /// Returns the replica's address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address.clone()
    }

    /// Returns the connection to the replica.
    #[must_use]
    pub fn connection(&self) -> C
    where
        C: Clone,
    {
        self.0.connection.clone()
    }

    /// Returns whether the replica was removed or ejected and another one, or another connection,
    /// is healthy.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.0.replaced.is_cancelled()
    }

    /// Waits until [`is_replaced`](Self::is_replaced).
    pub async fn replaced(&self) {
        self.0.replaced.cancelled().await;
    }

    /// Waits until the replica is replaced and has timed out, or its drain is over.
    pub async fn abandoned(&self) {
        self.0.abandoned.cancelled().await;
    }

    /// Waits until the replica is replaced and does not respond or is not listed any more. "Not
    /// serving" does not count: the replica may still finish its calls.
    pub async fn unreachable(&self) {
        self.0.unreachable.cancelled().await;
    }
}

impl<C> Drop for InFlightGuard<C> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Subchannels<C> {
    serving: Vec<Arc<Subchannel<C>>>,
    /// Timed out but still connected; used if no other subchannel is healthy.
    ejected: Vec<Arc<Subchannel<C>>>,
    outage_since: Option<Instant>,
}

/// A subchannel whose calls and streams may go on.
#[derive(Debug)]
struct Draining<C> {
    subchannel: Arc<Subchannel<C>>,
    /// Why and until when; `None` while the replica serves on another connection.
    ends: Option<(RemovalReason, Instant)>,
}

#[derive(Debug)]
pub(super) struct Balancer<C> {
    service: &'static str,
    subchannels: RwLock<Subchannels<C>>,
    changed: Notify,
    draining: Mutex<Vec<Draining<C>>>,
    next_index: AtomicUsize,
    pending: Semaphore,
    pub(super) metrics: Metrics,
}

impl<C: Channel> Balancer<C> {
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            subchannels: RwLock::new(Subchannels {
                serving: Vec::new(),
                ejected: Vec::new(),
                outage_since: Some(Instant::now()),
            }),
            changed: Notify::new(),
            draining: Mutex::default(),
            next_index: AtomicUsize::new(0),
            pending: Semaphore::new(MAX_PENDING),
            metrics: Metrics::new(service),
        }
    }

    pub(super) fn add(&self, subchannel: Subchannel<C>) {
        let address = subchannel.address.clone();
        let mut previous = None;
        self.modify(|subchannels| {
            previous = remove_address(&mut subchannels.serving, &address)
                .map(|subchannel| (subchannel, true));
            if previous.is_none() {
                previous = remove_address(&mut subchannels.ejected, &address)
                    .map(|subchannel| (subchannel, false));
            }
            // Kept if it recovers on the same connection: its guards must see a later removal.
            let subchannel = match &previous {
                Some((old, false))
                    if !old.replaced.is_cancelled()
                        && old.connection.is_same(&subchannel.connection) =>
                {
                    Arc::clone(old)
                }
                Some((old, _)) => {
                    old.replaced.cancel();
                    // Its guards must see a later removal, too.
                    self.draining().push(Draining { subchannel: Arc::clone(old), ends: None });
                    Arc::new(subchannel)
                }
                None => Arc::new(subchannel),
            };
            subchannels.serving.push(subchannel);
            subchannels.outage_since = None;
            true
        });
        if !matches!(previous, Some((_, true))) {
            self.metrics.serving.inc();
            tracing::info!(service = self.service, %address, "replica is serving");
        }
        self.notify_guards();
    }

    pub(super) fn eject(&self, address: &Address) {
        let mut was_serving = false;
        self.modify(|subchannels| {
            if let Some(subchannel) = remove_address(&mut subchannels.serving, address) {
                was_serving = true;
                subchannels.ejected.push(subchannel);
                subchannels.mark_outage();
            }
            was_serving
        });
        if was_serving {
            self.metrics.serving.dec();
            self.metrics.removed(RemovalReason::Silent.label()).inc();
            self.log_removal(address, RemovalReason::Silent);
        }
        self.end_drains(address, RemovalReason::Silent);
        self.notify_guards();
    }

    pub(super) fn remove(&self, address: &Address, reason: RemovalReason) {
        let (mut was_serving, mut removed) = (false, None);
        self.modify(|subchannels| {
            removed = remove_address(&mut subchannels.serving, address);
            was_serving = removed.is_some();
            if removed.is_none() {
                removed = remove_address(&mut subchannels.ejected, address);
            }
            subchannels.mark_outage();
            removed.is_some()
        });
        if was_serving {
            self.metrics.serving.dec();
            self.metrics.removed(reason.label()).inc();
            self.log_removal(address, reason);
        }
        if let Some(subchannel) = removed {
            self.draining().push(Draining { subchannel, ends: None });
        }
        self.end_drains(address, reason);
        self.notify_guards();
    }

    /// Ends the drains of a replica, also of its earlier connections.
    fn end_drains(&self, address: &Address, reason: RemovalReason) {
        let until = match reason {
            RemovalReason::Silent => Instant::now(),
            // A gracefully closed connection still finishes its calls.
            RemovalReason::Closed
            | RemovalReason::NotServing
            | RemovalReason::Unlisted
            | RemovalReason::Untrusted => Instant::now() + DRAIN_GRACE,
        };
        for draining in self.draining().iter_mut() {
            if draining.subchannel.address == *address {
                draining.ends = Some(match draining.ends {
                    None => (reason, until),
                    Some((RemovalReason::NotServing, end)) => (reason, end.min(until)),
                    // A later connection does not change that this one is unreachable.
                    Some((earlier, end)) => (earlier, end.min(until)),
                });
            }
        }
    }

    fn log_removal(&self, address: &Address, reason: RemovalReason) {
        let (service, label, left) = (self.service, reason.label(), self.serving());
        match reason {
            RemovalReason::Closed | RemovalReason::Silent | RemovalReason::Untrusted => {
                tracing::warn!(service, %address, reason = label, left, "replica removed")
            }
            RemovalReason::NotServing | RemovalReason::Unlisted => {
                tracing::info!(service, %address, reason = label, left, "replica removed")
            }
        }
    }

    /// Notifies calls on removed and ejected replicas if another one is healthy. Repeated, because
    /// drains end with time.
    pub(super) fn notify_guards(&self) {
        let subchannels = self.subchannels();
        if subchannels.serving.is_empty() {
            return;
        }
        for subchannel in &subchannels.ejected {
            subchannel.replaced.cancel();
            subchannel.abandoned.cancel();
            subchannel.unreachable.cancel();
        }
        drop(subchannels);
        let now = Instant::now();
        self.draining().retain(|Draining { subchannel, ends }| {
            subchannel.replaced.cancel();
            if let Some((reason, _)) = ends.filter(|(_, until)| *until <= now) {
                subchannel.abandoned.cancel();
                match reason {
                    RemovalReason::NotServing => {}
                    RemovalReason::Closed
                    | RemovalReason::Silent
                    | RemovalReason::Unlisted
                    | RemovalReason::Untrusted => subchannel.unreachable.cancel(),
                }
            }
            !subchannel.unreachable.is_cancelled()
                && subchannel.in_flight.load(Ordering::Relaxed) > 0
        });
    }

    pub(super) fn serving(&self) -> usize {
        self.subchannels().serving.len()
    }

    /// Waits for the next change after this call.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + Send {
        self.changed.notified()
    }

    pub(super) fn pick(&self, tried: &[Address]) -> Option<InFlightGuard<C>> {
        let subchannels = self.subchannels();
        self.least_loaded(&subchannels.serving, tried).or_else(|| {
            if tried.is_empty() { self.least_loaded(&subchannels.ejected, tried) } else { None }
        })
    }

    fn least_loaded(
        &self,
        subchannels: &[Arc<Subchannel<C>>],
        tried: &[Address],
    ) -> Option<InFlightGuard<C>> {
        let start = if subchannels.len() > 1 {
            self.next_index.fetch_add(1, Ordering::Relaxed) % subchannels.len()
        } else {
            0
        };
        let (before, from) = subchannels.split_at(start);
        let open = from.iter().chain(before).filter(|subchannel| {
            !tried.contains(&subchannel.address) && !subchannel.connection.is_closed()
        });
        open.min_by_key(|subchannel| subchannel.in_flight.load(Ordering::Relaxed))
            .map(InFlightGuard::new)
    }

    /// Waits for a replica that is not in `tried`; if all are, waits shortly and clears `tried`.
    /// Returns `None` after a long outage.
    pub(super) async fn wait_for_pick(&self, tried: &mut Vec<Address>) -> Option<InFlightGuard<C>> {
        if let Some(guard) = self.pick(tried) {
            return Some(guard);
        }
        let start = Instant::now();
        let permit = self.pending.try_acquire().ok();
        loop {
            // Before the pick, so that no change is missed.
            let changed = self.changed();
            if let Some(guard) = self.pick(tried) {
                return Some(guard);
            }
            // A listed subchannel that is not picked is closed; its health check removes it.
            let until = self.subchannels().outage_since.unwrap_or(start) + OUTAGE_TIMEOUT;
            let until = if permit.is_some() { until.max(start + PENDING_TIMEOUT) } else { until };
            if tried.is_empty() {
                timeout_at(until, changed).await.ok()?;
            } else {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep(RETRY_DELAY) => {}
                }
                tried.clear();
            }
        }
    }

    /// Waits for a replica. Equal keys get the same one while it serves.
    pub(super) async fn wait_for_pick_by_hash(&self, key: u64) -> InFlightGuard<C> {
        loop {
            let changed = self.changed();
            match self.pick_by_hash(key) {
                Some(guard) => return guard,
                None => changed.await,
            }
        }
    }

    /// Rendezvous hashing: stable per key, and even over many keys.
    pub(super) fn pick_by_hash(&self, key: u64) -> Option<InFlightGuard<C>> {
        let rank = |subchannel: &&Arc<Subchannel<C>>| {
            let mut hasher = DefaultHasher::new();
            (key, &subchannel.address).hash(&mut hasher);
            hasher.finish()
        };
        self.subchannels()
            .serving
            .iter()
            .filter(|subchannel| !subchannel.connection.is_closed())
            .max_by_key(rank)
            .map(InFlightGuard::new)
    }

    /// Calls and streams on the replicas that are serving, ejected or draining.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        let subchannels = self.subchannels();
        let draining = self.draining();
        let listed = subchannels.serving.iter().chain(&subchannels.ejected);
        listed
            .chain(draining.iter().map(|draining| &draining.subchannel))
            .map(|subchannel| subchannel.in_flight.load(Ordering::Relaxed))
            .sum()
    }

    /// `change` returns whether it changed anything.
    fn modify(&self, change: impl FnOnce(&mut Subchannels<C>) -> bool) {
        let mut subchannels = self.subchannels.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = change(&mut subchannels);
        drop(subchannels);
        if has_changed {
            self.changed.notify_waiters();
        }
    }

    fn subchannels(&self) -> RwLockReadGuard<'_, Subchannels<C>> {
        self.subchannels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn draining(&self) -> MutexGuard<'_, Vec<Draining<C>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Drop for Balancer<C> {
    fn drop(&mut self) {
        let subchannels = self.subchannels.get_mut().unwrap_or_else(PoisonError::into_inner);
        let left = i64::try_from(subchannels.serving.len()).unwrap_or(i64::MAX);
        self.metrics.serving.sub(left);
    }
}

impl<C> Subchannels<C> {
    fn mark_outage(&mut self) {
        if self.serving.is_empty() && self.outage_since.is_none() {
            self.outage_since = Some(Instant::now());
        }
    }
}

fn remove_address<C>(
    subchannels: &mut Vec<Arc<Subchannel<C>>>,
    address: &Address,
) -> Option<Arc<Subchannel<C>>> {
    let index = subchannels.iter().position(|subchannel| subchannel.address == *address)?;
    Some(subchannels.remove(index))
}
