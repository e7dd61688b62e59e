use std::{pin::Pin, time::Duration};

use merch_chassis::StartError;
use merch_migration::{Compatibility, Migrator, MigratorTrait as _, check_compatibility};
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
    pool::Pool,
    postgres, sqlite,
};

const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);
const ADVISORY_LOCK: i64 = 0x6d65_7263_685f_6d67;
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// All later queries of a table wait behind a migration that waits for its lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Applies the pending migrations and returns their names. Creates a missing SQLite file. If
/// several processes call this concurrently, one migrates and the others wait. A newer, compatible
/// schema stays unchanged.
///
/// On PostgreSQL, `location` must name the server, not a pooler: a session holds the lock.
///
/// # Errors
/// If the database cannot be reached, belongs to another program, or a migration fails, which is
/// then rolled back.
pub fn migrate(
    location: impl Into<Location>,
) -> Pin<Box<dyn Future<Output = Result<Vec<String>, StartError>> + Send>> {
    migrate_with_timeout(location, Pool::default().start_timeout)
}

/// Like [`migrate`], with the time to wait for an unavailable PostgreSQL.
///
/// # Errors
/// Those of [`migrate`].
pub fn migrate_with_timeout(
    location: impl Into<Location>,
    start_timeout: Duration,
) -> Pin<Box<dyn Future<Output = Result<Vec<String>, StartError>> + Send>> {
    // Boxed, see `merch_chassis::ServeFuture`.
    Box::pin(run_migrations(location.into(), Pool { start_timeout, ..Pool::default() }))
}

async fn run_migrations(location: Location, pool: Pool) -> Result<Vec<String>, StartError> {
    match location.options()? {
        Options::Postgres(options) => migrate_postgres(options, &pool).await,
        Options::Sqlite(options) => migrate_sqlite(options).await,
    }
}

/// Uses one connection, which holds the lock. A connection that replaces it takes the lock, too.
async fn migrate_postgres(
    options: PgConnectOptions,
    pool: &Pool,
) -> Result<Vec<String>, StartError> {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let options = options.application_name("merch-migrate").disable_statement_logging().options([
        ("statement_timeout", milliseconds(MIGRATION_TIMEOUT)),
        ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
        ("idle_in_transaction_session_timeout", milliseconds(MIGRATION_TIMEOUT)),
    ]);
    postgres::probe(options.clone(), None, pool).await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(MIGRATION_TIMEOUT)
        .after_connect(|connection, _| Box::pin(lock(connection)))
        .connect_lazy_with(options);
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    let migrated = apply(&connection, || up_with_retries(&connection)).await;
    close(connection).await;
    migrated
}

/// Polls for the lock: a waiting statement would hold a snapshot, for which a `CREATE INDEX
/// CONCURRENTLY` of the lock's holder waits.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut logged = false;
    loop {
        if sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(ADVISORY_LOCK)
            .fetch_one(&mut *connection)
            .await?
        {
            return Ok(());
        }
        if !logged {
            tracing::info!("another process is migrating this database; waiting for it");
            logged = true;
        }
        tokio::time::sleep(LOCK_POLL_INTERVAL).await;
    }
}

async fn up_with_retries(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let until = tokio::time::Instant::now() + MIGRATION_TIMEOUT;
    loop {
        match Migrator::up(connection, None).await {
            Err(error)
                if is_lock_not_available(&error)
                    && tokio::time::Instant::now() + RETRY_INTERVAL < until =>
            {
                tracing::info!("failed to lock a table for a migration; retrying");
                tokio::time::sleep(RETRY_INTERVAL).await;
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
    let sqlx::Error::Database(error) = error.as_ref() else { return false };
    error.code().as_deref() == Some("55P03")
}

/// Uses one IMMEDIATE transaction: SQLite has one writer, and its DDL is transactional.
async fn migrate_sqlite(options: SqliteConnectOptions) -> Result<Vec<String>, StartError> {
    sqlite::create_private_file(options.get_filename())?;
    let pool = Pool {
        lock_timeout: MIGRATION_TIMEOUT,
        acquire_timeout: MIGRATION_TIMEOUT,
        ..Pool::default()
    };
    let connection =
        SqlxSqliteConnector::from_sqlx_sqlite_pool(sqlite::open_writer(options, &pool).await?);
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let migrated = async {
        let transaction = connection.begin_with_options(options).await.map_err(migration_error)?;
        let migrated = apply(&transaction, || Migrator::up(&transaction, None)).await?;
        transaction.commit().await.map_err(migration_error)?;
        Ok(migrated)
    };
    let migrated = migrated.await;
    close(connection).await;
    migrated
}

async fn apply<F>(
    connection: &impl ConnectionTrait,
    up: impl FnOnce() -> F,
) -> Result<Vec<String>, StartError>
where
    F: Future<Output = Result<(), DbErr>>,
{
    match check_compatibility(connection).await.map_err(migration_error)? {
        Compatibility::UpToDate => Ok(Vec::new()),
        Compatibility::Ahead { unknown } => {
            tracing::info!(
                ?unknown,
                "the schema is newer than this program and compatible; nothing to migrate"
            );
            Ok(Vec::new())
        }
        Compatibility::Behind { pending } => up().await.map_err(migration_error).map(|()| pending),
        refused @ (Compatibility::TooNew { .. } | Compatibility::Diverged { .. }) => {
            Err(incompatible(&refused))
        }
    }
}

async fn close(connection: DatabaseConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "failed to close the database");
    }
}

fn migration_error(error: DbErr) -> StartError {
    match error {
        DbErr::ConnectionAcquire(_) => StartError::new(format!(
            "cannot migrate the schema: another process has been migrating it for {} minutes, or \
             the database does not answer; check the sessions named \
             `merch-migrate`, then try again",
            MIGRATION_TIMEOUT.as_secs() / 60
        )),
        error => StartError::new(format!(
            "cannot migrate the schema; the failed migration was rolled back: {error}"
        )),
    }
}

pub(super) async fn check(
    connection: &impl ConnectionTrait,
) -> Result<Result<(), StartError>, DbErr> {
    Ok(match check_compatibility(connection).await? {
        Compatibility::UpToDate => Ok(()),
        Compatibility::Ahead { unknown } => {
            tracing::info!(?unknown, "the schema is newer than this program and compatible");
            Ok(())
        }
        refused @ (Compatibility::Behind { .. }
        | Compatibility::TooNew { .. }
        | Compatibility::Diverged { .. }) => Err(incompatible(&refused)),
    })
}

fn incompatible(compatibility: &Compatibility) -> StartError {
    StartError::new(match compatibility {
        Compatibility::UpToDate | Compatibility::Ahead { .. } => "the schema fits".to_owned(),
        Compatibility::Behind { pending } => {
            let plural = if pending.len() == 1 { "" } else { "s" };
            format!(
                "schema is not migrated ({} migration{plural} pending): run `merch migrate`",
                pending.len()
            )
        }
        Compatibility::TooNew { required } => format!(
            "the schema is too new for this program: it requires the migration {required}, which \
             this program does not contain; start a newer `merch`"
        ),
        Compatibility::Diverged { pending, unknown } => format!(
            "the schema belongs to another program: it lacks {} and has {}, which this program \
             does not contain; start the `merch` that migrated it, or \
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
    fn incompatible_schema_messages_say_what_to_do() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (compatibility, expected) in [
            (
                Compatibility::Behind { pending: names(&["m1"]) },
                "(1 migration pending): run `merch migrate`",
            ),
            (
                Compatibility::Behind { pending: names(&["m1", "m2"]) },
                "(2 migrations pending): run `merch migrate`",
            ),
            (
                Compatibility::TooNew { required: "m9".to_owned() },
                "requires the migration m9, which this program does not contain; start a newer \
                 `merch`",
            ),
            (
                Compatibility::Diverged { pending: names(&["m2"]), unknown: names(&["m8", "m9"]) },
                "it lacks m2 and has m8, m9, which",
            ),
        ] {
            let sentence = incompatible(&compatibility).to_string();
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
