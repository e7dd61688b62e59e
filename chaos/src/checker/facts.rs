//! What the history says about each order, key and restore.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use uuid::Uuid;

use crate::{
    books::Books,
    history::{Call, History, Moment, Operation, Order},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Refused,
    Unknown,
}

pub(super) fn status(op: &Operation) -> u16 {
    op.response.as_ref().map_or(0, |response| response.status)
}

pub(super) fn outcome(op: &Operation) -> Outcome {
    match status(op) {
        200..=299 => Outcome::Done,
        400..=499 => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// A set of restores, one bit each.
pub(super) type Restores = u128;

#[derive(Clone, Copy, Debug)]
pub(super) struct Restore {
    backup_began: Moment,
    pub(super) began: Moment,
    pub(super) ended: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Absent,
    Placed,
    Cancelled,
}

impl State {
    pub(super) fn of(order: &Order) -> Self {
        if order.cancelled { Self::Cancelled } else { Self::Placed }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Placed => "placed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A response proved this state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) state: State,
    /// The restores that may have undone it.
    pub(super) undone_by: Restores,
    pub(super) ended: Moment,
    pub(super) operation: usize,
}

/// What responses and tables say about one order.
#[derive(Debug)]
pub(super) struct Register<'a> {
    /// As stored, or as first seen.
    pub(super) order: &'a Order,
    /// The first of each state and set of restores.
    pub(super) known: Vec<Known>,
    /// The attempts that returned 201 with it.
    pub(super) placed_by: Vec<usize>,
    /// When the first attempt that can have placed it began.
    pub(super) possible: Option<Moment>,
}

impl Register<'_> {
    fn learn(&mut self, new: Known) {
        let same = |old: &&mut Known| (old.state, old.undone_by) == (new.state, new.undone_by);
        match self.known.iter_mut().find(same) {
            Some(old) if old.ended <= new.ended => {}
            Some(old) => *old = new,
            None => self.known.push(new),
        }
    }

    /// Returns what was known before `began`, is later than `state`, and is not undone.
    pub(super) fn newer(&self, state: State, began: Moment, past: Restores) -> Option<&Known> {
        self.known
            .iter()
            .find(|known| known.state > state && known.ended < began && known.undone_by & past == 0)
    }

    /// Returns when this state or a later one was first proved, if no restore can have undone it.
    pub(super) fn proved(&self, state: State) -> Option<Moment> {
        let lasting = self.known.iter().filter(|it| it.state >= state && it.undone_by == 0);
        lasting.map(|known| known.ended).min()
    }
}

/// The cancellations that clients sent for one order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancels {
    pub(super) possible: Moment,
    pub(super) undone_by: Restores,
}

/// User, product and quantity: what attempts without a response have in common with their orders.
pub(super) type Body = (Uuid, i64, i64);

pub(super) struct Facts<'a> {
    pub(super) history: &'a History,
    pub(super) books: &'a Books,
    pub(super) restores: Vec<Restore>,
    pub(super) orders: BTreeMap<Uuid, Register<'a>>,
    pub(super) cancels: HashMap<Uuid, Cancels>,
    /// Attempts by user and key, in the order of their beginnings.
    pub(super) keys: BTreeMap<(Uuid, &'a str), Vec<usize>>,
    /// Attempts without a key and with an unknown outcome.
    pub(super) unanswered: HashMap<Body, Vec<usize>>,
    /// Bodies of orders that a restore can have removed.
    pub(super) removable: HashSet<Body>,
}

pub(super) fn body(order: &Order) -> Body {
    (order.user, order.product, order.quantity)
}

/// Returns whether the attempt can have placed an order; with a key, also if it got 401 or 429.
pub(super) fn may_have_placed(op: &Operation, has_key: bool) -> bool {
    match outcome(op) {
        Outcome::Done | Outcome::Unknown => true,
        Outcome::Refused => has_key && matches!(status(op), 401 | 429),
    }
}

impl<'a> Facts<'a> {
    pub(super) fn new(history: &'a History, books: &'a Books) -> Self {
        let restores = history.faults.iter().filter_map(|fault| {
            let (backup_began, _) = fault.restored?;
            Some(Restore { backup_began, began: fault.began, ended: fault.ended })
        });
        let mut facts = Self {
            history,
            books,
            restores: restores.take(Restores::BITS as usize).collect(),
            orders: BTreeMap::new(),
            cancels: HashMap::new(),
            keys: BTreeMap::new(),
            unanswered: HashMap::new(),
            removable: HashSet::new(),
        };
        for (id, stored) in &books.tables.orders {
            facts.register(*id, &stored.order);
        }
        for (index, op) in facts.operations() {
            facts.observe(index, op);
        }
        for attempts in facts.keys.values_mut().chain(facts.unanswered.values_mut()) {
            attempts.sort_by_key(|index| history.operations[*index].began);
        }
        facts.find_beginnings();
        facts
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = (usize, &'a Operation)> + use<'a> {
        self.history.operations.iter().enumerate()
    }

    pub(super) fn op(&self, index: usize) -> &'a Operation {
        &self.history.operations[index]
    }

    fn register(&mut self, id: Uuid, order: &'a Order) -> &mut Register<'a> {
        self.orders.entry(id).or_insert_with(|| Register {
            order,
            known: Vec::new(),
            placed_by: Vec::new(),
            possible: None,
        })
    }

    fn observe(&mut self, index: usize, op: &'a Operation) {
        let (undone_by, done) = (self.undone_by(op), outcome(op) == Outcome::Done);
        match &op.call {
            Call::Place { token, product, quantity, key } => {
                let body = (token.user, *product, *quantity);
                match key {
                    Some(key) => {
                        self.keys.entry((token.user, key.as_str())).or_default().push(index)
                    }
                    None if outcome(op) == Outcome::Unknown => {
                        self.unanswered.entry(body).or_default().push(index);
                    }
                    None => {}
                }
                if undone_by != 0 && may_have_placed(op, key.is_some()) {
                    self.removable.insert(body);
                }
            }
            Call::Cancel { order, .. } => {
                let new = Cancels { possible: op.began, undone_by: 0 };
                let cancels = self.cancels.entry(*order).or_insert(new);
                cancels.possible = cancels.possible.min(op.began);
                cancels.undone_by |= undone_by;
            }
            _ => {}
        }
        for order in op.response.iter().filter(|_| done).flat_map(|response| &response.orders) {
            let register = self.register(order.id, order);
            // A repeated key returns the order as it was placed.
            let state = if matches!(op.call, Call::Place { .. }) {
                register.placed_by.push(index);
                State::Placed
            } else {
                State::of(order)
            };
            register.learn(Known { state, undone_by, ended: op.ended, operation: index });
        }
    }

    fn find_beginnings(&mut self) {
        let mut by_body = HashMap::<Body, Moment>::new();
        for (_, op) in self.operations() {
            if let Call::Place { token, product, quantity, key } = &op.call
                && may_have_placed(op, key.is_some())
                && outcome(op) != Outcome::Done
            {
                let first = by_body.entry((token.user, *product, *quantity)).or_insert(op.began);
                *first = op.began.min(*first);
            }
        }
        let stored = self.books.tables.keys.iter();
        let keys: HashMap<Uuid, (Uuid, &str)> =
            stored.map(|((user, key), id)| (*id, (*user, key.as_str()))).collect();
        let mut beginnings = Vec::new();
        for (id, register) in &self.orders {
            let returned = register.placed_by.iter().map(|index| match &self.op(*index).call {
                Call::Place { token, key: Some(key), .. } => {
                    self.first_attempt(&(token.user, key.as_str())).unwrap_or(self.op(*index).began)
                }
                _ => self.op(*index).began,
            });
            let stored = || keys.get(id).and_then(|key| self.first_attempt(key));
            let possible = returned.min().or_else(stored);
            beginnings.push(possible.or_else(|| by_body.get(&body(register.order)).copied()));
        }
        for (register, possible) in self.orders.values_mut().zip(beginnings) {
            register.possible = possible;
        }
    }

    fn first_attempt(&self, key: &(Uuid, &str)) -> Option<Moment> {
        self.keys.get(key)?.first().map(|index| self.op(*index).began)
    }

    /// Returns the restores that may have undone a change, or what a read returned.
    pub(super) fn undone_by(&self, op: &Operation) -> Restores {
        let unknown = outcome(op) == Outcome::Unknown;
        self.restores_where(|it| (unknown || op.ended >= it.backup_began) && op.began <= it.ended)
    }

    /// Returns the restores that may have taken effect before this moment.
    pub(super) fn past(&self, ended: Moment) -> Restores {
        self.restores_where(|it| it.began <= ended)
    }

    fn restores_where(&self, is_in: impl Fn(&Restore) -> bool) -> Restores {
        let bits = self.restores.iter().enumerate().filter(|(_, restore)| is_in(restore));
        bits.fold(0, |set, (bit, _)| set | 1 << bit)
    }

    /// Groups reads of a row by its version, in order. Also returns two reads that contradict it.
    pub(super) fn by_version(
        &self,
        mut reads: Vec<(i64, usize)>,
    ) -> (Vec<Version>, Option<[usize; 2]>) {
        reads.sort_unstable();
        let mut versions: Vec<Version> = Vec::new();
        for group in reads.chunk_by(|one, other| one.0 == other.0) {
            let reads: Vec<usize> = group.iter().map(|read| read.1).collect();
            let newest = versions.last().map(|last| last.newest_begun);
            let newest = newest.into_iter().chain(reads.iter().copied());
            let newest_begun = newest.max_by_key(|index| self.op(*index).began).unwrap_or(0);
            versions.push(Version { newest_begun, oldest_ended: 0, reads });
        }
        let (mut later, mut contradiction): (Option<usize>, _) = (None, None);
        for version in versions.iter_mut().rev() {
            if let Some(later) = later
                && self.op(later).ended < self.op(version.newest_begun).began
            {
                contradiction = Some([later, version.newest_begun]);
            }
            let ended = later.into_iter().chain(version.reads.iter().copied());
            let oldest = ended.max_by_key(|index| Reverse(self.op(*index).ended));
            version.oldest_ended = oldest.unwrap_or(0);
            later = oldest;
        }
        (versions, contradiction)
    }
}

/// The reads that returned one version of a row.
pub(super) struct Version {
    pub(super) reads: Vec<usize>,
    /// The read of this or an earlier version that began last.
    pub(super) newest_begun: usize,
    /// The read of this or a later version that ended first.
    pub(super) oldest_ended: usize,
}
