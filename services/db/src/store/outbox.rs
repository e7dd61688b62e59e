//! The outbox: events written in the transaction of the change they tell of, read back by the
//! shipper until they are acknowledged.

mod gaps;

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
    database::{BOUND, Database},
};

const APPEND: Sql = Sql {
    postgres: "INSERT INTO outbox (id, payload, created_at) SELECT id, decode(payload, 'hex'), $2 \
               FROM json_to_recordset($1::json) AS e(position integer, id uuid, payload text) ORDER BY position",
    sqlite: "INSERT INTO outbox (id, payload, created_at) SELECT unhex(value ->> 'id'), unhex(value ->> 'payload'), $2 \
             FROM json_each($1) ORDER BY key",
};
/// `$1` the number after which to read, `$2` the last one that counts, `$3` how many.
const READ: &str = "SELECT seq, payload FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL AND seq > $1 AND seq <= $2 \
                    ORDER BY seq LIMIT $3";
/// As [`READ`], and what has turned up of the numbers `$5`, the lowest of which is `$4`
/// (PostgreSQL).
const READ_WITH_LATE: &str = "SELECT seq, payload FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL AND seq >= $4 AND seq <= $2 \
                              AND (seq > $1 OR seq IN (SELECT value::bigint FROM json_array_elements_text($5::json))) ORDER BY seq LIMIT $3";
const WAITS: &str =
    "SELECT EXISTS (SELECT 1 FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL) AS waits";
/// The mark of the oldest event that waits.
const OLDEST: &str = "SELECT seq, created_at FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 1";
const NEWEST: &str = "SELECT max(seq) AS newest FROM outbox";
/// What is set aside is acknowledged as well, and must outlive it.
const DELETE: Sql = Sql {
    postgres: "DELETE FROM outbox WHERE set_aside IS NULL AND seq IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
    sqlite: "DELETE FROM outbox WHERE set_aside IS NULL AND seq IN (SELECT value FROM json_each($1))",
};
const MARK: Sql = Sql {
    postgres: "UPDATE outbox SET shipped_at = $2 \
               WHERE set_aside IS NULL AND seq IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
    sqlite: "UPDATE outbox SET shipped_at = $2 WHERE set_aside IS NULL AND seq IN (SELECT value FROM json_each($1))",
};
const MARK_UNSHIPPED: &str = "UPDATE outbox SET shipped_at = NULL WHERE shipped_at IS NOT NULL";
const TRIM: &str = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE shipped_at IS NOT NULL AND seq <= \
                    (SELECT seq FROM outbox WHERE shipped_at IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET $1) ORDER BY seq LIMIT $2)";
/// Not what was shipped after all, as by another process.
const SET_ASIDE: &str = "UPDATE outbox SET set_aside = $1 WHERE seq = $2 AND shipped_at IS NULL";
const BACKLOG: &str = "SELECT count(*) AS backlog FROM \
                       (SELECT 1 FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL LIMIT $1) AS waiting";
/// The backlog is counted no further: a long one must not cost much every time.
pub(crate) const BACKLOG_BOUND: i64 = 100_001;

/// How long the shipper waits before it looks for what other processes wrote.
const LOOK: Duration = Duration::from_millis(100);

/// Writes `events` in this transaction, in their order.
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
        APPEND.with(transaction.get_database_backend(), [json(&rows)?.into(), time.into()]);
    transaction.execute_raw(statement).await?;
    Ok(())
}

/// The events that are not acknowledged yet, for the shipper.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    shipped: ShippedEvents,
    changed: Notify,
    turn: Mutex<Turn>,
}

/// What is known of the events that this process ships at present.
#[derive(Debug)]
struct Turn {
    /// The highest number that was read since reading last began from the oldest.
    position: i64,
    gaps: Gaps,
    /// The last number that counts: what is written later is for whoever ships next.
    last: i64,
    /// Since when there are events to ship and none was acknowledged.
    waiting: Option<Instant>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { position: 0, gaps: Gaps::default(), last: i64::MAX, waiting: None }
    }
}

impl Outbox {
    /// The outbox of this database.
    pub fn new(database: Database, shipped: ShippedEvents) -> Self {
        Self(Arc::new(Inner { database, shipped, changed: Notify::new(), turn: Mutex::default() }))
    }

    /// Says that there may be something new to read.
    pub(crate) fn notify(&self) {
        self.0.changed.notify_one();
    }

    /// Whether other processes write to it and ship it, too: not with a database in a file, nor
    /// where the broker lives in this process.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.database.backend() == DbBackend::Postgres && self.0.shipped == ShippedEvents::Delete
    }

    /// This process begins to ship: whatever it knew is of the past.
    pub(crate) fn begin_turn(&self) {
        *self.turn() = Turn::default();
    }

    /// What is written from now on is for whoever ships next; everything that is committed is still
    /// read. If the database does not say within `patience` what is the newest, all that comes is
    /// read.
    pub(crate) async fn end_turn(&self, patience: Duration) {
        let statement = Statement::from_string(self.0.database.backend(), NEWEST);
        let asked =
            tokio::time::timeout(patience, self.0.database.reader().query_one_raw(statement)).await;
        let newest = asked.map(|row| {
            row.and_then(|row| row.map_or(Ok(None), |row| row.try_get::<Option<i64>>("", "newest")))
        });
        match newest {
            Ok(Ok(newest)) => self.turn().last = newest.unwrap_or(0),
            Ok(Err(error)) => tracing::warn!(%error, "the newest event could not be told"),
            Err(_) => tracing::warn!(?patience, "the newest event could not be told in time"),
        }
    }

    /// Looks whether there are events to ship, and says for how long there have been some, of which
    /// none was acknowledged. To be asked often.
    pub(crate) async fn waiting(&self) -> Result<Duration, DbErr> {
        let statement = Statement::from_string(self.0.database.backend(), WAITS);
        let row = self.0.database.within(self.0.database.reader().query_one_raw(statement)).await?;
        let waits = row.map_or(Ok(false), |row| row.try_get("", "waits"))?;
        let mut turn = self.turn();
        turn.waiting = if waits { turn.waiting.or_else(|| Some(Instant::now())) } else { None };
        Ok(turn.waiting.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pending(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, LogMessage)>, DbErr> {
        // What came last may have been one that turned up late: reading goes on behind the highest.
        let mut position = after.map_or(0, |after| after.max(self.turn().position));
        loop {
            let rows = self.page(position, limit).await?;
            let mut events = Vec::with_capacity(rows.len());
            let mut numbers = Vec::with_capacity(rows.len());
            for row in &rows {
                let number: i64 = row.try_get("", "seq")?;
                numbers.push(number);
                match LogMessage::decode(row.try_get::<Vec<u8>>("", "payload")?.as_slice()) {
                    Ok(event) => events.push((number, event)),
                    Err(error) => {
                        tracing::error!(%error, seq = number, "an event in the outbox cannot be read and is set aside");
                        self.mark_set_aside(number, &format!("it cannot be read: {error}")).await?;
                    }
                }
            }
            position = numbers.last().map_or(position, |last| position.max(*last));
            let mut turn = self.turn();
            turn.position = position;
            turn.gaps.read(&numbers, Instant::now());
            drop(turn);
            // Nothing to send does not mean that there is nothing behind what cannot be read.
            if !events.is_empty() || rows.len() < limit {
                return Ok(events);
            }
        }
    }

    /// The events after `position`, and those before it that were not there when it was read.
    async fn page(&self, position: i64, limit: usize) -> Result<Vec<QueryResult>, DbErr> {
        let backend = self.0.database.backend();
        // SQLite has one writer: numbers are committed in their order.
        let late = if backend == DbBackend::Postgres {
            self.turn().gaps.up_to(position)
        } else {
            Vec::new()
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values: Vec<Value> = vec![position.into(), self.turn().last.into(), limit.into()];
        let sql = match late.first() {
            None => READ,
            Some(lowest) => {
                values.extend([Value::from(*lowest), json(&late)?.into()]);
                READ_WITH_LATE
            }
        };
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.0.database.within(self.0.database.reader().query_all_raw(statement)).await
    }

    async fn settle(&self, positions: &[i64]) -> Result<(), DbErr> {
        let backend = self.0.database.backend();
        let positions = json(positions)?;
        let statement = match self.0.shipped {
            ShippedEvents::Delete => DELETE.with(backend, [positions.into()]),
            ShippedEvents::ShipAgainAtStart { .. } => {
                MARK.with(backend, [positions.into(), clock::machine_now().into()])
            }
        };
        self.0.database.within(self.0.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    /// The row stays, for somebody to look at, and holds up nothing.
    async fn mark_set_aside(&self, position: i64, reason: &str) -> Result<(), DbErr> {
        // PostgreSQL's text holds every character but this one.
        let reason = reason.replace('\0', "\u{fffd}");
        let statement = Statement::from_sql_and_values(
            self.0.database.backend(),
            SET_ASIDE,
            [reason.into(), position.into()],
        );
        self.0.database.within(self.0.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    /// At start: what was shipped into a broker that is gone is to be shipped again.
    pub(crate) async fn begin(&self) -> Result<(), DbErr> {
        match self.0.shipped {
            ShippedEvents::Delete => Ok(()),
            ShippedEvents::ShipAgainAtStart { .. } => {
                self.trim().await?;
                self.0
                    .database
                    .within(self.0.database.writer().execute_unprepared(MARK_UNSHIPPED))
                    .await
                    .map(|_| ())
            }
        }
    }

    /// Removes shipped events that are not to be kept, a bounded number with each statement. Yields
    /// how many.
    pub(crate) async fn trim(&self) -> Result<u64, DbErr> {
        let kept = match self.0.shipped {
            ShippedEvents::Delete => 0,
            ShippedEvents::ShipAgainAtStart { kept } => kept,
        };
        let values: [Value; 2] =
            [i64::try_from(kept).unwrap_or(i64::MAX).into(), i64::from(BOUND).into()];
        let statement = Statement::from_sql_and_values(self.0.database.backend(), TRIM, values);
        self.0.database.remove(statement, BOUND.into()).await
    }

    /// How many events are not shipped yet, up to [`BACKLOG_BOUND`].
    pub(crate) async fn backlog(&self) -> Result<i64, DbErr> {
        let statement = Statement::from_sql_and_values(
            self.0.database.backend(),
            BACKLOG,
            [BACKLOG_BOUND.into()],
        );
        let row = self.0.database.within(self.0.database.reader().query_one_raw(statement)).await?;
        row.map_or(Ok(0), |row| row.try_get("", "backlog"))
    }
}

/// On PostgreSQL `seq` is the order of writing, not of committing, so that a row may turn up before
/// one that was read already. It is found all the same, at the next reading (see `gaps`): of one
/// subject, an event is committed before the next one takes its number, so that whoever reads in
/// the order of the numbers, and misses none, keeps the order of each subject. Should one be missed
/// for long, what is unshipped is told by its own mark, and the shipper begins again from the
/// oldest time after time.
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
        self.turn().waiting = None;
        self.settle(positions).await.map_err(SourceError::new)
    }

    async fn oldest(&self) -> Result<Option<OldestEvent>, SourceError> {
        let statement = Statement::from_string(self.0.database.backend(), OLDEST);
        let row = self
            .0
            .database
            .within(self.0.database.reader().query_one_raw(statement))
            .await
            .map_err(SourceError::new)?;
        let Some(row) = row else { return Ok(None) };
        let number: i64 = row.try_get("", "seq").map_err(SourceError::new)?;
        let time = match self.0.shipped {
            ShippedEvents::Delete => Some(
                row.try_get::<OffsetDateTime>("", "created_at").map_err(SourceError::new)?.into(),
            ),
            // It may have been shipped before, to a broker that is gone.
            ShippedEvents::ShipAgainAtStart { .. } => None,
        };
        Ok(Some(OldestEvent { id: number.to_string(), time }))
    }

    async fn changed(&self) {
        if self.is_shared() {
            // Nobody says what another process wrote: it is looked for.
            let _ = tokio::time::timeout(LOOK, self.0.changed.notified()).await;
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
        self.mark_set_aside(*position, reason).await.map_err(SourceError::new)
    }
}
