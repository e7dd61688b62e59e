//! Events are written in the transaction of their change, then shipped until they are acknowledged.

mod gaps;
pub(crate) mod leader;
pub(crate) mod lease;
pub(crate) mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use merch_contract::grpc::logging::v1::LogMessage;
use merch_logging::client::{EventSource, OldestEvent, SourceError};
use prost::Message as _;
use sea_orm::DbErr;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

pub(crate) use self::table::append;
use self::{
    gaps::Gaps,
    table::{OutboxTable, Page, SqlTable},
};
use crate::{config::ShippedEvents, database::Database};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The number and the id of an event. After a fail-over to a standby that lacks the last
/// transactions, PostgreSQL can give the number of a lost event to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxPosition {
    pub(crate) seq: i64,
    pub(crate) id: Uuid,
}

impl OutboxPosition {
    /// Returns the number, `seq` of the row.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }
}

/// The unshipped events, as the source of the shipper.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Box<dyn OutboxTable>,
    changed: Notify,
    term: Mutex<Term>,
}

#[derive(Debug)]
struct Term {
    /// The greatest `seq` read since reading restarted at the oldest.
    position: i64,
    gaps: Gaps,
    /// The last `seq` of the term: the next leader ships later events.
    last: i64,
    /// When unshipped events were first seen since the last acknowledgement.
    stalled_since: Option<Instant>,
    /// Whether a statement has failed since reading last restarted.
    is_interrupted: bool,
    /// The server of the last page with rows.
    server: Option<i64>,
}

impl Default for Term {
    fn default() -> Self {
        Self {
            position: 0,
            gaps: Gaps::default(),
            last: i64::MAX,
            stalled_since: None,
            is_interrupted: false,
            server: None,
        }
    }
}

impl Outbox {
    /// Returns the outbox of this database.
    pub fn new(database: Database, shipped: ShippedEvents) -> Self {
        Self::of(SqlTable { database, shipped })
    }

    pub(crate) fn of(table: impl OutboxTable) -> Self {
        let table = Box::new(table);
        Self(Arc::new(Inner { table, changed: Notify::new(), term: Mutex::default() }))
    }

    pub(crate) fn notify(&self) {
        self.0.changed.notify_one();
    }

    /// Whether other processes write and ship this outbox: not with SQLite or the embedded broker.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.table.is_shared()
    }

    pub(crate) fn begin_term(&self) {
        *self.term() = Term::default();
    }

    /// Limits the term to the present events. If the database does not respond within `limit`, the
    /// term stays unlimited.
    pub(crate) async fn end_term(&self, limit: Duration) {
        let newest = tokio::time::timeout(limit, self.0.table.newest()).await;
        match newest {
            Ok(Ok(newest)) => self.term().last = newest.unwrap_or(0),
            Ok(Err(error)) => tracing::warn!(%error, "failed to read the newest event"),
            Err(_) => tracing::warn!(?limit, "timed out reading the newest event"),
        }
    }

    /// Returns how long unshipped events have had no acknowledgement. Must be called regularly.
    pub(crate) async fn stalled_for(&self) -> Result<Duration, DbErr> {
        let pending = self.watch(self.0.table.has_pending().await)?;
        let mut term = self.term();
        term.stalled_since =
            if pending { term.stalled_since.or_else(|| Some(Instant::now())) } else { None };
        Ok(term.stalled_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        self.0.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a failed statement: the next one may be answered by another server, which may lack
    /// the last events and give their numbers to other ones.
    fn watch<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        // SQLite is one server.
        self.term().is_interrupted |= result.is_err() && !self.0.table.is_ordered();
        result
    }

    /// Returns the number to read after.
    fn begin_read(&self, after: Option<OutboxPosition>) -> Result<i64, DbErr> {
        let mut term = self.term();
        let Some(after) = after else {
            if std::mem::take(&mut term.is_interrupted) {
                term.gaps.restart();
            }
            return Ok(0);
        };
        if term.is_interrupted {
            return Err(DbErr::Custom(
                "a statement failed meanwhile: expected to read from the oldest event again".into(),
            ));
        }
        // The last event may have been a late one.
        Ok(after.seq.max(term.position))
    }

    async fn pending(
        &self,
        after: Option<OutboxPosition>,
        limit: usize,
    ) -> Result<Vec<(OutboxPosition, LogMessage)>, DbErr> {
        let mut position = self.begin_read(after)?;
        loop {
            let Page { rows, server } = self.page(position, limit).await?;
            self.compare_server(server)?;
            let mut events = Vec::with_capacity(rows.len());
            let seqs: Vec<i64> = rows.iter().map(|(position, _)| position.seq).collect();
            for (position, payload) in &rows {
                match LogMessage::decode(payload.as_slice()) {
                    Ok(event) => events.push((*position, event)),
                    Err(error) => {
                        tracing::error!(
                            %error, seq = position.seq,
                            "failed to decode an event of the outbox; keeping it as a dead letter"
                        );
                        let reason = format!("cannot be decoded: {error}");
                        self.0.table.mark_dead_letter(*position, &reason).await?;
                    }
                }
            }
            position = seqs.last().map_or(position, |last| position.max(*last));
            let mut term = self.term();
            term.position = position;
            term.gaps.read(&seqs, Instant::now());
            drop(term);
            // Other events may follow a page of undecodable ones.
            if !events.is_empty() || rows.len() < limit {
                return Ok(events);
            }
        }
    }

    /// Fails once after a fail-over during which no statement failed, because each one had to wait
    /// for a connection.
    fn compare_server(&self, server: Option<i64>) -> Result<(), DbErr> {
        let Some(server) = server else { return Ok(()) };
        match self.term().server.replace(server) {
            Some(before) if before != server => Err(DbErr::Custom(
                "another database server answers: expected to read from the oldest event again"
                    .into(),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Includes the late events before `position`.
    async fn page(&self, position: i64, limit: usize) -> Result<Page, DbErr> {
        let (late, last) = {
            let term = self.term();
            let is_ordered = self.0.table.is_ordered();
            (if is_ordered { Vec::new() } else { term.gaps.up_to(position) }, term.last)
        };
        self.0.table.pending(position, last, limit, &late).await
    }

    /// With the embedded broker, which starts empty, all kept events become unshipped.
    pub(crate) async fn reset_shipped(&self) -> Result<(), DbErr> {
        self.0.table.reset_shipped().await
    }

    pub(crate) async fn trim(&self) -> Result<u64, DbErr> {
        self.0.table.trim().await
    }

    pub(crate) async fn backlog(&self) -> Result<i64, DbErr> {
        self.0.table.backlog().await
    }
}

/// On PostgreSQL, `seq` is the order of writing, not of committing: a row may appear after a later
/// one was read (see `gaps`). An event of a subject commits before the next one takes its number,
/// so reading without gaps keeps the order of each subject. Rows that appear even later are found
/// when reading restarts at the oldest one.
impl EventSource for Outbox {
    type Position = OutboxPosition;

    /// After a failed statement, fails until reading restarts at the oldest event.
    async fn read(
        &self,
        after: Option<&OutboxPosition>,
        limit: usize,
    ) -> Result<Vec<(OutboxPosition, LogMessage)>, SourceError> {
        self.watch(self.pending(after.copied(), limit).await).map_err(SourceError::new)
    }

    async fn acknowledge(&self, positions: &[OutboxPosition]) -> Result<(), SourceError> {
        self.term().stalled_since = None;
        self.watch(self.0.table.mark_shipped(positions).await).map_err(SourceError::new)
    }

    async fn oldest(&self) -> Result<Option<OldestEvent>, SourceError> {
        let oldest = self.0.table.oldest().await.map_err(SourceError::new)?;
        Ok(oldest.map(|(seq, time)| OldestEvent { id: seq.to_string(), time }))
    }

    async fn changed(&self) {
        if self.is_shared() {
            // Other processes send no notification.
            let _ = tokio::time::timeout(POLL_INTERVAL, self.0.changed.notified()).await;
        } else {
            self.0.changed.notified().await;
        }
    }

    async fn dead_letter(
        &self,
        position: &OutboxPosition,
        _event: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        self.0.table.mark_dead_letter(*position, reason).await.map_err(SourceError::new)
    }
}
