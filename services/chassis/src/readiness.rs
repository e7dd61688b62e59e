//! Whether a role can do its work now, and if not, why: what `/readyz` and the gRPC health service
//! answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a part that has not said anything yet is not ready.
const STARTING: &str = "starting";

/// The readiness of a role: ready when each of its parts is.
///
/// Cheap to clone; clones share one state. Without any part it is ready.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Told of every change here and in the children.
    changed: watch::Sender<()>,
    /// Weak, as the parent holds its children.
    parent: Weak<Inner>,
    /// Cancelled by [`Readiness::stop`].
    stopping: CancellationToken,
}

/// What a part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Ready,
    /// It works, and something behind it does not.
    Degraded(String),
    NotReady(String),
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were added.
    parts: Vec<(&'static str, Condition)>,
    /// What it waits for, if it has no part and no child yet.
    expected: Option<&'static str>,
    children: Vec<Readiness>,
    /// Children whose parts only degrade this one.
    background: Vec<Readiness>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::with_parent(Weak::new())
    }
}

impl Readiness {
    fn with_parent(parent: Weak<Inner>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            parent,
            stopping: CancellationToken::new(),
        }))
    }

    /// A readiness that is not ready before it has a part or a child: `/readyz` may be asked before
    /// the roles are started.
    #[must_use]
    pub fn expecting(name: &'static str) -> Self {
        let readiness = Self::default();
        readiness.state().expected = Some(name);
        readiness
    }

    /// Adds a part, not ready yet (`"starting"`), and gives the handle that says when it is.
    pub fn part(&self, name: &'static str) -> Part {
        let index = {
            let mut state = self.state();
            state.expected = None;
            state.parts.push((name, Condition::NotReady(STARTING.to_owned())));
            state.parts.len() - 1
        };
        self.notify();
        Part { of: self.clone(), index }
    }

    /// A readiness of its own whose parts also count for this one. It is not ready before it has a
    /// part: a role adds its parts while it starts.
    ///
    /// Several roles in one process each get a child: a role's health must not wait for a role that
    /// waits for it.
    pub fn child(&self, name: &'static str) -> Readiness {
        let child = Self::with_parent(Arc::downgrade(&self.0));
        child.state().expected = Some(name);
        {
            let mut state = self.state();
            state.expected = None;
            state.children.push(child.clone());
        }
        self.notify();
        child
    }

    /// A child whose parts that are not ready make this one degraded, and not "not ready": of a
    /// role that the others do without for a while.
    pub fn background(&self, name: &'static str) -> Readiness {
        let child = Self::with_parent(Arc::downgrade(&self.0));
        child.state().expected = Some(name);
        self.state().background.push(child.clone());
        self.notify();
        child
    }

    /// Not ready from now on, whatever its parts say, as what it stands for is about to stop:
    /// whoever asks goes elsewhere, and who comes all the same is served. Its children, if it has
    /// any, are not told.
    pub fn stop(&self) {
        self.0.stopping.cancel();
        self.notify();
    }

    /// Cancelled by [`stop`](Self::stop).
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// `Ok` when every part is ready, degraded ones included.
    ///
    /// # Errors
    /// The parts that are not ready, each with its reason.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut reasons = Vec::new();
        self.collect(&mut reasons);
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// The parts that are degraded, each with its reason. They take nothing from
    /// [`check`](Self::check): a balancer goes on sending requests.
    #[must_use]
    pub fn degraded(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let own = state.parts.iter().filter_map(|(name, condition)| match condition {
            Condition::Degraded(reason) => Some((*name, reason.clone())),
            Condition::Ready | Condition::NotReady(_) => None,
        });
        let mut reasons: Vec<_> = own.collect();
        reasons.extend(state.children.iter().flat_map(Self::degraded));
        for child in &state.background {
            child.collect(&mut reasons);
            reasons.extend(child.degraded());
        }
        reasons
    }

    /// Waits until every part is ready.
    pub async fn ready(&self) {
        let mut changes = self.changes();
        while self.check().is_err() {
            if changes.changed().await.is_err() {
                return; // cannot be: `self` holds the sender
            }
        }
    }

    /// Told of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn collect(&self, reasons: &mut Vec<(&'static str, String)>) {
        if self.0.stopping.is_cancelled() {
            return reasons.push(("process", "shutting down".to_owned()));
        }
        let state = self.state();
        reasons.extend(state.expected.map(|name| (name, STARTING.to_owned())));
        reasons.extend(state.parts.iter().filter_map(|(name, condition)| match condition {
            Condition::NotReady(reason) => Some((*name, reason.clone())),
            Condition::Ready | Condition::Degraded(_) => None,
        }));
        for child in &state.children {
            child.collect(reasons);
        }
    }

    fn notify(&self) {
        self.0.changed.send_replace(());
        if let Some(parent) = self.0.parent.upgrade() {
            Self(parent).notify();
        }
    }

    /// No code that can panic runs under the lock, so a poisoned state is still a whole one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part of a role's readiness, for example `"database"`.
#[derive(Clone, Debug)]
pub struct Part {
    of: Readiness,
    index: usize,
}

impl Part {
    /// This part can do its work.
    pub fn ready(&self) {
        self.set(Condition::Ready);
    }

    /// This part can do its work, and something behind it cannot, which an operator has to look at.
    /// `reason` is shown as in [`not_ready`](Self::not_ready).
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Condition::Degraded(reason.into()));
    }

    /// This part cannot do its work. `reason` is shown on the admin port: plain words, no secrets.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Condition::NotReady(reason.into()));
    }

    fn set(&self, condition: Condition) {
        let changed = {
            let mut state = self.of.state();
            let (_, current) = &mut state.parts[self.index];
            let changed = *current != condition;
            *current = condition;
            changed
        };
        if changed {
            self.of.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_part_is_starting_until_it_says_otherwise() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Ok(()));
        let database = readiness.part("database");
        assert_eq!(readiness.check(), Err(vec![("database", "starting".to_owned())]));
        database.ready();
        assert_eq!(readiness.check(), Ok(()));
        database.not_ready("no answer for 3 s");
        assert_eq!(readiness.check(), Err(vec![("database", "no answer for 3 s".to_owned())]));
    }

    #[test]
    fn a_process_is_not_ready_before_its_roles_are_started() {
        let process = Readiness::expecting("roles");
        assert_eq!(process.check(), Err(vec![("roles", "starting".to_owned())]));
        process.background("logging").part("kafka").ready();
        assert_eq!(
            process.check(),
            Err(vec![("roles", "starting".to_owned())]),
            "others do without that one"
        );
        let db = process.child("db");
        assert_eq!(process.check(), Err(vec![("db", "starting".to_owned())]));
        db.part("database").ready();
        assert_eq!(process.check(), Ok(()));
    }

    #[test]
    fn a_degraded_part_is_ready_and_says_why_it_is_looked_at() {
        let process = Readiness::default();
        let db = process.child("db");
        let events = db.part("events");
        events.degraded("the oldest log event waits for 75 s");
        assert_eq!((process.check(), db.check()), (Ok(()), Ok(())));
        let reasons = vec![("events", "the oldest log event waits for 75 s".to_owned())];
        assert_eq!((process.degraded(), db.degraded()), (reasons.clone(), reasons));
        events.ready();
        assert_eq!(process.degraded(), []);
        events.not_ready("gone");
        assert!(process.check().is_err() && process.degraded().is_empty());
    }

    #[test]
    fn a_role_in_the_background_degrades_its_process_and_is_not_ready_itself() {
        let process = Readiness::default();
        process.child("db").part("database").ready();
        let logging = process.background("logging");
        let kafka = logging.part("kafka");
        kafka.not_ready("does not answer");
        let reasons = vec![("kafka", "does not answer".to_owned())];
        assert_eq!((process.check(), process.degraded()), (Ok(()), reasons.clone()));
        assert_eq!(logging.check(), Err(reasons));
        kafka.ready();
        assert_eq!((process.check(), process.degraded()), (Ok(()), vec![]));
    }

    #[test]
    fn the_parts_of_children_count_for_the_parent_only() {
        let process = Readiness::default();
        let api = process.child("api");
        assert_eq!(process.check(), Err(vec![("api", "starting".to_owned())]));
        let part = api.part("db");
        let db = process.child("db");
        db.part("database").ready();
        assert_eq!(db.check(), Ok(()));
        assert_eq!(process.check(), Err(vec![("db", "starting".to_owned())]));
        part.ready();
        assert_eq!(process.check(), Ok(()));
    }

    #[test]
    fn what_stops_is_not_ready_any_more_and_neither_is_its_parent() {
        let process = Readiness::default();
        let (api, db) = (process.child("api"), process.child("db"));
        let parts = [api.part("db"), db.part("database")];
        parts.iter().for_each(Part::ready);
        api.stop();
        let stopping = Err(vec![("process", "shutting down".to_owned())]);
        assert_eq!(
            (api.check(), process.check(), db.check()),
            (stopping.clone(), stopping.clone(), Ok(()))
        );
        assert!(api.stopping().is_cancelled() && !db.stopping().is_cancelled());
        process.stop();
        parts[0].not_ready("gone");
        assert_eq!((process.check(), db.check()), (stopping, Ok(())));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_part_of_a_child() {
        let process = Readiness::default();
        let part = process.child("logging").part("kafka");
        let waiting = tokio::spawn({
            let process = process.clone();
            async move { process.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        part.ready();
        waiting.await.unwrap();
    }
}
