//! Floods of refusals, and events that wait too long.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Api, PASSWORD, TestResponse, eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_counts_are_shipped_at_shutdown() {
    let api = Api::start_with(|config| config.refusals.single_events = 3).await;
    for number in 0..200 {
        let request = api
            .request(Method::GET, "/orders")
            .bearer_auth("x")
            .header("x-request-id", format!("flood-{number}"));
        TestResponse::of(request).await.assert_problem(401, "token_invalid");
    }
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    // Other reasons and kinds have their own events.
    for _ in 0..2 {
        TestResponse::of(api.request(Method::GET, "/orders"))
            .await
            .assert_problem(401, "token_missing");
        api.log_in("unregistered", "wrong horse").await.assert_problem(401, "invalid_credentials");
    }
    // Counts are written and shipped at the shutdown.
    api.shutdown.cancel();
    within("the service stops", api.serving).await.unwrap();
    let events = api.received.events();
    let count = |word: &str, reason: &str| {
        events
            .iter()
            .filter(|event| event.event == word && event.attributes["reason"] == reason)
            .count()
    };
    assert_eq!(count("token_refused", "malformed"), 3);
    assert_eq!(count("token_refused", "missing"), 2);
    assert_eq!(count("log_in_failed", "unknown_user"), 2);
    let first: Vec<_> = events.iter().take(3).map(|event| event.request_id.as_str()).collect();
    assert_eq!(first, ["flood-0", "flood-1", "flood-2"], "the first ones");
    let summaries: Vec<_> =
        events.iter().filter(|event| event.event == "refusals_summarised").collect();
    assert_eq!(summaries.len(), 1, "{summaries:?}");
    let attributes = &summaries[0].attributes;
    let values =
        ["event", "reason", "client_address", "count"].map(|name| attributes[name].as_str());
    assert_eq!(values, ["token_refused", "malformed", "127.0.0.1", "197"]);
    assert!(attributes["first_at"] <= attributes["last_at"], "{attributes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_degrade_the_service() {
    let api = Api::start_with(|config| {
        config.logging_endpoint = "http://127.0.0.1:1".to_owned();
        config.event_age_limit = Duration::from_millis(300);
    })
    .await;
    assert_eq!(api.readiness.degraded(), [], "nothing waits");
    TestResponse::of(api.request(Method::GET, "/orders"))
        .await
        .assert_problem(401, "token_missing");
    eventually("the service is degraded", || !api.readiness.degraded().is_empty()).await;
    let reasons = api.readiness.degraded();
    assert_eq!(reasons[0].0, "events");
    assert!(reasons[0].1.starts_with("the oldest log event has waited for "), "{reasons:?}");
    let not_ready = api.readiness.check();
    assert!(not_ready.is_ok(), "the service stays ready: {not_ready:?}");
    let response =
        api.send_as("x", Method::POST, "/orders", json!({"product_id": 1, "quantity": 1})).await;
    response.assert_problem(401, "token_invalid");
}
