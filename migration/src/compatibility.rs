use std::collections::HashSet;

use sea_orm_migration::{
    prelude::DbErr,
    sea_orm::{ConnectionTrait, DbBackend, Statement},
};

use crate::{Migrator, MigratorTrait as _};

/// The result of [`check_compatibility`]. Migrations are named, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// The schema has exactly the migrations of this program.
    UpToDate,
    /// The schema lacks some of them.
    Behind {
        /// The missing migrations.
        pending: Vec<String>,
    },
    /// The schema has all of them and newer ones, and this program still works on it.
    Ahead {
        /// The newer migrations.
        unknown: Vec<String>,
    },
    /// A newer program removed something that this one needs.
    TooNew {
        /// The oldest migration that a program must know.
        required: String,
    },
    /// The schema lacks some of them and has unknown ones, so it belongs to another program.
    Diverged {
        /// The missing migrations.
        pending: Vec<String>,
        /// The unknown migrations.
        unknown: Vec<String>,
    },
}

/// Compares the schema of `connection`'s database with this program. The role needs no right to
/// create tables.
///
/// # Errors
/// If the database does not answer.
pub async fn check_compatibility<C: ConnectionTrait>(
    connection: &C,
) -> Result<Compatibility, DbErr> {
    let known: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let applied = select_texts(
        connection,
        "seaql_migrations",
        "SELECT version AS text FROM seaql_migrations ORDER BY version",
    )
    .await?;
    let required = select_texts(
        connection,
        "schema_requirements",
        "SELECT oldest_migration AS text FROM schema_requirements WHERE id = 1",
    )
    .await?;
    Ok(compare(&known, &applied, required.first()))
}

/// Returns no rows if `table` does not exist.
async fn select_texts<C: ConnectionTrait>(
    connection: &C,
    table: &str,
    sql: &str,
) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let exists = match backend {
        DbBackend::Sqlite => {
            "SELECT count(*) AS found FROM sqlite_schema WHERE type = 'table' AND name = $1"
        }
        _ => "SELECT count(*) AS found FROM pg_class WHERE oid = to_regclass($1)",
    };
    let exists = connection
        .query_one_raw(Statement::from_sql_and_values(backend, exists, [table.into()]))
        .await?;
    let found: i64 = exists.map_or(Ok(0), |row| row.try_get("", "found"))?;
    if found == 0 {
        return Ok(Vec::new());
    }
    let rows = connection.query_all_raw(Statement::from_string(backend, sql)).await?;
    rows.iter().map(|row| row.try_get("", "text")).collect()
}

/// `required` is absent in schemas older than the requirements.
fn compare(known: &[String], applied: &[String], required: Option<&String>) -> Compatibility {
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        let from: HashSet<&String> = from.iter().collect();
        of.iter().filter(|name| !from.contains(name)).cloned().collect()
    };
    if let Some(required) = required.filter(|required| !known.contains(required)) {
        return Compatibility::TooNew { required: required.clone() };
    }
    let (pending, unknown) = (missing(applied, known), missing(known, applied));
    match (pending.is_empty(), unknown.is_empty()) {
        (true, true) => Compatibility::UpToDate,
        (false, true) => Compatibility::Behind { pending },
        (true, false) => Compatibility::Ahead { unknown },
        (false, false) => Compatibility::Diverged { pending, unknown },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn schema_is_compared_by_migrations_and_requirement() {
        let compared = |applied: &str, required: &str| {
            compare(&names("1 2 3"), &names(applied), names(required).first())
        };
        assert_eq!(compared("1 2 3", ""), Compatibility::UpToDate);
        assert_eq!(compared("1 2 3", "1"), Compatibility::UpToDate);
        assert_eq!(compared("", ""), Compatibility::Behind { pending: names("1 2 3") });
        assert_eq!(compared("1 2", ""), Compatibility::Behind { pending: names("3") });
        assert_eq!(compared("1 2 3 4 5", "3"), Compatibility::Ahead { unknown: names("4 5") });
        assert_eq!(compared("1 2 3 4", "4"), Compatibility::TooNew { required: "4".into() });
        assert_eq!(
            compared("1 3 4", "1"),
            Compatibility::Diverged { pending: names("2"), unknown: names("4") }
        );
    }
}
