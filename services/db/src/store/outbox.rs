//! Events are written in the transaction of their change, then shipped until they are acknowledged.

mod gaps;
pub(crate) mod leader;
pub(crate) mod lease;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use merch_contract::grpc::logging::v1::LogMessage;
use merch_logging::client::{EventSource, OldestEvent, SourceError};
use prost::Message as _;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Notify;

use self::gaps::Gaps;
use super::sql::{Sql, hex, json};
use crate::{
    clock,
    config::ShippedEvents,
    database::{DELETE_BATCH, Database},
};

const INSERT: Sql = Sql {
    postgres: "
        INSERT INTO outbox (id, payload, created_at)
        SELECT id, decode(payload, 'hex'), $2
        FROM json_to_recordset($1::json) AS e(position integer, id uuid, payload text)
        ORDER BY position",
    sqlite: "
        INSERT INTO outbox (id, payload, created_at)
        SELECT unhex(value ->> 'id'), unhex(value ->> 'payload'), $2
        FROM json_each($1)
        ORDER BY key",
};
/// `$1` the `seq` to read after, `$2` the last `seq` of the term, `$3` the limit.
const SELECT_PENDING: &str = "
    SELECT seq, payload
    FROM outbox
    WHERE shipped_at IS NULL AND set_aside IS NULL AND seq > $1 AND seq <= $2
    ORDER BY seq
    LIMIT $3";
/// As [`SELECT_PENDING`], plus the skipped numbers `$5`, of which `$4` is the lowest (PostgreSQL).
const SELECT_PENDING_WITH_LATE: &str = "
    SELECT seq, payload
    FROM outbox
    WHERE shipped_at IS NULL AND set_aside IS NULL AND seq >= $4 AND seq <= $2
        AND (seq > $1 OR seq IN (SELECT value::bigint FROM json_array_elements_text($5::json)))
    ORDER BY seq
    LIMIT $3";
const EXISTS_PENDING: &str = "
    SELECT EXISTS (
        SELECT 1 FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL
    ) AS pending";
const SELECT_OLDEST: &str = "
    SELECT seq, created_at
    FROM outbox
    WHERE shipped_at IS NULL AND set_aside IS NULL
    ORDER BY seq
    LIMIT 1";
const SELECT_NEWEST: &str = "SELECT max(seq) AS newest FROM outbox";
/// A dead letter is acknowledged, too, but its row must stay.
const DELETE: Sql = Sql {
    postgres: "
        DELETE FROM outbox
        WHERE set_aside IS NULL
            AND seq IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
    sqlite: "
        DELETE FROM outbox
        WHERE set_aside IS NULL AND seq IN (SELECT value FROM json_each($1))",
};
const MARK_SHIPPED: Sql = Sql {
    postgres: "
        UPDATE outbox SET shipped_at = $2
        WHERE set_aside IS NULL
            AND seq IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
    sqlite: "
        UPDATE outbox SET shipped_at = $2
        WHERE set_aside IS NULL AND seq IN (SELECT value FROM json_each($1))",
};
const UNMARK_SHIPPED: &str = "UPDATE outbox SET shipped_at = NULL WHERE shipped_at IS NOT NULL";
/// `$1` the number of shipped events to keep, `$2` the limit.
const TRIM: &str = "
    DELETE FROM outbox WHERE seq IN (
        SELECT seq FROM outbox
        WHERE shipped_at IS NOT NULL AND seq <= (
            SELECT seq FROM outbox
            WHERE shipped_at IS NOT NULL
            ORDER BY seq DESC
            LIMIT 1 OFFSET $1
        )
        ORDER BY seq
        LIMIT $2
    )";
const MARK_DEAD_LETTER: &str =
    "UPDATE outbox SET set_aside = $1 WHERE seq = $2 AND shipped_at IS NULL";
const COUNT_BACKLOG: &str = "
    SELECT count(*) AS backlog FROM (
        SELECT 1 FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL LIMIT $1
    ) AS pending";
/// Bounds the cost of the count.
pub(crate) const BACKLOG_BOUND: i64 = 100_001;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) async fn append<C: ConnectionTrait>(
    transaction: &C,
    time: OffsetDateTime,
    events: &[LogMessage],
) -> Result<(), DbErr> {
    #[derive(Serialize)]
    struct Row {
        position: usize,
        id: String,
        payload: String,
    }
    if events.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row> = events
        .iter()
        .enumerate()
        .map(|(position, event)| Row {
            position,
            id: event.id.replace('-', ""),
            payload: hex(&event.encode_to_vec()),
        })
        .collect();
    let statement =
        INSERT.with(transaction.get_database_backend(), [json(&rows)?.into(), time.into()]);
    transaction.execute_raw(statement).await?;
    Ok(())
}

/// The unshipped events, as the source of the shipper.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    shipped: ShippedEvents,
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
}

impl Default for Term {
    fn default() -> Self {
        Self { position: 0, gaps: Gaps::default(), last: i64::MAX, stalled_since: None }
    }
}

impl Outbox {
    /// Returns the outbox of this database.
    pub fn new(database: Database, shipped: ShippedEvents) -> Self {
        Self(Arc::new(Inner { database, shipped, changed: Notify::new(), term: Mutex::default() }))
    }

    pub(crate) fn notify(&self) {
        self.0.changed.notify_one();
    }

    /// Whether other processes write and ship this outbox: not with SQLite or the embedded broker.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.database.backend() == DbBackend::Postgres && self.0.shipped == ShippedEvents::Delete
    }

    pub(crate) fn begin_term(&self) {
        *self.term() = Term::default();
    }

    /// Limits the term to the present events. If the database does not respond within `limit`, the
    /// term stays unlimited.
    pub(crate) async fn end_term(&self, limit: Duration) {
        let statement = Statement::from_string(self.0.database.backend(), SELECT_NEWEST);
        let asked =
            tokio::time::timeout(limit, self.0.database.reader().query_one_raw(statement)).await;
        let newest = asked.map(|row| {
            row.and_then(|row| row.map_or(Ok(None), |row| row.try_get::<Option<i64>>("", "newest")))
        });
        match newest {
            Ok(Ok(newest)) => self.term().last = newest.unwrap_or(0),
            Ok(Err(error)) => tracing::warn!(%error, "failed to read the newest event"),
            Err(_) => tracing::warn!(?limit, "timed out reading the newest event"),
        }
    }

    /// Returns how long unshipped events have had no acknowledgement. Must be called regularly.
    pub(crate) async fn stalled_for(&self) -> Result<Duration, DbErr> {
        let statement = Statement::from_string(self.0.database.backend(), EXISTS_PENDING);
        let row = self.0.database.within(self.0.database.reader().query_one_raw(statement)).await?;
        let pending = row.map_or(Ok(false), |row| row.try_get("", "pending"))?;
        let mut term = self.term();
        term.stalled_since =
            if pending { term.stalled_since.or_else(|| Some(Instant::now())) } else { None };
        Ok(term.stalled_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        self.0.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pending(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, LogMessage)>, DbErr> {
        // The last event may have been a late one.
        let mut position = after.map_or(0, |after| after.max(self.term().position));
        loop {
            let rows = self.page(position, limit).await?;
            let mut events = Vec::with_capacity(rows.len());
            let mut seqs = Vec::with_capacity(rows.len());
            for row in &rows {
                let seq: i64 = row.try_get("", "seq")?;
                seqs.push(seq);
                match LogMessage::decode(row.try_get::<Vec<u8>>("", "payload")?.as_slice()) {
                    Ok(event) => events.push((seq, event)),
                    Err(error) => {
                        tracing::error!(
                            %error, seq,
                            "failed to decode an event of the outbox; keeping it as a dead letter"
                        );
                        self.mark_dead_letter(seq, &format!("cannot be decoded: {error}")).await?;
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

    /// Includes the late events before `position`.
    async fn page(&self, position: i64, limit: usize) -> Result<Vec<QueryResult>, DbErr> {
        let backend = self.0.database.backend();
        // SQLite has one writer, so numbers are committed in order.
        let late = if backend == DbBackend::Postgres {
            self.term().gaps.up_to(position)
        } else {
            Vec::new()
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values: Vec<Value> = vec![position.into(), self.term().last.into(), limit.into()];
        let sql = match late.first() {
            None => SELECT_PENDING,
            Some(lowest) => {
                values.extend([Value::from(*lowest), json(&late)?.into()]);
                SELECT_PENDING_WITH_LATE
            }
        };
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.0.database.within(self.0.database.reader().query_all_raw(statement)).await
    }

    async fn mark_shipped(&self, positions: &[i64]) -> Result<(), DbErr> {
        let backend = self.0.database.backend();
        let positions = json(positions)?;
        let statement = match self.0.shipped {
            ShippedEvents::Delete => DELETE.with(backend, [positions.into()]),
            ShippedEvents::ShipAgainAtStart { .. } => {
                MARK_SHIPPED.with(backend, [positions.into(), clock::machine_time().into()])
            }
        };
        self.0.database.within(self.0.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    async fn mark_dead_letter(&self, position: i64, reason: &str) -> Result<(), DbErr> {
        // PostgreSQL's text cannot store NUL.
        let reason = reason.replace('\0', "\u{fffd}");
        let statement = Statement::from_sql_and_values(
            self.0.database.backend(),
            MARK_DEAD_LETTER,
            [reason.into(), position.into()],
        );
        self.0.database.within(self.0.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    /// With the embedded broker, which starts empty, all kept events become unshipped.
    pub(crate) async fn reset_shipped(&self) -> Result<(), DbErr> {
        match self.0.shipped {
            ShippedEvents::Delete => Ok(()),
            ShippedEvents::ShipAgainAtStart { .. } => {
                self.trim().await?;
                self.0
                    .database
                    .within(self.0.database.writer().execute_unprepared(UNMARK_SHIPPED))
                    .await
                    .map(|_| ())
            }
        }
    }

    pub(crate) async fn trim(&self) -> Result<u64, DbErr> {
        let kept = match self.0.shipped {
            ShippedEvents::Delete => 0,
            ShippedEvents::ShipAgainAtStart { kept } => kept,
        };
        let values: [Value; 2] =
            [i64::try_from(kept).unwrap_or(i64::MAX).into(), i64::from(DELETE_BATCH).into()];
        let statement = Statement::from_sql_and_values(self.0.database.backend(), TRIM, values);
        self.0.database.remove(statement, DELETE_BATCH.into()).await
    }

    pub(crate) async fn backlog(&self) -> Result<i64, DbErr> {
        let statement = Statement::from_sql_and_values(
            self.0.database.backend(),
            COUNT_BACKLOG,
            [BACKLOG_BOUND.into()],
        );
        let row = self.0.database.within(self.0.database.reader().query_one_raw(statement)).await?;
        row.map_or(Ok(0), |row| row.try_get("", "backlog"))
    }
}

/// On PostgreSQL, `seq` is the order of writing, not of committing: a row may appear after a later
/// one was read (see `gaps`). An event of a subject commits before the next one takes its number,
/// so reading without gaps keeps the order of each subject. Rows that appear even later are found
/// when reading restarts at the oldest one.
impl EventSource for Outbox {
    type Position = i64;

    async fn read(
        &self,
        after: Option<&i64>,
        limit: usize,
    ) -> Result<Vec<(i64, LogMessage)>, SourceError> {
        self.pending(after.copied(), limit).await.map_err(SourceError::new)
    }

    async fn acknowledge(&self, positions: &[i64]) -> Result<(), SourceError> {
        self.term().stalled_since = None;
        self.mark_shipped(positions).await.map_err(SourceError::new)
    }

    async fn oldest(&self) -> Result<Option<OldestEvent>, SourceError> {
        let statement = Statement::from_string(self.0.database.backend(), SELECT_OLDEST);
        let row = self
            .0
            .database
            .within(self.0.database.reader().query_one_raw(statement))
            .await
            .map_err(SourceError::new)?;
        let Some(row) = row else { return Ok(None) };
        let seq: i64 = row.try_get("", "seq").map_err(SourceError::new)?;
        let time = match self.0.shipped {
            ShippedEvents::Delete => Some(
                row.try_get::<OffsetDateTime>("", "created_at").map_err(SourceError::new)?.into(),
            ),
            // An earlier embedded broker may have received it.
            ShippedEvents::ShipAgainAtStart { .. } => None,
        };
        Ok(Some(OldestEvent { id: seq.to_string(), time }))
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
        position: &i64,
        _event: &LogMessage,
        reason: &str,
    ) -> Result<(), SourceError> {
        self.mark_dead_letter(*position, reason).await.map_err(SourceError::new)
    }
}
