use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use tokio_util::sync::CancellationToken;

use crate::sync::{Mutex, watch};

const STARTING: &str = "starting";

/// The readiness of a role: ready if all of its parts are. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Weak, because the parent owns its children.
    parent: Weak<Inner>,
    stopping: CancellationToken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Ready,
    Degraded(String),
    NotReady(String),
}

#[derive(Debug, Default)]
struct State {
    parts: Vec<(&'static str, Condition)>,
    expected: Option<&'static str>,
    children: Vec<Readiness>,
    optional: Vec<Readiness>,
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

    /// Creates a readiness that is not ready without parts, for a `/readyz` that starts before the
    /// roles.
    #[must_use]
    pub fn expecting(name: &'static str) -> Self {
        let readiness = Self::default();
        readiness.state().expected = Some(name);
        readiness
    }

    /// Adds a part in the state "not ready: starting" and returns its handle.
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

    /// Adds a child whose parts also count here; it is not ready until it has one. Each role of a
    /// process has a child, because roles wait for each other's health.
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

    /// Adds a child that only degrades this readiness while it is not ready.
    pub fn optional_child(&self, name: &'static str) -> Readiness {
        let child = Self::with_parent(Arc::downgrade(&self.0));
        child.state().expected = Some(name);
        self.state().optional.push(child.clone());
        self.notify();
        child
    }

    /// Makes this readiness, but not its children, not ready for good, so that load balancers stop
    /// sending requests.
    pub fn stop(&self) {
        self.0.stopping.cancel();
        self.notify();
    }

    /// Returns the token that [`stop`](Self::stop) cancels.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Checks that every part is ready or degraded.
    ///
    /// # Errors
    /// The parts that are not ready, each with its reason.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut reasons = Vec::new();
        self.collect(&mut reasons);
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Returns the degraded parts, each with its reason.
    #[must_use]
    pub fn degraded(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let own = state.parts.iter().filter_map(|(name, condition)| match condition {
            Condition::Degraded(reason) => Some((*name, reason.clone())),
            Condition::Ready | Condition::NotReady(_) => None,
        });
        let mut reasons: Vec<_> = own.collect();
        reasons.extend(state.children.iter().flat_map(Self::degraded));
        for child in &state.optional {
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
                return; // unreachable: `self` owns the sender
            }
        }
    }

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

    /// No code under the lock can panic, so a poisoned state is consistent.
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
    /// Marks this part as ready.
    pub fn ready(&self) {
        self.set(Condition::Ready);
    }

    /// Marks this part as working, with a problem that an operator must fix. `/readyz` shows
    /// `reason`.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Condition::Degraded(reason.into()));
    }

    /// Marks this part as not ready. `/readyz` shows `reason`: plain words, no secrets.
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
    fn new_part_is_starting() {
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
    fn expecting_readiness_is_not_ready_without_roles() {
        let process = Readiness::expecting("roles");
        assert_eq!(process.check(), Err(vec![("roles", "starting".to_owned())]));
        process.optional_child("logging").part("kafka").ready();
        assert_eq!(
            process.check(),
            Err(vec![("roles", "starting".to_owned())]),
            "an optional child does not count"
        );
        let db = process.child("db");
        assert_eq!(process.check(), Err(vec![("db", "starting".to_owned())]));
        db.part("database").ready();
        assert_eq!(process.check(), Ok(()));
    }

    #[test]
    fn degraded_part_is_ready_with_a_reason() {
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
    fn optional_child_degrades_its_parent() {
        let process = Readiness::default();
        process.child("db").part("database").ready();
        let logging = process.optional_child("logging");
        let kafka = logging.part("kafka");
        kafka.not_ready("does not answer");
        let reasons = vec![("kafka", "does not answer".to_owned())];
        assert_eq!((process.check(), process.degraded()), (Ok(()), reasons.clone()));
        assert_eq!(logging.check(), Err(reasons));
        kafka.ready();
        assert_eq!((process.check(), process.degraded()), (Ok(()), vec![]));
    }

    #[test]
    fn children_count_for_the_parent_only() {
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
    fn stopped_readiness_is_not_ready_and_neither_is_its_parent() {
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
    async fn ready_resolves_with_the_last_part_of_a_child() {
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
