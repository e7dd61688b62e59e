//! Which replica a call goes to: the least loaded of those that serve.

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

use super::{super::transport::Address, connection::Connection, meters::Meters};

/// How long a call waits for a replica, counted from when there was none any more.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a call waits that comes later. Somebody who is cut off from all replicas, or has just
/// found its network again, would be the quickest of several to answer, with an error; and whoever
/// spreads calls by how soon they are answered would send it the most.
const MOMENT: Duration = Duration::from_millis(1500);
/// How many of those wait at once. Whoever comes after them is told at once: an outage is not made
/// worse by callers that pile up.
const CROWD: usize = 256;
/// Before a call goes to a replica again that has not taken it.
const BEFORE_AGAIN: Duration = Duration::from_millis(50);
/// The time that calls under way have on a replica that says it is going down. It answers them,
/// most often.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a replica gets no more calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// The connection ended: the process died, or closed it.
    Closed,
    /// No answer for too long.
    Silent,
    /// It says so itself: it is starting, going down, or cannot do its work.
    NotServing,
    /// Its address is no longer among those of the name.
    Unlisted,
    /// Its certificate has expired, or the authority of its certificate is no longer trusted.
    Untrusted,
}

impl Removal {
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

/// A replica that serves, from when it said so until it is removed.
#[derive(Debug)]
pub(super) struct Line {
    address: Address,
    connection: Connection,
    in_flight: AtomicUsize,
    /// Cancelled when this one does not serve any more and another one does, or the same one on
    /// another connection.
    relieved: CancellationToken,
    /// Cancelled when, moreover, calls under way on it have had their time.
    abandoned: CancellationToken,
    /// Cancelled when, moreover, it is not there any more, as far as can be seen.
    lost: CancellationToken,
}

impl Line {
    pub(super) fn new(address: Address, connection: Connection) -> Self {
        Self {
            address,
            connection,
            in_flight: AtomicUsize::new(0),
            relieved: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            lost: CancellationToken::new(),
        }
    }
}

/// A replica in use by a call or a stream, which counts as its load until this is dropped.
#[derive(Debug)]
pub struct Held(Arc<Line>);

impl Held {
    fn new(line: &Arc<Line>) -> Self {
        line.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(line))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address.clone()
    }

    /// The way to it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.0.connection.clone()
    }

    /// Whether it does not serve any more and another replica does, or the same one on another
    /// connection.
    #[must_use]
    pub fn is_relieved(&self) -> bool {
        self.0.relieved.is_cancelled()
    }

    /// Returns when [`is_relieved`](Self::is_relieved): what is new belongs there.
    pub async fn relieved(&self) {
        self.0.relieved.cancelled().await;
    }

    /// Returns when, moreover, a call under way will hardly be answered: it has been silent for too
    /// long, or has had its time to finish.
    pub async fn abandoned(&self) {
        self.0.abandoned.cancelled().await;
    }

    /// Returns when, moreover, it does not answer, or its address is gone: not when it says itself
    /// that it does not serve, as it may take long to finish.
    pub async fn lost(&self) {
        self.0.lost.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who can be chosen.
#[derive(Debug)]
struct Choice {
    serving: Vec<Arc<Line>>,
    /// Those that served and are silent, although their connection stands: better than none.
    doubtful: Vec<Arc<Line>>,
    /// Since when nobody serves.
    none_since: Option<Instant>,
}

/// A replica that was removed, and when the calls under way on it are given up.
#[derive(Debug)]
struct Leaving {
    line: Arc<Line>,
    removal: Removal,
    given_up: Instant,
}

/// The replicas of one service.
#[derive(Debug)]
pub(super) struct Set {
    service: &'static str,
    choice: watch::Sender<Choice>,
    /// Removed, with calls under way.
    leaving: Mutex<Vec<Leaving>>,
    turn: AtomicUsize,
    /// A permit for each call that may wait though there has been no replica for long.
    crowd: Semaphore,
    pub(super) meters: Meters,
}

impl Set {
    /// `service`: its name in log lines and metrics.
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            choice: watch::Sender::new(Choice {
                serving: Vec::new(),
                doubtful: Vec::new(),
                none_since: Some(Instant::now()),
            }),
            leaving: Mutex::default(),
            turn: AtomicUsize::new(0),
            crowd: Semaphore::new(CROWD),
            meters: Meters::new(service),
        }
    }

    /// Calls may go there.
    pub(super) fn serve(&self, line: Line) {
        let address = line.address.clone();
        let mut before = None;
        self.choice.send_modify(|choice| {
            before = take(&mut choice.serving, &address).map(|line| (line, true));
            if before.is_none() {
                before = take(&mut choice.doubtful, &address).map(|line| (line, false));
            }
            // From doubt back to service it is the same connection: whoever holds the line must be
            // told when it goes later.
            let line = match &before {
                Some((old, false))
                    if !old.relieved.is_cancelled() && old.connection.is_same(&line.connection) =>
                {
                    Arc::clone(old)
                }
                Some((old, _)) => {
                    // Calls under way end on the connection before; streams move to this one.
                    old.relieved.cancel();
                    Arc::new(line)
                }
                None => Arc::new(line),
            };
            choice.serving.push(line);
            choice.none_since = None;
        });
        if !matches!(before, Some((_, true))) {
            self.meters.serving.inc();
            tracing::info!(service = self.service, %address, "a replica serves");
        }
        self.release();
    }

    /// It has been silent: calls go there only if nobody else serves.
    pub(super) fn doubt(&self, address: &Address) {
        let mut doubted = false;
        self.choice.send_modify(|choice| {
            if let Some(line) = take(&mut choice.serving, address) {
                doubted = true;
                choice.doubtful.push(line);
                choice.note_none();
            }
        });
        if doubted {
            self.meters.serving.dec();
            self.meters.removed(Removal::Silent.label()).inc();
            self.tell(address, Removal::Silent);
        }
        self.release();
    }

    /// No calls go there any more.
    pub(super) fn remove(&self, address: &Address, removal: Removal) {
        let (mut served, mut gone) = (false, None);
        self.choice.send_if_modified(|choice| {
            gone = take(&mut choice.serving, address);
            served = gone.is_some();
            if gone.is_none() {
                gone = take(&mut choice.doubtful, address);
            }
            choice.note_none();
            gone.is_some()
        });
        let Some(line) = gone else { return };
        if served {
            self.meters.serving.dec();
            self.meters.removed(removal.label()).inc();
            self.tell(address, removal);
        }
        let given_up = match removal {
            Removal::Silent => Instant::now(),
            // On a connection that broke, calls end by themselves; on one that is closed in good
            // order, the replica finishes them.
            Removal::Closed | Removal::NotServing | Removal::Unlisted | Removal::Untrusted => {
                Instant::now() + FAREWELL
            }
        };
        self.leaving().push(Leaving { line, removal, given_up });
        self.release();
    }

    fn tell(&self, address: &Address, removal: Removal) {
        let (service, reason, left) = (self.service, removal.label(), self.serving());
        match removal {
            Removal::Closed | Removal::Silent | Removal::Untrusted => {
                tracing::warn!(service, %address, reason, left, "a replica gets no more calls")
            }
            // In good order.
            Removal::NotServing | Removal::Unlisted => {
                tracing::info!(service, %address, reason, left, "a replica gets no more calls")
            }
        }
    }

    /// Tells calls on replicas that serve no more, as soon as others do. Whoever probes calls it in
    /// each round, as time makes a difference.
    pub(super) fn release(&self) {
        let choice = self.choice.borrow();
        if choice.serving.is_empty() {
            return;
        }
        for line in &choice.doubtful {
            line.relieved.cancel();
            line.abandoned.cancel();
            line.lost.cancel();
        }
        drop(choice);
        let now = Instant::now();
        self.leaving().retain(|Leaving { line, removal, given_up }| {
            line.relieved.cancel();
            if *given_up <= now {
                line.abandoned.cancel();
                match removal {
                    Removal::NotServing => {}
                    Removal::Closed | Removal::Silent | Removal::Unlisted | Removal::Untrusted => {
                        line.lost.cancel()
                    }
                }
            }
            *given_up > now && line.in_flight.load(Ordering::Relaxed) > 0
        });
    }

    /// How many serve.
    pub(super) fn serving(&self) -> usize {
        self.choice.borrow().serving.len()
    }

    /// Told of every change from now on.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.choice.subscribe())
    }

    /// The least loaded that is not among `tried`; those with equal load take turns.
    pub(super) fn pick(&self, tried: &[Address]) -> Option<Held> {
        let choice = self.choice.borrow();
        self.least(&choice.serving, tried)
            .or_else(|| if tried.is_empty() { self.least(&choice.doubtful, tried) } else { None })
    }

    fn least(&self, lines: &[Arc<Line>], tried: &[Address]) -> Option<Held> {
        let turn = if lines.len() > 1 {
            self.turn.fetch_add(1, Ordering::Relaxed) % lines.len()
        } else {
            0
        };
        let (before, from) = lines.split_at(turn);
        let open = from
            .iter()
            .chain(before)
            .filter(|line| !tried.contains(&line.address) && !line.connection.is_closed());
        open.min_by_key(|line| line.in_flight.load(Ordering::Relaxed)).map(Held::new)
    }

    /// Waits for a replica that is not among `tried`, or, when all are, for a moment, and empties
    /// `tried`. `None` when nobody serves, for too long.
    pub(super) async fn hold(&self, tried: &mut Vec<Address>) -> Option<Held> {
        if let Some(held) = self.pick(tried) {
            return Some(held);
        }
        let begun = Instant::now();
        let place = self.crowd.try_acquire().ok();
        let mut changes = self.choice.subscribe();
        loop {
            if let Some(held) = self.pick(tried) {
                return Some(held);
            }
            // Those that are listed and yet not picked are closed, which whoever probes them is
            // about to find out.
            let until = changes.borrow_and_update().none_since.unwrap_or(begun) + PATIENCE;
            let until = if place.is_some() { until.max(begun + MOMENT) } else { until };
            if tried.is_empty() {
                timeout_at(until, changes.changed()).await.ok()?.ok()?;
            } else {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = sleep(BEFORE_AGAIN) => {}
                }
                tried.clear();
            }
        }
    }

    /// The replica for a long-lived stream: the same for the same `seed` as long as it serves, and
    /// spread evenly over many seeds (rendezvous hashing). `None` while nobody serves.
    pub(super) fn favourite(&self, seed: u64) -> Option<Held> {
        let rank = |line: &&Arc<Line>| {
            let mut hasher = DefaultHasher::new();
            (seed, &line.address).hash(&mut hasher);
            hasher.finish()
        };
        self.choice
            .borrow()
            .serving
            .iter()
            .filter(|line| !line.connection.is_closed())
            .max_by_key(rank)
            .map(Held::new)
    }

    /// No code that can panic runs under the lock.
    fn leaving(&self) -> MutexGuard<'_, Vec<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let left = i64::try_from(self.serving()).unwrap_or(i64::MAX);
        self.meters.serving.sub(left);
    }
}

impl Choice {
    fn note_none(&mut self) {
        if self.serving.is_empty() && self.none_since.is_none() {
            self.none_since = Some(Instant::now());
        }
    }
}

/// A way to wait for the next change of a [`Set`].
#[derive(Debug)]
pub(super) struct Changes(watch::Receiver<Choice>);

impl Changes {
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // cannot be: whoever waits holds the set
        }
    }
}

fn take(lines: &mut Vec<Arc<Line>>, address: &Address) -> Option<Arc<Line>> {
    let index = lines.iter().position(|line| line.address == *address)?;
    Some(lines.remove(index))
}
