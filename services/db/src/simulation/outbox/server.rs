//! The simulated PostgreSQL: the rows of the outbox, the lease, and its standbys.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::{self, Debug},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use merch_contract::grpc::logging::v1::LogMessage;
use prost::Message as _;
use sea_orm::DbErr;
use simulator::locked;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{Mutant, World};
use crate::store::outbox::{
    OutboxPosition,
    lease::LeaseTable,
    table::{OutboxTable, Page},
};

/// PostgreSQL logs a sequence this far ahead, and continues there after a fail-over.
const SEQUENCE_LEAP: u64 = 32;

#[derive(Clone, Debug)]
pub(super) struct RowState {
    /// The transaction that writes it.
    pub(super) write: usize,
    pub(super) subject: usize,
    /// Counts commits; `None` before.
    pub(super) committed: Option<u64>,
    pub(super) is_rolled_back: bool,
    /// Cannot be decoded.
    pub(super) is_damaged: bool,
}

type LeaseRow = Option<(Uuid, Duration)>;

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) rows: BTreeMap<i64, RowState>,
    pub(super) next: i64,
    /// The time of each commit.
    commits: Vec<Instant>,
    /// The commit that deletes each shipped row.
    pub(super) shipped: BTreeMap<i64, u64>,
    /// The commit that makes each row a dead letter.
    dead_letters: BTreeMap<i64, u64>,
    pub(super) lease: LeaseRow,
    leases: Vec<(u64, LeaseRow)>,
    /// Transactions whose events arrived, in this order.
    pub(super) topic: Vec<usize>,
    /// When the event of each transaction arrived first.
    pub(super) arrived: HashMap<usize, Instant>,
    /// Transactions that were committed on a former primary only.
    pub(super) lost: BTreeSet<usize>,
    /// Counts fail-overs.
    pub(super) timeline: u64,
    /// When each process last gave the lease back. Its requests may still be on their way.
    pub(super) releases: HashMap<Uuid, Instant>,
    pub(super) broken: Vec<String>,
}

impl Tables {
    /// Returns the number of the commit.
    pub(super) fn commit(&mut self) -> u64 {
        self.commits.push(Instant::now());
        self.commits.len() as u64
    }

    /// Returns the numbers of committed events that are neither shipped nor dead letters.
    pub(super) fn unshipped(&self) -> BTreeSet<i64> {
        let is_not_done = |number: &i64| {
            !self.shipped.contains_key(number) && !self.dead_letters.contains_key(number)
        };
        let rows = self.rows.iter().filter(|(_, row)| row.committed.is_some());
        rows.map(|(number, _)| *number).filter(is_not_done).collect()
    }

    fn set_lease(&mut self, lease: LeaseRow) {
        let commit = self.commit();
        self.lease = lease;
        self.leases.push((commit, lease));
    }

    /// Continues on a standby that lacks the transactions of the last `lag`. `leap` draws how far
    /// its sequence is ahead.
    pub(super) fn fail_over(&mut self, lag: Duration, leap: impl FnOnce(u64) -> i64) {
        let now = Instant::now();
        let replicated =
            self.commits.iter().take_while(|commit| now.duration_since(**commit) >= lag).count();
        self.commits.truncate(replicated);
        let replicated = replicated as u64;
        let is_lost = |commit: u64| commit > replicated;
        self.lost.extend(
            self.rows
                .values()
                .filter(|row| row.committed.is_some_and(is_lost))
                .map(|row| row.write),
        );
        self.rows.retain(|_, row| row.committed.is_some_and(|commit| !is_lost(commit)));
        self.shipped.retain(|_, commit| !is_lost(*commit));
        self.dead_letters.retain(|_, commit| !is_lost(*commit));
        self.leases.retain(|(commit, _)| !is_lost(*commit));
        self.lease = self.leases.last().and_then(|(_, lease)| *lease);
        let newest = self.rows.keys().next_back().copied().unwrap_or(0);
        self.next = newest + leap(SEQUENCE_LEAP + 1);
        self.timeline += 1;
    }

    /// Without faults other than requested stops, no event is sent twice. With a limit, each event
    /// arrives within that time.
    pub(super) fn broken_promises(
        &self,
        are_graceful: bool,
        max_lag: Option<Duration>,
    ) -> Vec<String> {
        let mut broken = self.broken.clone();
        broken.truncate(3);
        let sent: HashSet<usize> = self.topic.iter().copied().collect();
        if are_graceful && sent.len() < self.topic.len() {
            broken.push(format!("events are sent twice without a fault: {:?}", self.topic));
        }
        let mut commits: BTreeMap<usize, Vec<(u64, usize)>> = BTreeMap::new();
        let mut committed: HashSet<usize> = self.lost.iter().copied().collect();
        for (number, row) in &self.rows {
            let RowState { write, subject, committed: commit, is_damaged, .. } = row;
            let Some(commit) = *commit else { continue };
            committed.insert(*write);
            if *is_damaged != self.dead_letters.contains_key(number) {
                broken.push(format!("event {number} is damaged: {is_damaged}, or a dead letter"));
            }
            if *is_damaged {
                continue;
            }
            let lag = self.arrived.get(write).map(|arrived| {
                arrived.saturating_duration_since(self.commits[commit as usize - 1])
            });
            if let (Some(lag), Some(max_lag)) = (lag, max_lag)
                && lag > max_lag
            {
                broken.push(format!("promise 7: event {number} arrives after {lag:?}"));
            }
            commits.entry(*subject).or_default().push((commit, *write));
            if !sent.contains(write) {
                broken.push(format!(
                    "promise 4: event {number} of transaction {write} is not on the topic"
                ));
            }
        }
        for write in sent.difference(&committed) {
            broken.push(format!(
                "promise 4: the event of transaction {write}, of no change, is sent"
            ));
        }
        for (subject, mut written) in commits {
            written.sort_unstable();
            let place: HashMap<usize, usize> =
                (0..).zip(&written).map(|(place, (_, write))| (*write, place)).collect();
            let mut seen = HashSet::new();
            let first: Vec<usize> = self
                .topic
                .iter()
                .copied()
                .filter(|write| place.contains_key(write) && seen.insert(*write))
                .collect();
            if !first.is_sorted_by_key(|write| place[write]) {
                let in_order: Vec<usize> = written.into_iter().map(|(_, write)| write).collect();
                broken.push(format!(
                    "promise 4: the events of subject {subject} are on the topic in the order \
                     {first:?}, committed in the order {in_order:?}"
                ));
            }
        }
        broken
    }
}

pub(super) fn event_id(write: usize) -> Uuid {
    Uuid::from_u128(write as u128)
}

/// The outbox and the lease, as one replica sees them.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) world: Arc<World>,
    pub(super) replica: usize,
}

impl Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Table").field(&self.replica).finish()
    }
}

fn lost() -> DbErr {
    DbErr::Custom("the connection is lost".to_owned())
}

impl Table {
    /// A statement: a message there, its effect, and a message back. Some hang, and take effect
    /// even if the caller no longer waits.
    async fn statement<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Self, &mut Tables) -> T + Send + 'static,
    ) -> Result<T, DbErr> {
        let world = &self.world;
        world.wait_for_connection().await;
        let timeline = locked(&world.tables).timeline;
        let hangs = *locked(&world.replicas[self.replica].hangs);
        if !world.chance.happens(hangs) {
            return self.answer(timeline, Duration::ZERO, Duration::ZERO, run).await;
        }
        let [before, after] = [0; 2].map(|_| world.chance.delay(0..1, Duration::from_secs(3)));
        let is_late = world.chance.happens(0.5);
        let (before, after) = if is_late { (Duration::ZERO, after) } else { (before, after / 30) };
        let (this, (sender, reply)) = (self.clone(), oneshot::channel());
        tokio::spawn(async move {
            // The caller may be gone.
            let _ = sender.send(this.answer(timeline, before, after, run).await);
        });
        reply.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn answer<T>(
        &self,
        timeline: u64,
        before: Duration,
        after: Duration,
        run: impl FnOnce(&Self, &mut Tables) -> T + Send,
    ) -> Result<T, DbErr> {
        let world = &self.world;
        let is_cut = || {
            world.replicas[self.replica].database_cut.load(Ordering::Relaxed)
                || world.outages.load(Ordering::Relaxed) > 0
                || locked(&world.tables).timeline != timeline
        };
        world.travel(5).await;
        if !before.is_zero() {
            sleep(before).await;
        }
        if is_cut() {
            return Err(lost());
        }
        let result = run(self, &mut locked(&world.tables));
        world.travel(5).await;
        if !after.is_zero() {
            sleep(after).await;
        }
        if is_cut() { Err(lost()) } else { Ok(result) }
    }

    /// A statement of the outbox. A mutant hides that the connection is lost.
    async fn outbox<T: Send + Default + 'static>(
        &self,
        run: impl FnOnce(&Self, &mut Tables) -> T + Send + 'static,
    ) -> Result<T, DbErr> {
        let result = self.statement(run).await;
        if self.world.has(Mutant::HideOutages) { Ok(result.unwrap_or_default()) } else { result }
    }

    fn is_pending(&self, tables: &Tables, number: i64, row: &RowState) -> bool {
        let is_visible = row.committed.is_some()
            || (self.world.has(Mutant::ReadUncommitted) && !row.is_rolled_back);
        is_visible
            && !tables.shipped.contains_key(&number)
            && !tables.dead_letters.contains_key(&number)
    }
}

#[async_trait]
impl OutboxTable for Table {
    fn is_shared(&self) -> bool {
        true
    }

    fn is_ordered(&self) -> bool {
        self.world.has(Mutant::IgnoreGaps)
    }

    async fn pending(
        &self,
        after: i64,
        last: i64,
        limit: usize,
        late: &[i64],
    ) -> Result<Page, DbErr> {
        let late: BTreeSet<i64> = if self.world.has(Mutant::ForgetLateEvents) {
            BTreeSet::new()
        } else {
            late.iter().copied().collect()
        };
        self.outbox(move |this, tables| {
            let event = |(number, row): (&i64, &RowState)| {
                let id = event_id(row.write);
                let event = LogMessage { id: id.to_string(), ..LogMessage::default() };
                let payload = if row.is_damaged { vec![0xff] } else { event.encode_to_vec() };
                (OutboxPosition { seq: *number, id }, payload)
            };
            let rows: Vec<_> = tables
                .rows
                .iter()
                .filter(|(number, row)| {
                    (**number > after || late.contains(number))
                        && **number <= last
                        && this.is_pending(tables, **number, row)
                })
                .take(limit)
                .map(event)
                .collect();
            let is_hidden =
                this.world.has(Mutant::HideOutages) || this.world.has(Mutant::HideServers);
            let server = (!rows.is_empty() && !is_hidden).then_some(tables.timeline as i64);
            Page { rows, server }
        })
        .await
    }

    async fn has_pending(&self) -> Result<bool, DbErr> {
        self.outbox(|this, tables| {
            tables.rows.iter().any(|(number, row)| this.is_pending(tables, *number, row))
        })
        .await
    }

    async fn newest(&self) -> Result<Option<i64>, DbErr> {
        self.statement(|_, tables| {
            let committed = tables.rows.iter().filter(|(_, row)| row.committed.is_some());
            committed.map(|(number, _)| *number).next_back()
        })
        .await
    }

    async fn oldest(&self) -> Result<Option<(i64, Option<SystemTime>)>, DbErr> {
        Ok(None)
    }

    async fn mark_shipped(&self, positions: &[OutboxPosition]) -> Result<(), DbErr> {
        let positions = positions.to_vec();
        let mark = move |this: &Self, tables: &mut Tables| {
            let commit = tables.commit();
            let by_number = this.world.has(Mutant::DeleteByNumber);
            for OutboxPosition { seq, id } in &positions {
                let row = tables.rows.get(seq);
                if row.is_some_and(|row| by_number || event_id(row.write) == *id) {
                    tables.shipped.entry(*seq).or_insert(commit);
                }
            }
            if let (true, Some(last)) = (this.world.has(Mutant::DeleteUpTo), positions.last()) {
                tables.shipped.extend((1..=last.seq).map(|number| (number, commit)));
            }
        };
        loop {
            match self.statement(mark.clone()).await {
                Err(_) if self.world.has(Mutant::HideOutages) => {}
                result => return result,
            }
        }
    }

    async fn mark_dead_letter(&self, position: OutboxPosition, _: &str) -> Result<(), DbErr> {
        self.statement(move |_, tables| {
            let row = tables.rows.get(&position.seq);
            if row.is_some_and(|row| event_id(row.write) == position.id) {
                let commit = tables.commit();
                tables.dead_letters.insert(position.seq, commit);
            }
        })
        .await
    }

    async fn reset_shipped(&self) -> Result<(), DbErr> {
        Ok(())
    }

    async fn trim(&self) -> Result<u64, DbErr> {
        Ok(0)
    }

    async fn backlog(&self) -> Result<i64, DbErr> {
        Ok(0)
    }
}

impl Table {
    /// Runs a statement on the row of the lease. A fault lets replies be late, and later lets the
    /// statements fail, as if another session had locked the row.
    async fn lease<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Self, &mut Tables) -> T + Send + 'static,
    ) -> Result<T, DbErr> {
        let (replies, fails) = *locked(&self.world.replicas[self.replica].slow_lease);
        if fails {
            return Err(DbErr::Custom("lock timeout".to_owned()));
        }
        let result = self.statement(run).await;
        if !replies.is_zero() {
            sleep(replies).await;
        }
        result
    }
}

#[async_trait]
impl LeaseTable for Table {
    async fn acquire(&self, holder: Uuid, duration: Duration) -> Result<bool, DbErr> {
        let started = Instant::now();
        let acquired = self
            .lease(move |this, tables| {
                let world = &this.world;
                // Each replica's clock, instead of the database's.
                let skew = world.has(Mutant::TrustTheClock).then_some(this.replica as i64 * 30);
                let now = world.database_clock(skew);
                let is_free = match tables.lease {
                    None => true,
                    Some((other, until)) => {
                        other == holder
                            || (!world.has(Mutant::KeepDeadLease)
                                && (until <= now || until > now + Duration::from_secs(120)))
                            || world.has(Mutant::TwoLeaders)
                    }
                };
                if is_free {
                    tables.set_lease(Some((holder, now + duration)));
                }
                is_free
            })
            .await?;
        if self.world.has(Mutant::CountFromTheReply) && acquired {
            // As if the leader's own end of the lease were later.
            let mut tables = locked(&self.world.tables);
            if let Some((_, until)) = tables.lease.as_mut().filter(|(other, _)| *other == holder) {
                *until = until.saturating_sub(started.elapsed());
            }
        }
        Ok(acquired)
    }

    async fn release(&self, holder: Uuid) -> Result<(), DbErr> {
        self.lease(move |_, tables| {
            tables.releases.insert(holder, Instant::now());
            if tables.lease.is_some_and(|(other, _)| other == holder) {
                tables.set_lease(None);
            }
        })
        .await
    }
}
