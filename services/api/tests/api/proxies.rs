//! Trusted proxies: the client's address and the ids of a request.

use std::{num::NonZeroU32, time::Duration};

use merch_api::Rate;
use reqwest::Method;
use uuid::Uuid;

use crate::support::{Api, TestResponse};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Starts the service behind these proxies; the tests connect from 127.0.0.1.
async fn start_behind(proxies: &str) -> Api {
    let proxies = proxies.parse().unwrap();
    Api::start_with(|config| config.trusted_proxies = proxies).await
}

/// Sends a request without a token, with these values of `X-Forwarded-For`.
async fn refused(api: &Api, client: &[&str]) -> TestResponse {
    let mut request = api
        .request(Method::GET, "/orders")
        .header("x-request-id", "sent")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    for client in client {
        request = request.header("x-forwarded-for", *client);
    }
    TestResponse::of(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trusted_proxy_sets_client_address_and_ids() {
    for proxies in ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "localhost"] {
        let api = start_behind(proxies).await;
        let response = refused(&api, &["198.51.100.1", "203.0.113.8, 203.0.113.9"]).await;
        assert_eq!(response.request_id(), "sent", "{proxies}");
        let event = api.event_of("sent").await;
        assert_eq!(
            (event.attributes["client_address"].as_str(), event.trace_id.as_str()),
            ("203.0.113.9", TRACE),
            "{proxies}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_forwarded_for_falls_back_to_the_peer() {
    let api = start_behind("127.0.0.1").await;
    for client in [&[][..], &["unknown"], &["203.0.113.9, "], &["203.0.113.9", "256.0.0.1"]] {
        refused(&api, client).await.assert_problem(401, "token_missing");
    }
    crate::support::eventually("the events arrive", || api.received.events().len() == 4).await;
    for event in api.received.events() {
        assert_eq!(event.attributes["client_address"], "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn untrusted_peer_cannot_set_ids_or_address() {
    for proxies in ["192.0.2.0/24", "no-such-host.invalid", "::1"] {
        let api = start_behind(proxies).await;
        let response = refused(&api, &["203.0.113.9"]).await;
        let id = response.request_id().to_owned();
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7, "{proxies}");
        let event = api.event_of(&id).await;
        assert_eq!(
            (event.attributes["client_address"].as_str(), event.trace_id.as_str()),
            ("127.0.0.1", ""),
            "{proxies}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_proxies_the_peer_is_the_client() {
    let api = Api::start().await;
    assert_eq!(refused(&api, &["203.0.113.9"]).await.request_id(), "sent");
    assert_eq!(api.event_of("sent").await.attributes["client_address"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_behind_a_proxy_count_by_client() {
    let once = Rate::new(NonZeroU32::MIN, Duration::from_secs(3600));
    let proxies = "127.0.0.1".parse().unwrap();
    let api = Api::start_with(|config| {
        (config.log_ins_per_address, config.trusted_proxies) = (once, proxies)
    })
    .await;
    api.db.has_user(Uuid::now_v7(), "right");
    let try_from = async |client: &str| {
        let body = serde_json::json!({"username": "alice", "password": "wrong"});
        TestResponse::of(
            api.request(Method::POST, "/login").header("x-forwarded-for", client).json(&body),
        )
        .await
    };
    try_from("203.0.113.1").await.assert_problem(401, "invalid_credentials");
    try_from("203.0.113.2").await.assert_problem(401, "invalid_credentials");
    // The client sent the entries before the last one.
    try_from("203.0.113.3, 203.0.113.1").await.assert_problem(429, "too_many_attempts");
}
