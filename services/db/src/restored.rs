//! What a database that comes from a backup is told before a store uses it: every token is void, and its events say that it was restored.

use std::time::Duration;

use merch_chassis::StartError;
use merch_contract::grpc::logging::v1::Level;
use merch_logging::client::event::{Origin, attribute, word};
use merch_migration::{Standing, standing};
use sea_orm::{ConnectionTrait as _, DbErr};

use crate::clock;
use crate::config::Pool;
use crate::database::{Database, Location};
use crate::store::outbox;

/// More than any user's tokens are ever revoked, so that no token that was made since the backup, revoked or not, has a version that comes again.
const LEAP: &str = "UPDATE users SET token_version = token_version + 4294967296";

/// Makes every token void, as those that were revoked since the backup would hold again, and writes the event `store_restored`, in one transaction.
/// `taken_at` is when the backup was taken, RFC 3339.
///
/// # Errors
/// One sentence, if it is not the database of a store, or of one that this program is too old for.
pub async fn mark_restored(location: impl Into<Location>, taken_at: &str) -> Result<(), StartError> {
    // Every user's row in one statement may rightly take longer than any statement of the running store.
    let unhurried = Duration::from_secs(600);
    let pool = Pool { statement_timeout: unhurried, transaction_timeout: unhurried, idle_timeout: unhurried, ..Pool::default() };
    let database = Database::open(location, &pool).await?;
    let marked = mark(&database, taken_at).await;
    database.close().await;
    marked.map_err(|error| {
        StartError::new(format!(
            "the database of the backup cannot be used: {error}; expected that of a store which is no newer than this `merch`"
        ))
    })
}

async fn mark(database: &Database, taken_at: &str) -> Result<(), DbErr> {
    // What is pending is done at the next start.
    match standing(database.reader()).await? {
        Standing::UpToDate | Standing::Behind { .. } | Standing::Ahead { .. } => {}
        Standing::TooNew { required } => return Err(DbErr::Custom(format!("it asks for a `merch` that knows {required}"))),
        Standing::Astray { .. } => return Err(DbErr::Custom("its migrations are not those of this `merch`".to_owned())),
    }
    let transaction = database.begin().await?;
    transaction.execute_unprepared(LEAP).await?;
    let event = Origin::new("db")
        .event(
            Level::Warn,
            word::STORE_RESTORED,
            "The store was restored from a backup: events since it was taken may tell of what is gone.",
        )
        .by_operator()
        .attribute(attribute::TAKEN_AT, taken_at);
    outbox::append(&transaction, clock::now(), &[event.build()]).await?;
    transaction.commit().await
}
