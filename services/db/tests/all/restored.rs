use std::collections::BTreeSet;

use merch_contract::grpc::assistant::v1::*;
use sea_orm::ConnectionTrait as _;

use crate::harness::*;

async fn versions(store: &TestService) -> [i64; 4] {
    let sql = "SELECT u.version, p.version, o.version, u.token_version \
        FROM users u, products p, orders o WHERE p.id = 1";
    let row = rows(store.database.reader(), sql).await.remove(0);
    [0, 1, 2, 3].map(|column| row.try_get_by::<i64, _>(column).unwrap())
}

async fn put_back(store: &TestService, backup: [i64; 4]) {
    let [user, product, order, tokens] = backup;
    let statements = format!(
        "UPDATE users SET version = {user}, token_version = {tokens}; UPDATE products \
         SET version = {product} WHERE id = 1; \
         UPDATE orders SET version = {order}, status = 'placed', cancelled_at = NULL"
    );
    for statement in statements.split(';') {
        store.database.writer().execute_unprepared(statement).await.unwrap();
    }
}

on_both!(
    async fn restoring_twice_repeats_no_version(store: &TestService) {
        let buyer = store.register("ada").await;
        store.buy(&buyer, HOODIE, 1).await;
        let backup = versions(store).await;
        let mut seen: Vec<BTreeSet<i64>> = backup.iter().map(|version| [*version].into()).collect();
        for restore in 1..=3 {
            put_back(store, backup).await;
            merch_db::mark_restored(&store.test_database.url, "2026-01-01T00:00:00Z")
                .await
                .unwrap();
            let mut latest = versions(store).await;
            for change in 0..3 {
                for (seen, version) in seen.iter_mut().zip(latest) {
                    assert!(
                        seen.insert(version),
                        "restore {restore}, change {change}: {version} was given before"
                    );
                }
                let bump =
                    "UPDATE users SET version = version + 1, token_version = token_version + 1";
                for statement in [
                    bump,
                    "UPDATE products SET version = version + 1",
                    "UPDATE orders SET version = version + 1",
                ] {
                    store.database.writer().execute_unprepared(statement).await.unwrap();
                }
                latest = versions(store).await;
            }
        }
        let event = "SELECT count(*) FROM outbox";
        assert_eq!(
            rows(store.database.reader(), event).await[0].try_get_by::<i64, _>(0).unwrap(),
            5,
            "one event for each restore"
        );
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_after_restore_returns_the_first_response() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
    let buyer = store.register("ada").await;
    let first = store.place(vec![buyer.order_with_key(HOODIE, 1, "k")]).await.unwrap();
    merch_db::mark_restored(&store.test_database.url, "2026-01-01T00:00:00Z").await.unwrap();
    let by =
        GetCredentialsRequest { by: Some(get_credentials_request::By::Username("ada".to_owned())) };
    let token_version =
        store.client().get_credentials(call(by)).await.unwrap().into_inner().token_version;
    assert!(token_version > buyer.caller.token_version);
    let mut again = buyer.order_with_key(HOODIE, 1, "k");
    again.caller = Some(Caller { token_version, ..buyer.caller.clone() });
    assert_eq!(store.place(vec![again]).await.unwrap(), first);
    store.stop().await;
}

async fn assert_versions_differ(first: TestDatabase, second: TestDatabase) {
    let mut versions = BTreeSet::new();
    for test_database in [&first, &second] {
        merch_db::migrate(&test_database.url).await.unwrap();
        let connection = connect(&test_database.url).await;
        for row in rows(&connection, "SELECT id, version FROM products").await {
            let product =
                (row.try_get_by::<i32, _>(0).unwrap(), row.try_get_by::<i64, _>(1).unwrap());
            assert!(versions.insert(product), "{product:?} is in both");
        }
        connection.close().await.unwrap();
    }
    assert_eq!(versions.len(), 6);
}

#[tokio::test]
async fn product_versions_differ_between_databases_on_sqlite() {
    assert_versions_differ(TestDatabase::empty_sqlite(), TestDatabase::empty_sqlite()).await;
}

#[tokio::test]
async fn product_versions_differ_between_databases_on_postgres() {
    assert_versions_differ(
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_postgres().await,
    )
    .await;
}
