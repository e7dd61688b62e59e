//! Logging in and passwords.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use merch_api::{Cost, Rate};
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason, get_credentials_request::By};
use reqwest::Method;
use serde_json::json;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use crate::support::{Answer, Api, PASSWORD, parts, user, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_password_gives_a_token() {
    let api = Api::start_with(|config| config.token_lifetime = Duration::from_secs(1234)).await;
    let id = Uuid::now_v7();
    api.db.knows(id, PASSWORD);
    api.db.record_log_in.answers(move |request| {
        assert_eq!(request.caller, Some(proto::Caller { user_id: id.to_string(), token_version: 1 }));
        assert_eq!(request.context.unwrap().request_id, "log-in-1");
        Ok(proto::RecordLogInResponse {})
    });
    let body = json!({"username": "alice", "password": PASSWORD});
    let answer = Answer::of(api.request(Method::POST, "/login").header("x-request-id", "log-in-1").json(&body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    assert_eq!((&json["token_type"], &json["expires_in"], &json["user_id"]), (&json!("Bearer"), &json!(1234), &json!(id)));
    let (_, claims) = parts(json["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], json!(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_is_one_and_the_same_answer() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    api.db.knows(id, PASSWORD);
    let wrong = api.log_in("alice", "wrong horse").await;
    let unknown = api.log_in("bob", PASSWORD).await;
    api.db.record_log_in.refuses(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked);
    let overtaken = api.log_in("alice", PASSWORD).await;

    let mut bodies = Vec::new();
    for (answer, reason, subject) in [
        (&wrong, "wrong_password", format!("user:{id}")),
        (&unknown, "unknown_user", String::new()),
        (&overtaken, "changed_meanwhile", format!("user:{id}")),
    ] {
        answer.assert_problem(401, "invalid_credentials");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let event = api.event_of(answer.request_id()).await;
        assert_eq!((event.event.as_str(), event.attributes["reason"].as_str(), event.subject), ("log_in_failed", reason, subject));
        assert!(!event.attributes.values().any(|value| value.contains("alice") || value.contains("bob")));
        let mut body = answer.json();
        body["request_id"] = json!("");
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_limited_for_an_address() {
    let api = Api::start_with(|config| {
        config.log_ins_per_address = Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(90));
    })
    .await;
    api.db.knows(Uuid::now_v7(), PASSWORD);
    for name in ["bob", "carol"] {
        assert_eq!(api.log_in(name, "wrong").await.status, 401);
    }
    let limited = api.log_in("alice", PASSWORD).await;
    limited.assert_problem(429, "too_many_attempts");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((80..=90).contains(&wait), "{wait}");
    assert_eq!(api.db.get_credentials.calls(), 2, "who is limited costs nothing, and counts for no account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_tried_too_often_is_429() {
    let api = Api::start().await;
    api.db.get_credentials.answers(|request| {
        assert!(matches!(request.by, Some(By::Username(name)) if name == "Alice"));
        let mut details =
            ErrorDetails::with_error_info("ERROR_REASON_TOO_MANY_LOG_INS", "assistant.merch", HashMap::<String, String>::new());
        details.set_retry_info(Some(Duration::from_millis(5_250)));
        Err(Status::with_error_details(tonic::Code::ResourceExhausted, "too often", details))
    });
    let limited = api.log_in("Alice", PASSWORD).await;
    limited.assert_problem(429, "too_many_attempts");
    assert_eq!(limited.header("retry-after"), Some("6"));
    assert_eq!(api.db.record_log_in.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_bound_of_hashes_is_503_and_places_come_back() {
    // One hash takes a good while in a build for tests, and nobody may wait.
    let api = Api::start_with(|config| (config.hash_cost, config.hashes_at_once, config.hashes_waiting) = (Cost::default(), 1, 0)).await;
    api.db.knows(Uuid::now_v7(), PASSWORD);
    let many = futures_util::future::join_all((0..8).map(|_| api.log_in("bob", "wrong"))).await;
    let (refused, judged): (Vec<_>, Vec<_>) = many.into_iter().partition(|answer| answer.status == 503);
    assert!(!refused.is_empty() && !judged.is_empty());
    refused.iter().for_each(|answer| answer.assert_problem(503, "unavailable"));
    judged.iter().for_each(|answer| answer.assert_problem(401, "invalid_credentials"));
    within("a place is free again", async {
        while api.log_in("alice", PASSWORD).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_sends_a_hash_and_never_the_password() {
    let api = Api::start_with(|config| config.hash_cost = Cost::default()).await;
    let id = Uuid::now_v7();
    api.db.create_user.answers(move |request| {
        assert!(request.password_hash.starts_with("$scrypt$ln=17,r=8,p=1$"), "{}", request.password_hash);
        assert!(!format!("{request:?}").contains(PASSWORD));
        assert_eq!(request.context.unwrap().trace_id, "0af7651916cd43dd8448eb211c80319c");
        Ok(proto::CreateUserResponse { user: Some(user(id, 1)) })
    });
    let body = json!({"sid": "12110301", "username": "alice", "email": "alice@mail.example.com", "password": PASSWORD});
    let request = api.request(Method::POST, "/users").header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let answer = Answer::of(request.json(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!((answer.header("location"), answer.header("etag")), (Some(format!("/users/{id}").as_str()), Some("\"1\"")));
    assert_eq!(answer.json()["created_at"], "2026-11-22T08:00:00.12Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_wants_the_current_one() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let path = format!("/users/{id}/password");
    let change = |current: &str| json!({"current_password": current, "new_password": "a much longer battery staple"});
    api.db.change_password.answers(move |request| {
        assert!(request.password_hash.starts_with("$scrypt$"));
        assert_eq!((request.user_id, request.caller.unwrap().token_version), (id.to_string(), 1));
        Ok(proto::ChangePasswordResponse {})
    });

    let wrong = api.send_as(&token, Method::PUT, &path, change("wrong horse")).await;
    wrong.assert_problem(403, "wrong_password");
    let event = api.event_of(wrong.request_id()).await;
    assert_eq!((event.event.as_str(), event.actor, event.subject), ("password_refused", format!("user:{id}"), format!("user:{id}")));
    assert_eq!(api.db.change_password.calls(), 0);

    let right = api.send_as(&token, Method::PUT, &path, change(PASSWORD)).await;
    assert_eq!((right.status, right.body.len()), (204, 0));
    assert_eq!(api.db.change_password.calls(), 1);

    let other = format!("/users/{}/password", Uuid::now_v7());
    api.send_as(&token, Method::PUT, &other, change("wrong horse")).await.assert_problem(404, "user_not_found");
    api.db.get_credentials.answers(|request| {
        assert!(matches!(request.by, Some(By::Caller(_))));
        Err(crate::support::refusal(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked))
    });
    api.send_as(&token, Method::PUT, &other, change("wrong horse")).await.assert_problem(401, "token_invalid");
}
