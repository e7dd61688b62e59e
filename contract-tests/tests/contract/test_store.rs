//! Tests that the test store detects unexpected events, missing events and wrong responses.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use merch_test_store::{Database, TestStore};

/// Runs a future and returns its panic message.
async fn panic_message(future: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(future).catch_unwind().await.expect_err("expected a panic");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

#[tokio::test]
async fn unexpected_events_fail_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    store.get("/orders").await.expect(401);
    let panic = panic_message(store.finish()).await;
    assert!(panic.contains("token_refused: expected 0, got 1"), "{panic}");
}

#[tokio::test]
async fn missing_events_fail_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    store.expect_events(["order_placed"]);
    let panic = panic_message(store.finish()).await;
    assert!(panic.contains("order_placed: expected 1, got 0"), "{panic}");
}

#[tokio::test]
async fn unfinished_stores_fail_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    let panic = panic_message(async move { drop(store) }).await;
    assert!(panic.contains("finish"), "{panic}");
}

#[tokio::test]
async fn unexpected_statuses_fail_with_the_response() {
    let store = TestStore::start(Database::Sqlite).await;
    let panic = panic_message(async { drop(store.get("/products/999").await.expect(200)) }).await;
    assert!(
        panic.contains("expected 200")
            && panic.contains("GET /products/999 -> 404")
            && panic.contains("product_not_found"),
        "{panic}"
    );
    let panic = panic_message(async {
        drop(store.get("/products/999").await.problem(404, "order_not_found"))
    })
    .await;
    assert!(panic.contains("expected 404 order_not_found"), "{panic}");
    store.finish().await;
}

#[tokio::test]
async fn parallel_stores_are_isolated() {
    let (one, other) =
        (TestStore::start(Database::Sqlite).await, TestStore::start(Database::Postgres).await);
    let alice = one.user().await;
    let name = serde_json::json!({ "username": alice.username, "password": merch_test_store::TestUser::PASSWORD });
    other.post("/login").json(&name).await.problem(401, "invalid_credentials");
    other.expect_events(["log_in_failed"]);
    one.finish().await;
    other.finish().await;
}
