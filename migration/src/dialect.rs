use sea_orm_migration::{
    prelude::{DbErr, SchemaManager},
    sea_orm::{ConnectionTrait, DbBackend},
};

/// Replaces each `{word}` in `sql` with the type of the database.
///
/// SQLite stores a UUID as 16 bytes and a time as RFC 3339 text in UTC. Its tables are STRICT: they
/// refuse values of another type, such as a float of cents.
fn translate(sql: &str, backend: DbBackend) -> Result<String, DbErr> {
    let types: [(&str, &str); 7] = match backend {
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
    Ok(types.iter().fold(sql.to_owned(), |sql, (word, sql_type)| sql.replace(word, sql_type)))
}

pub(crate) async fn execute(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    for statement in statements {
        connection
            .execute_unprepared(&translate(statement, manager.get_database_backend())?)
            .await?;
    }
    Ok(())
}
