//! Whether a db service is there: without any no operation of this service works.

use merch_chassis::Part;
use tokio_util::sync::CancellationToken;

use crate::db::Db;

/// Keeps `part` up to date until `shutdown` is cancelled; then it is not ready any more, so that
/// nobody sends new requests.
pub(crate) async fn follow_db(db: Db, part: Part, shutdown: CancellationToken) {
    tokio::select! {
        () = db.follow(&part) => {}
        () = shutdown.cancelled() => part.not_ready("shutting down"),
    }
}
