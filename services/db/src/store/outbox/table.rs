//! The rows of the outbox, behind a trait, so that the simulation runs the rest.

use std::{fmt, time::SystemTime};

use async_trait::async_trait;
use merch_contract::grpc::logging::v1::LogMessage;
use prost::Message as _;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::OutboxPosition;
use crate::{
    clock,
    config::ShippedEvents,
    database::{DELETE_BATCH, Database},
    store::sql::{Sql, hex, json},
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
/// Names a server of PostgreSQL: another one was started at another time.
macro_rules! server {
    () => {
        "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS server"
    };
}
macro_rules! select_pending {
    ($server:expr) => {
        concat!(
            "
    SELECT seq, id, payload, ",
            $server,
            "
    FROM outbox
    WHERE shipped_at IS NULL AND set_aside IS NULL AND seq > $1 AND seq <= $2
    ORDER BY seq
    LIMIT $3"
        )
    };
}
/// `$1` the `seq` to read after, `$2` the last `seq` of the term, `$3` the limit.
const SELECT_PENDING: Sql =
    Sql { postgres: select_pending!(server!()), sqlite: select_pending!("0 AS server") };
/// As [`SELECT_PENDING`], plus the skipped numbers `$5`, of which `$4` is the lowest (PostgreSQL).
const SELECT_PENDING_WITH_LATE: &str = concat!(
    "
    SELECT seq, id, payload, ",
    server!(),
    "
    FROM outbox
    WHERE shipped_at IS NULL AND set_aside IS NULL AND seq >= $4 AND seq <= $2
        AND (seq > $1 OR seq IN (SELECT value::bigint FROM json_array_elements_text($5::json)))
    ORDER BY seq
    LIMIT $3"
);
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
/// A dead letter is acknowledged, too, but its row must stay. SQLite never reuses a number.
const DELETE: Sql = Sql {
    postgres: "
        DELETE FROM outbox
        USING json_to_recordset($1::json) AS s(seq bigint, id uuid)
        WHERE set_aside IS NULL AND outbox.seq = s.seq AND outbox.id = s.id",
    sqlite: "
        DELETE FROM outbox
        WHERE set_aside IS NULL AND seq IN (SELECT value ->> 'seq' FROM json_each($1))",
};
const MARK_SHIPPED: Sql = Sql {
    postgres: "
        UPDATE outbox SET shipped_at = $2
        FROM json_to_recordset($1::json) AS s(seq bigint, id uuid)
        WHERE set_aside IS NULL AND outbox.seq = s.seq AND outbox.id = s.id",
    sqlite: "
        UPDATE outbox SET shipped_at = $2
        WHERE set_aside IS NULL AND seq IN (SELECT value ->> 'seq' FROM json_each($1))",
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
    "UPDATE outbox SET set_aside = $1 WHERE seq = $2 AND id = $3 AND shipped_at IS NULL";
const COUNT_BACKLOG: &str = "
    SELECT count(*) AS backlog FROM (
        SELECT 1 FROM outbox WHERE shipped_at IS NULL AND set_aside IS NULL LIMIT $1
    ) AS pending";
/// Bounds the cost of the count.
pub(crate) const BACKLOG_BOUND: i64 = 100_001;

/// Pending rows with their events, in order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<(OutboxPosition, Vec<u8>)>,
    /// Differs if another server returned them. Unknown without rows.
    pub(crate) server: Option<i64>,
}

/// The rows of the outbox. A row is *pending* if it is neither shipped nor a dead letter.
#[async_trait]
pub(crate) trait OutboxTable: fmt::Debug + Send + Sync + 'static {
    /// Whether other processes write and ship these rows.
    fn is_shared(&self) -> bool;

    /// Whether rows appear in the order of their numbers.
    fn is_ordered(&self) -> bool;

    /// Returns pending rows in order: those in `late`, and those after `after` up to `last`. The
    /// numbers in `late` are not above `after`.
    async fn pending(
        &self,
        after: i64,
        last: i64,
        limit: usize,
        late: &[i64],
    ) -> Result<Page, DbErr>;

    async fn has_pending(&self) -> Result<bool, DbErr>;

    /// Returns the greatest number of any row.
    async fn newest(&self) -> Result<Option<i64>, DbErr>;

    /// Returns the oldest pending row, and when it was written, unless it may have been shipped
    /// before.
    async fn oldest(&self) -> Result<Option<(i64, Option<SystemTime>)>, DbErr>;

    /// Does not change dead letters.
    async fn mark_shipped(&self, positions: &[OutboxPosition]) -> Result<(), DbErr>;

    async fn mark_dead_letter(&self, position: OutboxPosition, reason: &str) -> Result<(), DbErr>;

    async fn reset_shipped(&self) -> Result<(), DbErr>;

    /// Returns the number of deleted rows.
    async fn trim(&self) -> Result<u64, DbErr>;

    /// Returns the number of pending rows, at most [`BACKLOG_BOUND`].
    async fn backlog(&self) -> Result<i64, DbErr>;
}

/// Gives the events the time of their change: consumers compare times of several processes, and
/// `time` is by the database's clock.
pub(crate) async fn append<C: ConnectionTrait>(
    transaction: &C,
    time: OffsetDateTime,
    events: Vec<LogMessage>,
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
        .into_iter()
        .enumerate()
        .map(|(position, event)| {
            let event = LogMessage { time: Some(clock::timestamp(time)), ..event };
            Row { position, id: event.id.replace('-', ""), payload: hex(&event.encode_to_vec()) }
        })
        .collect();
    let statement =
        INSERT.with(transaction.get_database_backend(), [json(&rows)?.into(), time.into()]);
    transaction.execute_raw(statement).await?;
    Ok(())
}

#[derive(Debug)]
pub(crate) struct SqlTable {
    pub(crate) database: Database,
    pub(crate) shipped: ShippedEvents,
}

#[async_trait]
impl OutboxTable for SqlTable {
    fn is_shared(&self) -> bool {
        self.database.backend() == DbBackend::Postgres && self.shipped == ShippedEvents::Delete
    }

    fn is_ordered(&self) -> bool {
        // SQLite has one writer, so numbers are committed in order.
        self.database.backend() == DbBackend::Sqlite
    }

    async fn pending(
        &self,
        after: i64,
        last: i64,
        limit: usize,
        late: &[i64],
    ) -> Result<Page, DbErr> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values: Vec<Value> = vec![after.into(), last.into(), limit.into()];
        let backend = self.database.backend();
        let statement = match late.first() {
            None => SELECT_PENDING.with(backend, values),
            Some(lowest) => {
                values.extend([Value::from(*lowest), json(late)?.into()]);
                Statement::from_sql_and_values(backend, SELECT_PENDING_WITH_LATE, values)
            }
        };
        let rows = self.database.within(self.database.reader().query_all_raw(statement)).await?;
        let event = |row: &QueryResult| {
            let position =
                OutboxPosition { seq: row.try_get("", "seq")?, id: row.try_get("", "id")? };
            Ok((position, row.try_get("", "payload")?))
        };
        let server = rows.first().map(|row| row.try_get("", "server")).transpose()?;
        Ok(Page { rows: rows.iter().map(event).collect::<Result<_, DbErr>>()?, server })
    }

    async fn has_pending(&self) -> Result<bool, DbErr> {
        let statement = Statement::from_string(self.database.backend(), EXISTS_PENDING);
        let row = self.database.within(self.database.reader().query_one_raw(statement)).await?;
        row.map_or(Ok(false), |row| row.try_get("", "pending"))
    }

    async fn newest(&self) -> Result<Option<i64>, DbErr> {
        let statement = Statement::from_string(self.database.backend(), SELECT_NEWEST);
        let row = self.database.reader().query_one_raw(statement).await?;
        row.map_or(Ok(None), |row| row.try_get("", "newest"))
    }

    async fn oldest(&self) -> Result<Option<(i64, Option<SystemTime>)>, DbErr> {
        let statement = Statement::from_string(self.database.backend(), SELECT_OLDEST);
        let row = self.database.within(self.database.reader().query_one_raw(statement)).await?;
        let Some(row) = row else { return Ok(None) };
        let time = match self.shipped {
            ShippedEvents::Delete => Some(row.try_get::<OffsetDateTime>("", "created_at")?.into()),
            // An earlier embedded broker may have received it.
            ShippedEvents::ShipAgainAtStart { .. } => None,
        };
        Ok(Some((row.try_get("", "seq")?, time)))
    }

    async fn mark_shipped(&self, positions: &[OutboxPosition]) -> Result<(), DbErr> {
        #[derive(Serialize)]
        struct Row {
            seq: i64,
            #[serde(with = "uuid::serde::simple")]
            id: Uuid,
        }
        let backend = self.database.backend();
        let rows = positions.iter().map(|OutboxPosition { seq, id }| Row { seq: *seq, id: *id });
        let positions = json(&rows.collect::<Vec<_>>())?;
        let statement = match self.shipped {
            ShippedEvents::Delete => DELETE.with(backend, [positions.into()]),
            ShippedEvents::ShipAgainAtStart { .. } => {
                MARK_SHIPPED.with(backend, [positions.into(), clock::machine_time().into()])
            }
        };
        self.database.within(self.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    async fn mark_dead_letter(&self, position: OutboxPosition, reason: &str) -> Result<(), DbErr> {
        // PostgreSQL's text cannot store NUL.
        let reason = reason.replace('\0', "\u{fffd}");
        let statement = Statement::from_sql_and_values(
            self.database.backend(),
            MARK_DEAD_LETTER,
            [reason.into(), position.seq.into(), position.id.into()],
        );
        self.database.within(self.database.writer().execute_raw(statement)).await.map(|_| ())
    }

    async fn reset_shipped(&self) -> Result<(), DbErr> {
        match self.shipped {
            ShippedEvents::Delete => Ok(()),
            ShippedEvents::ShipAgainAtStart { .. } => {
                self.trim().await?;
                self.database
                    .within(self.database.writer().execute_unprepared(UNMARK_SHIPPED))
                    .await
                    .map(|_| ())
            }
        }
    }

    async fn trim(&self) -> Result<u64, DbErr> {
        let kept = match self.shipped {
            ShippedEvents::Delete => 0,
            ShippedEvents::ShipAgainAtStart { kept } => kept,
        };
        let values: [Value; 2] =
            [i64::try_from(kept).unwrap_or(i64::MAX).into(), i64::from(DELETE_BATCH).into()];
        let statement = Statement::from_sql_and_values(self.database.backend(), TRIM, values);
        self.database.remove(statement, DELETE_BATCH.into()).await
    }

    async fn backlog(&self) -> Result<i64, DbErr> {
        let statement = Statement::from_sql_and_values(
            self.database.backend(),
            COUNT_BACKLOG,
            [BACKLOG_BOUND.into()],
        );
        let row = self.database.within(self.database.reader().query_one_raw(statement)).await?;
        row.map_or(Ok(0), |row| row.try_get("", "backlog"))
    }
}
