//! Rows as people and programs read them. A blob of 16 bytes is a UUID: all that the store keeps as
//! such are.

use sea_orm::sqlx::{
    self, Column as _, Row as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteRow, SqliteValueRef},
};
use serde_json::Value;
use uuid::Uuid;

use crate::table::{self, Cell};

/// A value by its own type, whatever its column was declared as.
enum Found {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// # Errors
/// When a value cannot be read, as text that is not UTF-8.
pub(super) fn table(rows: &[SqliteRow]) -> Result<String, sqlx::Error> {
    let headers: Vec<&str> = rows
        .first()
        .map(|row| row.columns().iter().map(|column| column.name()).collect())
        .unwrap_or_default();
    let cells = rows
        .iter()
        .map(|row| Ok(found(row)?.into_iter().map(cell).collect()))
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(table::table(&headers, &cells))
}

/// The row as an object, its members in the order of the columns.
///
/// # Errors
/// When a value cannot be read.
pub(super) fn json(row: &SqliteRow) -> Result<Value, sqlx::Error> {
    let names = row.columns().iter().map(|column| column.name().to_owned());
    Ok(Value::Object(names.zip(found(row)?.into_iter().map(value)).collect()))
}

fn found(row: &SqliteRow) -> Result<Vec<Found>, sqlx::Error> {
    (0..row.columns().len()).map(|column| read(row.try_get_raw(column)?)).collect()
}

fn read(value: SqliteValueRef<'_>) -> Result<Found, sqlx::Error> {
    fn decode<'r, T: sqlx::Decode<'r, sqlx::Sqlite>>(
        value: SqliteValueRef<'r>,
    ) -> Result<T, sqlx::Error> {
        T::decode(value).map_err(sqlx::Error::Decode)
    }
    if value.is_null() {
        return Ok(Found::Null);
    }
    let kind = value.type_info().name().to_owned();
    match kind.as_str() {
        "INTEGER" => decode(value).map(Found::Integer),
        "REAL" => decode(value).map(Found::Real),
        "BLOB" => decode(value).map(Found::Blob),
        _ => decode(value).map(Found::Text),
    }
}

fn cell(found: Found) -> Cell {
    match found {
        Found::Null => Cell::text("NULL"),
        Found::Integer(number) => Cell::number(number),
        Found::Real(number) => Cell::number(number),
        Found::Text(text) => Cell::text(text),
        Found::Blob(bytes) => Cell::text(blob(&bytes)),
    }
}

fn value(found: Found) -> Value {
    match found {
        Found::Null => Value::Null,
        Found::Integer(number) => number.into(),
        Found::Real(number) => number.into(),
        Found::Text(text) => text.into(),
        Found::Blob(bytes) => blob(&bytes).into(),
    }
}

/// As SQLite writes a blob, but for ids.
fn blob(bytes: &[u8]) -> String {
    match Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_are_an_id() {
        assert_eq!(blob(&[0x11; 16]), "11111111-1111-1111-1111-111111111111");
        assert_eq!(blob(&[0, 255]), "x'00ff'");
    }
}
