//! Statements whose text differs between the two databases, and the parameters of those that take
//! many rows at once.

use std::fmt::Write as _;

use sea_orm::{DbBackend, DbErr, Statement, Value};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// One statement in the words of either database. Many rows go in as one JSON parameter (see
/// [`json`]), so that the text is the same for any number of them and each connection prepares it
/// once.
pub(super) struct Sql {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

impl Sql {
    /// The statement for `backend`, with these values.
    pub(super) fn with(
        &self,
        backend: DbBackend,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        let text = if backend == DbBackend::Sqlite { self.sqlite } else { self.postgres };
        Statement::from_sql_and_values(backend, text, values)
    }

    /// The statement with `time` as its last value on SQLite. PostgreSQL's text asks the server's
    /// clock instead.
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

/// `rows` as the one parameter of a statement.
pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String, DbErr> {
    serde_json::to_string(rows).map_err(|error| DbErr::Json(error.to_string()))
}

/// A UUID as both databases read it from JSON.
pub(super) fn plain_id(id: Uuid) -> String {
    id.simple().to_string()
}

/// Bytes as both databases read them from JSON.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes whatever is written");
        text
    })
}
