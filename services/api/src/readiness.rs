//! The readiness part of the db service.

use merch_chassis::Part;
use tokio_util::sync::CancellationToken;

use crate::db::Db;

/// Keeps `part` up to date until `shutdown` is cancelled, then marks it as not ready.
pub(crate) async fn watch_db(db: Db, part: Part, shutdown: CancellationToken) {
    tokio::select! {
        () = db.watch_health(&part) => {}
        () = shutdown.cancelled() => part.not_ready("shutting down"),
    }
}
