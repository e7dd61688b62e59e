use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::ConnectionTrait as _;
use tonic::Code;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_never_waits_for_the_writer() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), store.product(HOODIE));
    assert_eq!(
        read.await.expect("the reader does not wait").stock,
        500,
        "uncommitted rows are invisible"
    );
    writing.commit().await.unwrap();
    assert_eq!(store.product(HOODIE).await.stock, 7);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_lock_timeout_is_unavailable() {
    let test_database = TestDatabase::sqlite().await;
    let mut config = config(&test_database);
    config.pool.lock_timeout = std::time::Duration::from_millis(50);
    let store = TestService::start_with(test_database, config).await;
    // To SQLite, the test's connection is another process's.
    let writing = store.database.begin().await.unwrap();
    assert_eq!(
        error_of(store.client().create_user(call(new_user("ada"))).await),
        error(Code::Unavailable, ErrorReason::DatabaseUnavailable)
    );
    writing.rollback().await.unwrap();
    store.register("ada").await;
    store.stop().await;
}

#[tokio::test]
async fn connections_use_durable_settings() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
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
async fn data_survives_a_restart() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
    let buyer = store.register("ada").await;
    let order = store.buy(&buyer, HOODIE, 2).await;
    let store = TestService::start(store.stop().await).await;
    assert_eq!(
        store.cancel(&buyer, &order.id).await.unwrap().total_price_cents,
        order.total_price_cents
    );
    assert_eq!(store.event_names().await, ["user_registered", "order_placed", "order_cancelled"]);
    store.stop().await;
}

/// As a full disk does, SQLite ends the transaction by itself. ROLLBACK fails, and sqlx still
/// counts the transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_durable_after_automatic_rollbacks() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("ROLLBACK").await.unwrap();
    assert!(writing.rollback().await.is_err(), "there is nothing to roll back");
    // Of two counted transactions, this would end only the inner one.
    store.database.begin().await.unwrap().rollback().await.unwrap();
    let writing = store.database.begin().await.unwrap();
    writing.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(
        store.product(HOODIE).await.stock,
        7,
        "committed rows are visible to other processes"
    );
    store.register("ada").await;
    store.stop().await;
}
