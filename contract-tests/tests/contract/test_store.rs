//! The test store itself: what it claims to notice, it notices.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use merch_test_store::{Database, TestStore};

/// Runs to its end or its panic, and gives the panic's words.
async fn panic_of(future: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(future).catch_unwind().await.expect_err("it should have panicked");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

#[tokio::test]
async fn an_event_that_was_not_expected_fails_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    store.get("/orders").await.expect(401);
    let panic = panic_of(store.finish()).await;
    assert!(panic.contains("token_refused: expected 0, came 1"), "{panic}");
}

#[tokio::test]
async fn an_event_that_did_not_come_fails_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    store.expect_events(["order_placed"]);
    let panic = panic_of(store.finish()).await;
    assert!(panic.contains("order_placed: expected 1, came 0"), "{panic}");
}

#[tokio::test]
async fn a_store_that_is_not_finished_fails_the_test() {
    let store = TestStore::start(Database::Sqlite).await;
    let panic = panic_of(async move { drop(store) }).await;
    assert!(panic.contains("finish"), "{panic}");
}

#[tokio::test]
async fn an_answer_with_another_status_fails_the_test_and_is_shown() {
    let store = TestStore::start(Database::Sqlite).await;
    let panic = panic_of(async { drop(store.get("/products/999").await.expect(200)) }).await;
    assert!(
        panic.contains("expected 200")
            && panic.contains("GET /products/999 -> 404")
            && panic.contains("product_not_found"),
        "{panic}"
    );
    let panic =
        panic_of(async { drop(store.get("/products/999").await.problem(404, "order_not_found")) })
            .await;
    assert!(panic.contains("expected 404 order_not_found"), "{panic}");
    store.finish().await;
}

#[tokio::test]
async fn two_stores_at_once_have_nothing_in_common() {
    let (one, other) =
        (TestStore::start(Database::Sqlite).await, TestStore::start(Database::Postgres).await);
    let alice = one.user().await;
    let name = serde_json::json!({ "username": alice.username, "password": merch_test_store::TestUser::PASSWORD });
    other.post("/login").json(&name).await.problem(401, "invalid_credentials");
    other.expect_events(["log_in_failed"]);
    one.finish().await;
    other.finish().await;
}
