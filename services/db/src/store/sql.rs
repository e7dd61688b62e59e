use std::fmt::Write as _;

use sea_orm::{DbBackend, DbErr, Statement, Value};
use serde::Serialize;
use time::OffsetDateTime;

/// One statement in both dialects. Many rows are one JSON parameter (see [`json`]), so the text
/// does not depend on their number.
pub(super) struct Sql {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

impl Sql {
    pub(super) fn with(
        &self,
        backend: DbBackend,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        let text = if backend == DbBackend::Sqlite { self.sqlite } else { self.postgres };
        Statement::from_sql_and_values(backend, text, values)
    }

    /// Like [`with`](Self::with), with `time` as the last value on SQLite; PostgreSQL uses the
    /// server's clock.
    pub(super) fn with_time(
        &self,
        backend: DbBackend,
        values: impl IntoIterator<Item = Value>,
        time: OffsetDateTime,
    ) -> Statement {
        let time = (backend == DbBackend::Sqlite).then(|| time.into());
        self.with(backend, values.into_iter().chain(time))
    }
}

pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String, DbErr> {
    serde_json::to_string(rows).map_err(|error| DbErr::Json(error.to_string()))
}

/// Both databases read this format from JSON.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
