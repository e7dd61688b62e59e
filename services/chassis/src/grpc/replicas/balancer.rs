use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{super::transport::Address, connection::Connection, metrics::Metrics};

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
pub(super) struct Subchannel {
    address: Address,
    connection: Connection,
    in_flight: AtomicUsize,
    /// Cancelled when this subchannel is removed or ejected and another one is healthy.
    replaced: CancellationToken,
    /// Cancelled when, in addition, [`DRAIN_GRACE`] has passed.
    abandoned: CancellationToken,
    /// Cancelled when, in addition, the replica does not respond or is no longer listed.
    unreachable: CancellationToken,
}

impl Subchannel {
    pub(super) fn new(address: Address, connection: Connection) -> Self {
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
pub struct InFlightGuard(Arc<Subchannel>);

impl InFlightGuard {
    fn new(subchannel: &Arc<Subchannel>) -> Self {
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
    pub fn connection(&self) -> Connection {
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

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Subchannels {
    serving: Vec<Arc<Subchannel>>,
    /// Timed out but still connected; used if no other subchannel is healthy.
    ejected: Vec<Arc<Subchannel>>,
    outage_since: Option<Instant>,
}

#[derive(Debug)]
struct Draining {
    subchannel: Arc<Subchannel>,
    reason: RemovalReason,
    drain_until: Instant,
}

#[derive(Debug)]
pub(super) struct Balancer {
    service: &'static str,
    subchannels: watch::Sender<Subchannels>,
    draining: Mutex<Vec<Draining>>,
    next_index: AtomicUsize,
    pending: Semaphore,
    pub(super) metrics: Metrics,
}

impl Balancer {
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            subchannels: watch::Sender::new(Subchannels {
                serving: Vec::new(),
                ejected: Vec::new(),
                outage_since: Some(Instant::now()),
            }),
            draining: Mutex::default(),
            next_index: AtomicUsize::new(0),
            pending: Semaphore::new(MAX_PENDING),
            metrics: Metrics::new(service),
        }
    }

    pub(super) fn add(&self, subchannel: Subchannel) {
        let address = subchannel.address.clone();
        let mut previous = None;
        self.subchannels.send_modify(|subchannels| {
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
                    Arc::new(subchannel)
                }
                None => Arc::new(subchannel),
            };
            subchannels.serving.push(subchannel);
            subchannels.outage_since = None;
        });
        if !matches!(previous, Some((_, true))) {
            self.metrics.serving.inc();
            tracing::info!(service = self.service, %address, "replica is serving");
        }
        self.notify_guards();
    }

    pub(super) fn eject(&self, address: &Address) {
        let mut was_serving = false;
        self.subchannels.send_modify(|subchannels| {
            if let Some(subchannel) = remove_address(&mut subchannels.serving, address) {
                was_serving = true;
                subchannels.ejected.push(subchannel);
                subchannels.mark_outage();
            }
        });
        if was_serving {
            self.metrics.serving.dec();
            self.metrics.removed(RemovalReason::Silent.label()).inc();
            self.log_removal(address, RemovalReason::Silent);
        }
        self.notify_guards();
    }

    pub(super) fn remove(&self, address: &Address, reason: RemovalReason) {
        let (mut was_serving, mut removed) = (false, None);
        self.subchannels.send_if_modified(|subchannels| {
            removed = remove_address(&mut subchannels.serving, address);
            was_serving = removed.is_some();
            if removed.is_none() {
                removed = remove_address(&mut subchannels.ejected, address);
            }
            subchannels.mark_outage();
            removed.is_some()
        });
        let Some(subchannel) = removed else { return };
        if was_serving {
            self.metrics.serving.dec();
            self.metrics.removed(reason.label()).inc();
            self.log_removal(address, reason);
        }
        let drain_until = match reason {
            RemovalReason::Silent => Instant::now(),
            // A gracefully closed connection still finishes its calls.
            RemovalReason::Closed
            | RemovalReason::NotServing
            | RemovalReason::Unlisted
            | RemovalReason::Untrusted => Instant::now() + DRAIN_GRACE,
        };
        self.draining().push(Draining { subchannel, reason, drain_until });
        self.notify_guards();
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
        let subchannels = self.subchannels.borrow();
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
        self.draining().retain(|Draining { subchannel, reason, drain_until }| {
            subchannel.replaced.cancel();
            if *drain_until <= now {
                subchannel.abandoned.cancel();
                match reason {
                    RemovalReason::NotServing => {}
                    RemovalReason::Closed
                    | RemovalReason::Silent
                    | RemovalReason::Unlisted
                    | RemovalReason::Untrusted => subchannel.unreachable.cancel(),
                }
            }
            *drain_until > now && subchannel.in_flight.load(Ordering::Relaxed) > 0
        });
    }

    pub(super) fn serving(&self) -> usize {
        self.subchannels.borrow().serving.len()
    }

    pub(super) fn changes(&self) -> Changes {
        Changes(self.subchannels.subscribe())
    }

    pub(super) fn pick(&self, tried: &[Address]) -> Option<InFlightGuard> {
        let subchannels = self.subchannels.borrow();
        self.least_loaded(&subchannels.serving, tried).or_else(|| {
            if tried.is_empty() { self.least_loaded(&subchannels.ejected, tried) } else { None }
        })
    }

    fn least_loaded(
        &self,
        subchannels: &[Arc<Subchannel>],
        tried: &[Address],
    ) -> Option<InFlightGuard> {
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
    pub(super) async fn wait_for_pick(&self, tried: &mut Vec<Address>) -> Option<InFlightGuard> {
        if let Some(guard) = self.pick(tried) {
            return Some(guard);
        }
        let start = Instant::now();
        let permit = self.pending.try_acquire().ok();
        let mut changes = self.subchannels.subscribe();
        loop {
            if let Some(guard) = self.pick(tried) {
                return Some(guard);
            }
            // A listed subchannel that is not picked is closed; its health check removes it.
            let until = changes.borrow_and_update().outage_since.unwrap_or(start) + OUTAGE_TIMEOUT;
            let until = if permit.is_some() { until.max(start + PENDING_TIMEOUT) } else { until };
            if tried.is_empty() {
                timeout_at(until, changes.changed()).await.ok()?.ok()?;
            } else {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = sleep(RETRY_DELAY) => {}
                }
                tried.clear();
            }
        }
    }

    /// Rendezvous hashing: stable per key, and even over many keys.
    pub(super) fn pick_by_hash(&self, key: u64) -> Option<InFlightGuard> {
        let rank = |subchannel: &&Arc<Subchannel>| {
            let mut hasher = DefaultHasher::new();
            (key, &subchannel.address).hash(&mut hasher);
            hasher.finish()
        };
        self.subchannels
            .borrow()
            .serving
            .iter()
            .filter(|subchannel| !subchannel.connection.is_closed())
            .max_by_key(rank)
            .map(InFlightGuard::new)
    }

    fn draining(&self) -> MutexGuard<'_, Vec<Draining>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let left = i64::try_from(self.serving()).unwrap_or(i64::MAX);
        self.metrics.serving.sub(left);
    }
}

impl Subchannels {
    fn mark_outage(&mut self) {
        if self.serving.is_empty() && self.outage_since.is_none() {
            self.outage_since = Some(Instant::now());
        }
    }
}

#[derive(Debug)]
pub(super) struct Changes(watch::Receiver<Subchannels>);

impl Changes {
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // unreachable: the caller holds the balancer
        }
    }
}

fn remove_address(
    subchannels: &mut Vec<Arc<Subchannel>>,
    address: &Address,
) -> Option<Arc<Subchannel>> {
    let index = subchannels.iter().position(|subchannel| subchannel.address == *address)?;
    Some(subchannels.remove(index))
}
