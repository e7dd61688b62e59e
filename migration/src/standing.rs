//! How the schema of a database stands to the migrations that this program knows.

use std::collections::HashSet;

use sea_orm_migration::{
    prelude::DbErr,
    sea_orm::{ConnectionTrait, DbBackend, Statement},
};

use crate::{Migrator, MigratorTrait as _};

/// What [`standing`] found. Names are those of migrations, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Exactly the migrations that this program knows.
    UpToDate,
    /// It lacks some of them.
    Behind {
        /// Those that it lacks.
        pending: Vec<String>,
    },
    /// It has all of them and more, of a newer program, and this one still works on it: what was
    /// added takes nothing away.
    Ahead {
        /// Those that this program does not know.
        unknown: Vec<String>,
    },
    /// A newer program took something away that this one needs.
    TooNew {
        /// The oldest migration that a program has to know to work on it.
        required: String,
    },
    /// It lacks some of them, and has others that this program does not know: of two programs that
    /// are no versions of one another.
    Astray {
        /// Those that it lacks.
        pending: Vec<String>,
        /// Those that this program does not know.
        unknown: Vec<String>,
    },
}

/// How the schema of `connection`'s database stands to this program.
///
/// Only reads, so that a service can ask with a role that may not create tables.
///
/// # Errors
/// If the database does not answer.
pub async fn standing<C: ConnectionTrait>(connection: &C) -> Result<Standing, DbErr> {
    let known: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let applied = texts(
        connection,
        "seaql_migrations",
        "SELECT version AS text FROM seaql_migrations ORDER BY version",
    )
    .await?;
    let required = texts(
        connection,
        "schema_requirements",
        "SELECT oldest_migration AS text FROM schema_requirements WHERE id = 1",
    )
    .await?;
    Ok(judge(&known, &applied, required.first()))
}

/// The rows of a statement that yields one text each; none when there is no such `table`.
async fn texts<C: ConnectionTrait>(
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

/// `required`: absent in schemas from before there were requirements.
fn judge(known: &[String], applied: &[String], required: Option<&String>) -> Standing {
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        let from: HashSet<&String> = from.iter().collect();
        of.iter().filter(|name| !from.contains(name)).cloned().collect()
    };
    if let Some(required) = required.filter(|required| !known.contains(required)) {
        return Standing::TooNew { required: required.clone() };
    }
    let (pending, unknown) = (missing(applied, known), missing(known, applied));
    match (pending.is_empty(), unknown.is_empty()) {
        (true, true) => Standing::UpToDate,
        (false, true) => Standing::Behind { pending },
        (true, false) => Standing::Ahead { unknown },
        (false, false) => Standing::Astray { pending, unknown },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_schema_is_judged_by_what_it_has_and_what_it_asks_for() {
        let judged = |applied: &str, required: &str| {
            judge(&names("1 2 3"), &names(applied), names(required).first())
        };
        assert_eq!(judged("1 2 3", ""), Standing::UpToDate);
        assert_eq!(judged("1 2 3", "1"), Standing::UpToDate);
        assert_eq!(judged("", ""), Standing::Behind { pending: names("1 2 3") });
        assert_eq!(judged("1 2", ""), Standing::Behind { pending: names("3") });
        assert_eq!(judged("1 2 3 4 5", "3"), Standing::Ahead { unknown: names("4 5") });
        assert_eq!(judged("1 2 3 4", "4"), Standing::TooNew { required: "4".into() });
        assert_eq!(
            judged("1 3 4", "1"),
            Standing::Astray { pending: names("2"), unknown: names("4") }
        );
    }
}
