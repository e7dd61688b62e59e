//! Brings the schema up to date, one process at a time, and says in sentences how it stands.

use std::{pin::Pin, time::Duration};

use merch_chassis::StartError;
use merch_migration::{Migrator, MigratorTrait as _, Standing, standing};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqliteTransactionMode,
    SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait as _,
    sqlx::{
        self, ConnectOptions as _,
        postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
        sqlite::SqliteConnectOptions,
    },
};

use super::{
    location::{Location, Options},
    postgres, sqlite,
};
use crate::config::Pool;

/// A migration may rightly take longer than any statement of the running store, and whoever comes
/// second waits for it.
const UNHURRIED: Duration = Duration::from_secs(600);
/// PostgreSQL's advisory lock of whoever migrates, in each database.
const LOCK: i64 = 0x6d65_7263_685f_6d67;
/// The time between two tries to get it.
const LOOK: Duration = Duration::from_millis(100);
/// How long a migration waits for a table, and so everybody who needs that table waits behind it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two tries of a migration that did not get it.
const AGAIN: Duration = Duration::from_secs(1);

/// Brings the schema up to date and says which migrations that took. Makes an SQLite file that does
/// not exist. Any number of processes may do so at once: one migrates, the others wait and find
/// nothing left to do. On PostgreSQL `location` must lead to the server itself, as a session holds
/// the lock, and not to a pooler.
///
/// A schema that is newer than this program, and that it works on, is left as it is.
///
/// # Errors
/// One sentence, if the database cannot be reached, is of another program, or a migration fails;
/// that migration is then undone.
pub fn migrate(
    location: impl Into<Location>,
) -> Pin<Box<dyn Future<Output = Result<Vec<String>, StartError>> + Send>> {
    migrate_patiently(location, Pool::default().start_patience)
}

/// Does the same, and waits for a PostgreSQL that is not there yet for as long as `start_patience`.
///
/// # Errors
/// Those of [`migrate`].
pub fn migrate_patiently(
    location: impl Into<Location>,
    start_patience: Duration,
) -> Pin<Box<dyn Future<Output = Result<Vec<String>, StartError>> + Send>> {
    // Boxed for the reason of `merch_chassis::ServeFuture`.
    Box::pin(bring_up_to_date(location.into(), Pool { start_patience, ..Pool::default() }))
}

async fn bring_up_to_date(location: Location, pool: Pool) -> Result<Vec<String>, StartError> {
    match location.options()? {
        Options::Postgres(options) => on_postgres(options, &pool).await,
        Options::Sqlite(options) => on_sqlite(options).await,
    }
}

/// One connection, which holds the lock from its first moment to its last: also one that takes the
/// place of another that was cut.
async fn on_postgres(options: PgConnectOptions, pool: &Pool) -> Result<Vec<String>, StartError> {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let options = options.application_name("merch-migrate").disable_statement_logging().options([
        ("statement_timeout", milliseconds(UNHURRIED)),
        ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
        ("idle_in_transaction_session_timeout", milliseconds(UNHURRIED)),
    ]);
    postgres::probe(options.clone(), None, pool).await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(UNHURRIED)
        .after_connect(|connection, _| Box::pin(lock(connection)))
        .connect_lazy_with(options);
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    let migrated = apply(&connection, || up_patiently(&connection)).await;
    close(connection).await;
    migrated
}

/// Waits for the lock by asking again and again: a statement that waits keeps a snapshot, and
/// `CREATE INDEX CONCURRENTLY` of whoever has the lock would wait for that.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut told = false;
    loop {
        if sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut *connection)
            .await?
        {
            return Ok(());
        }
        if !told {
            tracing::info!("another process migrates this database; waiting for it");
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Applies what is pending. A migration that does not get a lock on a table in time is undone and
/// tried again: while it waits, everybody else who needs the table waits behind it.
async fn up_patiently(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let until = tokio::time::Instant::now() + UNHURRIED;
    loop {
        match Migrator::up(connection, None).await {
            Err(error)
                if is_lock_not_available(&error) && tokio::time::Instant::now() + AGAIN < until =>
            {
                tracing::info!("a table is in use; the migration is tried again");
                tokio::time::sleep(AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_lock_not_available(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return false;
    };
    matches!(error.as_ref(), sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// All of it in one transaction that begins as a writer: SQLite has one at a time, and undoes data
/// definition like anything else.
async fn on_sqlite(options: SqliteConnectOptions) -> Result<Vec<String>, StartError> {
    sqlite::make_private(options.get_filename())?;
    let pool = Pool { lock_timeout: UNHURRIED, acquire_timeout: UNHURRIED, ..Pool::default() };
    let connection =
        SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite::open_writer(options, &pool).await?);
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let migrated = async {
        let transaction = connection.begin_with_options(options).await.map_err(failed)?;
        // Dropped without a commit, it is undone.
        let migrated = apply(&transaction, || Migrator::up(&transaction, None)).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(migrated)
    };
    let migrated = migrated.await;
    close(connection).await;
    migrated
}

/// Applies by `up` what is pending, and yields the names.
async fn apply<F>(
    connection: &impl ConnectionTrait,
    up: impl FnOnce() -> F,
) -> Result<Vec<String>, StartError>
where
    F: Future<Output = Result<(), DbErr>>,
{
    match standing(connection).await.map_err(failed)? {
        Standing::UpToDate => Ok(Vec::new()),
        Standing::Ahead { unknown } => {
            tracing::info!(
                ?unknown,
                "the schema is newer than this program, which works on it; nothing is migrated"
            );
            Ok(Vec::new())
        }
        Standing::Behind { pending } => up().await.map_err(failed).map(|()| pending),
        refused @ (Standing::TooNew { .. } | Standing::Astray { .. }) => Err(refusal(&refused)),
    }
}

async fn close(connection: DatabaseConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database was not closed cleanly");
    }
}

fn failed(error: DbErr) -> StartError {
    match error {
        DbErr::ConnectionAcquire(_) => StartError::new(format!(
            "the schema could not be migrated: another process has migrated it for {} minutes, or the database does not answer; see what runs there as \
             `merch-migrate`, then try again",
            UNHURRIED.as_secs() / 60
        )),
        error => StartError::new(format!(
            "the schema could not be migrated; the migration that failed was undone: {error}"
        )),
    }
}

/// Refuses a schema that this program does not fit.
///
/// # Errors
/// If the schema's version cannot be read; within, one sentence if it does not fit.
pub(super) async fn check(
    connection: &impl ConnectionTrait,
) -> Result<Result<(), StartError>, DbErr> {
    Ok(match standing(connection).await? {
        Standing::UpToDate => Ok(()),
        Standing::Ahead { unknown } => {
            tracing::info!(?unknown, "the schema is newer than this program, which works on it");
            Ok(())
        }
        refused @ (Standing::Behind { .. } | Standing::TooNew { .. } | Standing::Astray { .. }) => {
            Err(refusal(&refused))
        }
    })
}

/// Why this program cannot work on such a schema, and what to do.
fn refusal(standing: &Standing) -> StartError {
    StartError::new(match standing {
        Standing::UpToDate | Standing::Ahead { .. } => "the schema fits".to_owned(),
        Standing::Behind { pending } => {
            let plural = if pending.len() == 1 { "" } else { "s" };
            format!(
                "schema is not migrated ({} migration{plural} pending): run `merch migrate`",
                pending.len()
            )
        }
        Standing::TooNew { required } => format!(
            "the schema is too new for this program: it asks for one that knows the migration {required}, which this one does not; start a newer `merch`"
        ),
        Standing::Astray { pending, unknown } => format!(
            "the schema is not of this program's line: it lacks {} and has {}, which this program does not know; start the `merch` that migrated it, or \
             check that the URL names the right database",
            pending.join(", "),
            unknown.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_was_found_and_what_to_do() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (standing, expected) in [
            (
                Standing::Behind { pending: names(&["m1"]) },
                "(1 migration pending): run `merch migrate`",
            ),
            (
                Standing::Behind { pending: names(&["m1", "m2"]) },
                "(2 migrations pending): run `merch migrate`",
            ),
            (
                Standing::TooNew { required: "m9".to_owned() },
                "knows the migration m9, which this one does not; start a newer `merch`",
            ),
            (
                Standing::Astray { pending: names(&["m2"]), unknown: names(&["m8", "m9"]) },
                "it lacks m2 and has m8, m9, which",
            ),
        ] {
            let sentence = refusal(&standing).to_string();
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
