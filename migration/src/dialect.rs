//! The few words in which the two databases' data definition differs.

use sea_orm_migration::{
    prelude::{DbErr, SchemaManager},
    sea_orm::{ConnectionTrait, DbBackend},
};

/// Replaces `{word}` in `sql` by what the database calls it.
///
/// SQLite's tables are STRICT, so that it, too, refuses a value of another type than the column's
/// (a float for cents, say). It keeps a UUID as its 16 bytes and a time as RFC 3339 text in UTC.
fn translate(sql: &str, backend: DbBackend) -> Result<String, DbErr> {
    let words: [(&str, &str); 7] = match backend {
        DbBackend::Postgres => [
            ("{uuid}", "uuid"),
            ("{bytes}", "bytea"),
            ("{int}", "integer"),
            ("{bigint}", "bigint"),
            ("{boolean}", "boolean"),
            ("{time}", "timestamptz"),
            ("{strict}", ""),
        ],
        DbBackend::Sqlite => [
            ("{uuid}", "BLOB"),
            ("{bytes}", "BLOB"),
            ("{int}", "INTEGER"),
            ("{bigint}", "INTEGER"),
            ("{boolean}", "INTEGER"),
            ("{time}", "TEXT"),
            ("{strict}", " STRICT"),
        ],
        other => {
            return Err(DbErr::Migration(format!(
                "the store runs on PostgreSQL and SQLite, not on {other:?}"
            )));
        }
    };
    Ok(words.iter().fold(sql.to_owned(), |sql, (word, meaning)| sql.replace(word, meaning)))
}

/// Runs `statements` in order, each translated.
pub(crate) async fn execute(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    for statement in statements {
        connection
            .execute_unprepared(&translate(statement, manager.get_database_backend())?)
            .await?;
    }
    Ok(())
}
