//! Prepares a database that comes from a backup: every token becomes void, versions go on from
//! greater numbers, and an event says that it was restored.

use std::time::Duration;

use merch_chassis::StartError;
use merch_contract::grpc::logging::v1::Level;
use merch_logging::client::event::{Origin, attribute, event_name};
use merch_migration::{Era, Standing, standing};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};

use crate::{
    clock,
    config::Pool,
    database::{Database, Location},
    store::outbox,
};

/// The statements that let every version of the store go on from a number that no database of the
/// store has given, however often one backup is restored: of tokens, as those that were revoked
/// since the backup would hold again; of rows, as clients hold entity tags of what has been changed
/// since, and the same tag must not stand for other content.
fn leaps(era: Era, is_sqlite: bool) -> [String; 3] {
    let next = |column| era.next(column, is_sqlite);
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

/// Makes every token and every entity tag void and writes the event `store_restored`, in one
/// transaction. `taken_at` is when the backup was taken, RFC 3339.
///
/// # Errors
/// One sentence, if it is not the database of a store, or of one that this program is too old for.
pub async fn mark_restored(
    location: impl Into<Location>,
    taken_at: &str,
) -> Result<(), StartError> {
    // Every user's row in one statement may rightly take longer than any statement of the running
    // store.
    let unhurried = Duration::from_secs(600);
    let pool = Pool {
        statement_timeout: unhurried,
        transaction_timeout: unhurried,
        idle_timeout: unhurried,
        ..Pool::default()
    };
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
        Standing::TooNew { required } => {
            return Err(DbErr::Custom(format!("it asks for a `merch` that knows {required}")));
        }
        Standing::Astray { .. } => {
            return Err(DbErr::Custom("its migrations are not those of this `merch`".to_owned()));
        }
    }
    let transaction = database.begin().await?;
    for leap in leaps(Era::begin(), database.backend() == DbBackend::Sqlite) {
        transaction.execute_unprepared(&leap).await?;
    }
    let event = Origin::new("db")
        .event(
            Level::Warn,
            event_name::STORE_RESTORED,
            "The store was restored from a backup: events since it was taken may tell of what is gone.",
        )
        .by_operator()
        .attribute(attribute::TAKEN_AT, taken_at);
    outbox::append(&transaction, clock::machine_now(), &[event.build()]).await?;
    transaction.commit().await
}
