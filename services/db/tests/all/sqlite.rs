//! What only SQLite does: one writer, readers beside it, and a file that survives.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::ConnectionTrait as _;
use tonic::Code;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_waits_for_the_writer() {
    let store = TestDb::start(Place::sqlite().await).await;
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), store.product(HOODIE));
    assert_eq!(
        read.await.expect("the reader does not wait").stock,
        500,
        "what is not committed is not seen"
    );
    writing.commit().await.unwrap();
    assert_eq!(store.product(HOODIE).await.stock, 7);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_waits_too_long_is_unavailable() {
    let place = Place::sqlite().await;
    let mut config = config(&place);
    config.pool.lock_timeout = std::time::Duration::from_millis(50);
    let store = TestDb::start_with(place, config).await;
    // The test's own connection is another process's, as far as SQLite knows.
    let writing = store.database.begin().await.unwrap();
    assert_eq!(
        told(store.client().create_user(call(new_user("ada"))).await),
        why(Code::Unavailable, ErrorReason::DatabaseUnavailable)
    );
    writing.rollback().await.unwrap();
    store.register("ada").await;
    store.stop().await;
}

#[tokio::test]
async fn the_connections_keep_what_the_store_promises() {
    let store = TestDb::start(Place::sqlite().await).await;
    let (writer, reader) = (store.database.writer(), store.database.reader());
    for connection in [writer, reader] {
        for (pragma, expected) in [("foreign_keys", 1), ("synchronous", 2)] {
            let found = rows(connection, &format!("PRAGMA {pragma}")).await;
            assert_eq!(found[0].try_get_by::<i64, _>(0).unwrap(), expected, "{pragma}");
        }
        let found = rows(connection, "PRAGMA journal_mode").await;
        assert_eq!(found[0].try_get_by::<String, _>(0).unwrap(), "wal");
    }
    assert!(
        reader.execute_unprepared("DELETE FROM outbox").await.is_err(),
        "a reader does not write"
    );
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_finds_what_the_first_left() {
    let store = TestDb::start(Place::sqlite().await).await;
    let buyer = store.register("ada").await;
    let order = store.buy(&buyer, HOODIE, 2).await;
    let store = TestDb::start(store.stop().await).await;
    assert_eq!(
        store.cancel(&buyer, &order.id).await.unwrap().total_price_cents,
        order.total_price_cents
    );
    assert_eq!(store.words().await, ["user_registered", "order_placed", "order_cancelled"]);
    store.stop().await;
}

/// What a full disk does to a transaction: SQLite ends it by itself, so that rolling it back fails,
/// and sqlx goes on counting it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_transactions_that_sqlite_ended_by_itself_what_is_committed_is_stored() {
    let store = TestDb::start(Place::sqlite().await).await;
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("ROLLBACK").await.unwrap();
    assert!(writing.rollback().await.is_err(), "there is nothing to roll back");
    // Of two that are counted, this would end the inner one, and leave the outer one open for good.
    store.database.begin().await.unwrap().rollback().await.unwrap();
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(store.product(HOODIE).await.stock, 7, "what was committed is seen by others");
    store.register("ada").await;
    store.stop().await;
}
