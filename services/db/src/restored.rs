//! Marks a restored database, so that its tokens and entity tags become invalid.

use std::time::Duration;

use merch_chassis::StartError;
use merch_contract::grpc::logging::v1::Level;
use merch_logging::client::event::{Origin, attribute, event_name};
use merch_migration::{Compatibility, VersionEpoch, check_compatibility};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};

use crate::{
    clock,
    database::{Database, Location, Pool},
    store::outbox,
};

/// Moves every version to an unused number, so that revoked tokens stay invalid and no entity tag
/// matches other content.
fn version_updates(epoch: VersionEpoch, is_sqlite: bool) -> [String; 3] {
    let next = |column| epoch.next(column, is_sqlite);
    [
        format!(
            "UPDATE users SET token_version = {}, version = {}",
            next("token_version"),
            next("version")
        ),
        format!("UPDATE products SET version = {}", next("version")),
        format!("UPDATE orders SET version = {}", next("version")),
    ]
}

/// Invalidates all tokens and entity tags and writes the event `store_restored`, in one
/// transaction. `taken_at` is the backup's time, RFC 3339.
///
/// # Errors
/// If the database is not a store's, or this program is too old for it.
pub async fn mark_restored(
    location: impl Into<Location>,
    taken_at: &str,
) -> Result<(), StartError> {
    // Updating every row may take longer than normal operation.
    let timeout = Duration::from_secs(600);
    let pool = Pool {
        statement_timeout: timeout,
        transaction_timeout: timeout,
        idle_timeout: timeout,
        ..Pool::default()
    };
    let database = Database::open(location, &pool).await?;
    let marked = mark(&database, taken_at).await;
    database.close().await;
    marked.map_err(|error| {
        StartError::new(format!(
            "cannot use the database of the backup: {error}; expected a store's database no newer \
             than this `merch`"
        ))
    })
}

async fn mark(database: &Database, taken_at: &str) -> Result<(), DbErr> {
    // The next start applies pending migrations.
    match check_compatibility(database.reader()).await? {
        Compatibility::UpToDate | Compatibility::Behind { .. } | Compatibility::Ahead { .. } => {}
        Compatibility::TooNew { required } => {
            let reason = format!("it requires a `merch` with the migration {required}");
            return Err(DbErr::Custom(reason));
        }
        Compatibility::Diverged { .. } => {
            return Err(DbErr::Custom("it belongs to another program".to_owned()));
        }
    }
    let transaction = database.begin().await?;
    for update in version_updates(VersionEpoch::now(), database.backend() == DbBackend::Sqlite) {
        transaction.execute_unprepared(&update).await?;
    }
    let event = Origin::new("db")
        .event(
            Level::Warn,
            event_name::STORE_RESTORED,
            "The store was restored from a backup: later events may refer to rows that no longer \
             exist.",
        )
        .by_operator()
        .attribute(attribute::TAKEN_AT, taken_at);
    outbox::append(&transaction, clock::machine_time(), vec![event.build()]).await?;
    transaction.commit().await
}
