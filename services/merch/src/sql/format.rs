//! Rows as tables and JSON. A blob of 16 bytes is shown as a UUID; the store has no others.

use sea_orm::sqlx::{
    self, Column as _, Row as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteRow, SqliteValueRef},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    hex::hex,
    table::{self, Cell},
};

/// A value by its own type, which may differ from the column's declared type.
enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// Formats rows as a table. Fails if a value cannot be decoded, such as text that is not UTF-8.
pub(super) fn table(rows: &[SqliteRow]) -> Result<String, sqlx::Error> {
    let headers: Vec<&str> = rows
        .first()
        .map(|row| row.columns().iter().map(|column| column.name()).collect())
        .unwrap_or_default();
    let cells = rows
        .iter()
        .map(|row| Ok(row_values(row)?.into_iter().map(cell).collect()))
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(table::table(&headers, &cells))
}

/// Converts a row to an object with members in column order.
pub(super) fn json(row: &SqliteRow) -> Result<Value, sqlx::Error> {
    let names = row.columns().iter().map(|column| column.name().to_owned());
    Ok(Value::Object(names.zip(row_values(row)?.into_iter().map(json_value)).collect()))
}

fn row_values(row: &SqliteRow) -> Result<Vec<SqlValue>, sqlx::Error> {
    (0..row.columns().len()).map(|column| read_value(row.try_get_raw(column)?)).collect()
}

fn read_value(value: SqliteValueRef<'_>) -> Result<SqlValue, sqlx::Error> {
    fn decode<'r, T: sqlx::Decode<'r, sqlx::Sqlite>>(
        value: SqliteValueRef<'r>,
    ) -> Result<T, sqlx::Error> {
        T::decode(value).map_err(sqlx::Error::Decode)
    }
    if value.is_null() {
        return Ok(SqlValue::Null);
    }
    let storage_class = value.type_info().name().to_owned();
    match storage_class.as_str() {
        "INTEGER" => decode(value).map(SqlValue::Integer),
        "REAL" => decode(value).map(SqlValue::Real),
        "BLOB" => decode(value).map(SqlValue::Blob),
        _ => decode(value).map(SqlValue::Text),
    }
}

fn cell(value: SqlValue) -> Cell {
    match value {
        SqlValue::Null => Cell::text("NULL"),
        SqlValue::Integer(number) => Cell::number(number),
        SqlValue::Real(number) => Cell::number(number),
        SqlValue::Text(text) => Cell::text(text),
        SqlValue::Blob(bytes) => Cell::text(blob(&bytes)),
    }
}

fn json_value(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => number.into(),
        SqlValue::Real(number) => number.into(),
        SqlValue::Text(text) => text.into(),
        SqlValue::Blob(bytes) => blob(&bytes).into(),
    }
}

/// Formats a UUID, or SQLite's literal for other blobs.
fn blob(bytes: &[u8]) -> String {
    match Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => format!("x'{}'", hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_byte_blobs_are_uuids() {
        assert_eq!(blob(&[0x11; 16]), "11111111-1111-1111-1111-111111111111");
        assert_eq!(blob(&[0, 255]), "x'00ff'");
    }
}
