//! Refusals that come as a flood, and events that wait too long.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Answer, Api, PASSWORD, eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refused_tokens_is_a_few_events_and_a_count_that_survives_the_shutdown() {
    let api = Api::start_with(|config| config.refusals.single_events = 3).await;
    for number in 0..200 {
        let request = api
            .request(Method::GET, "/orders")
            .bearer_auth("x")
            .header("x-request-id", format!("flood-{number}"));
        Answer::of(request).await.assert_problem(401, "token_invalid");
    }
    api.db.knows(Uuid::now_v7(), PASSWORD);
    // Another reason has events of its own, and so has another kind.
    for _ in 0..2 {
        Answer::of(api.request(Method::GET, "/orders")).await.assert_problem(401, "token_missing");
        api.log_in("unregistered", "wrong horse").await.assert_problem(401, "invalid_credentials");
    }
    // What was counted is journalled and shipped when the service stops.
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
    let told = ["event", "reason", "client_address", "count"].map(|name| attributes[name].as_str());
    assert_eq!(told, ["token_refused", "malformed", "127.0.0.1", "197"]);
    assert!(attributes["first_at"] <= attributes["last_at"], "{attributes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_too_long_make_the_service_degraded_and_it_serves_on() {
    let api = Api::start_with(|config| {
        config.logging_endpoint = "http://127.0.0.1:1".to_owned();
        config.event_age_limit = Duration::from_millis(300);
    })
    .await;
    assert_eq!(api.readiness.degraded(), [], "nothing waits");
    Answer::of(api.request(Method::GET, "/orders")).await.assert_problem(401, "token_missing");
    eventually("it is degraded", || !api.readiness.degraded().is_empty()).await;
    let reasons = api.readiness.degraded();
    assert_eq!(reasons[0].0, "events");
    assert!(reasons[0].1.starts_with("the oldest log event has waited for "), "{reasons:?}");
    let not_ready = api.readiness.check();
    assert!(not_ready.is_ok(), "a balancer goes on sending requests: {not_ready:?}");
    let answer =
        api.send_as("x", Method::POST, "/orders", json!({"product_id": 1, "quantity": 1})).await;
    answer.assert_problem(401, "token_invalid");
}
