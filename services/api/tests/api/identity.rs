//! Log-in, registration and password changes.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use merch_api::{Config, Cost, Rate};
use merch_contract::grpc::assistant::v1::{
    self as proto, ErrorReason, begin_password_check_request::By,
};
use reqwest::Method;
use serde_json::json;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use crate::support::{
    Api, PASSWORD, RESERVATION, TestResponse, eventually, hash, parts, user, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn correct_password_returns_a_token() {
    let api = Api::start_with(|config| config.token_lifetime = Duration::from_secs(1234)).await;
    let id = Uuid::now_v7();
    api.db.has_user(id, PASSWORD);
    api.db.record_log_in.returns(move |request| {
        assert_eq!(
            request.caller,
            Some(proto::Caller { user_id: id.to_string(), token_version: 1 })
        );
        assert_eq!(request.context.unwrap().request_id, "log-in-1");
        Ok(proto::RecordLogInResponse {})
    });
    let body = json!({"username": "alice", "password": PASSWORD});
    let response = TestResponse::of(
        api.request(Method::POST, "/login").header("x-request-id", "log-in-1").json(&body),
    )
    .await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let json = response.json();
    assert_eq!(
        (&json["token_type"], &json["expires_in"], &json["user_id"]),
        (&json!("Bearer"), &json!(1234), &json!(id))
    );
    let (_, claims) = parts(json["access_token"].as_str().unwrap());
    assert_eq!(claims["sub"], json!(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_log_ins_have_the_same_response() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    api.db.has_user(id, PASSWORD);
    let wrong = api.log_in("alice", "wrong horse").await;
    let unknown = api.log_in("bob", PASSWORD).await;
    api.db.record_log_in.fails_with(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked);
    let changed = api.log_in("alice", PASSWORD).await;

    let mut bodies = Vec::new();
    for (response, reason, subject) in [
        (&wrong, "wrong_password", format!("user:{id}")),
        (&unknown, "unknown_user", String::new()),
        (&changed, "changed_meanwhile", format!("user:{id}")),
    ] {
        response.assert_problem(401, "invalid_credentials");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        let event = api.event_of(response.request_id()).await;
        assert_eq!(
            (event.event.as_str(), event.attributes["reason"].as_str(), event.subject),
            ("log_in_failed", reason, subject)
        );
        assert!(
            !event
                .attributes
                .values()
                .any(|value| value.contains("alice") || value.contains("bob"))
        );
        let mut body = response.json();
        body["request_id"] = json!("");
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_are_limited_by_client_address() {
    let api = Api::start_with(|config| {
        config.log_ins_per_address =
            Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(90));
    })
    .await;
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    for name in ["bob", "carol"] {
        assert_eq!(api.log_in(name, "wrong").await.status, 401);
    }
    let limited = api.log_in("alice", PASSWORD).await;
    limited.assert_problem(429, "too_many_attempts");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((80..=90).contains(&wait), "{wait}");
    assert_eq!(
        api.db.begin_password_check.calls(),
        2,
        "a limited request draws from no account's budget"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_limit_of_the_db_service_is_429() {
    let api = Api::start().await;
    api.db.begin_password_check.returns(|request| {
        assert!(matches!(request.by, Some(By::Username(name)) if name == "Alice"));
        Err(account_limit_status())
    });
    let limited = api.log_in("Alice", PASSWORD).await;
    limited.assert_problem(429, "too_many_attempts");
    assert_eq!(limited.header("retry-after"), Some("6"));
    assert_eq!(api.db.record_log_in.calls(), 0);
}

/// One hash runs and none waits; a hash is slow in a debug build.
fn single_hash(config: &mut Config) {
    (config.hash_cost, config.hash_concurrency, config.hash_queue_capacity) =
        (Cost::default(), 1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_hash_queue_is_503_until_a_slot_is_free() {
    let api = Api::start_with(single_hash).await;
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    let many = futures_util::future::join_all((0..8).map(|_| api.log_in("bob", "wrong"))).await;
    let (refused, hashed): (Vec<_>, Vec<_>) =
        many.into_iter().partition(|response| response.status == 503);
    assert!(!refused.is_empty() && !hashed.is_empty());
    refused.iter().for_each(|response| response.assert_problem(503, "unavailable"));
    hashed.iter().for_each(|response| response.assert_problem(401, "invalid_credentials"));
    within("a slot is free again", async {
        while api.log_in("alice", PASSWORD).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_sends_a_hash_instead_of_the_password() {
    let api = Api::start_with(|config| config.hash_cost = Cost::default()).await;
    let id = Uuid::now_v7();
    api.db.create_user.returns(move |request| {
        assert!(
            request.password_hash.starts_with("$scrypt$ln=17,r=8,p=1$"),
            "{}",
            request.password_hash
        );
        assert!(!format!("{request:?}").contains(PASSWORD));
        assert_eq!(request.context.unwrap().trace_id, "0af7651916cd43dd8448eb211c80319c");
        Ok(proto::CreateUserResponse { user: Some(user(id, 1)) })
    });
    let body = json!({"sid": "12110301", "username": "alice", "email": "alice@mail.example.com", "password": PASSWORD});
    let request = api
        .request(Method::POST, "/users")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let response = TestResponse::of(request.json(&body)).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(
        (response.header("location"), response.header("etag")),
        (Some(format!("/users/{id}").as_str()), Some("\"1\""))
    );
    assert_eq!(response.json()["created_at"], "2026-11-22T08:00:00.12Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_password_requires_the_current_one() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let path = format!("/users/{id}/password");
    let change = |current: &str| json!({"current_password": current, "new_password": "a much longer battery staple"});
    api.db.change_password.returns(move |request| {
        assert!(request.password_hash.starts_with("$scrypt$"));
        assert_eq!((request.user_id, request.caller.unwrap().token_version), (id.to_string(), 1));
        Ok(proto::ChangePasswordResponse {})
    });

    let wrong = api.send_as(&token, Method::PUT, &path, change("wrong horse")).await;
    wrong.assert_problem(403, "wrong_password");
    let event = api.event_of(wrong.request_id()).await;
    assert_eq!(
        (event.event.as_str(), event.actor, event.subject),
        ("password_refused", format!("user:{id}"), format!("user:{id}"))
    );
    assert_eq!(api.db.change_password.calls(), 0);

    let right = api.send_as(&token, Method::PUT, &path, change(PASSWORD)).await;
    assert_eq!((right.status, right.body.len()), (204, 0));
    assert_eq!(api.db.change_password.calls(), 1);

    let other = format!("/users/{}/password", Uuid::now_v7());
    api.send_as(&token, Method::PUT, &other, change("wrong horse"))
        .await
        .assert_problem(404, "user_not_found");
    api.db.get_user.fails_with(tonic::Code::Unauthenticated, ErrorReason::TokenRevoked);
    api.send_as(&token, Method::PUT, &other, change("wrong horse"))
        .await
        .assert_problem(401, "token_invalid");
}

/// RESOURCE_EXHAUSTED with a retry delay, as the db service sends it.
fn account_limit_status() -> Status {
    let reason = "ERROR_REASON_TOO_MANY_LOG_INS";
    let details = HashMap::<String, String>::new();
    let mut details = ErrorDetails::with_error_info(reason, "assistant.merch", details);
    details.set_retry_info(Some(Duration::from_millis(5_250)));
    Status::with_error_details(tonic::Code::ResourceExhausted, "too often", details)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_change_uses_the_account_budget() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let path = format!("/users/{id}/password");
    let change =
        json!({"current_password": PASSWORD, "new_password": "a much longer battery staple"});
    api.db.begin_password_check.returns(|request| {
        assert!(matches!(request.by, Some(By::Caller(_))));
        assert_eq!(request.client_network, "127.0.0.1");
        Err(account_limit_status())
    });
    let limited = api.send_as(&token, Method::PUT, &path, change.clone()).await;
    limited.assert_problem(429, "too_many_attempts");
    assert_eq!(limited.header("retry-after"), Some("6"));
    assert_eq!(api.db.change_password.calls(), 0);

    api.db.has_user(id, PASSWORD);
    api.db.change_password.returns(|request| {
        assert_eq!(request.reservation, RESERVATION.to_vec());
        assert_eq!(request.client_network, "127.0.0.1");
        Ok(proto::ChangePasswordResponse {})
    });
    assert_eq!(api.send_as(&token, Method::PUT, &path, change).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_correct_password_returns_its_reservation() {
    let api = Api::start().await;
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    api.db.record_log_in.returns(|request| {
        assert_eq!(request.reservation, RESERVATION.to_vec());
        assert_eq!(
            (request.client_network.as_str(), request.renewed_hash.as_str()),
            ("127.0.0.1", "")
        );
        Ok(proto::RecordLogInResponse {})
    });
    assert_eq!(api.log_in("alice", PASSWORD).await.status, 200);
    for name in ["alice", "bob"] {
        api.log_in(name, "wrong").await.assert_problem(401, "invalid_credentials");
    }
    assert_eq!((api.db.record_log_in.calls(), api.db.cancel_password_check.calls()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_hash_cancels_its_reservation() {
    let api = Api::start().await;
    // The stored hash is invalid, so that hashing fails.
    api.db.has_user_with_hash(Uuid::now_v7(), "$scrypt$nonsense", 1);
    api.db.cancel_password_check.returns(|request| {
        assert_eq!(request.reservation, RESERVATION.to_vec());
        Ok(proto::CancelPasswordCheckResponse {})
    });
    api.log_in("alice", PASSWORD).await.assert_problem(500, "internal_error");
    assert_eq!(api.db.cancel_password_check.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_without_a_slot_reserves_no_check() {
    let api = Api::start_with(single_hash).await;
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    let many = futures_util::future::join_all((0..8).map(|_| api.log_in("bob", "wrong"))).await;
    let rejected = many.iter().filter(|response| response.status == 503).count();
    assert!(rejected > 0);
    assert_eq!(api.db.begin_password_check.calls(), 8 - rejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_log_in_is_still_hashed() {
    let api = Api::start().await;
    let response = api.db.has_no_user_after_signal();
    let body = json!({"username": "bob", "password": "wrong"});
    let request = api.request(Method::POST, "/login").header("x-request-id", "gone").json(&body);
    let client = tokio::spawn(request.send());
    eventually("the check is reserved", || api.db.begin_password_check.calls() == 1).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    response.send(true).unwrap();
    // The password was still hashed, and its refusal logged.
    assert_eq!(api.event_of("gone").await.event, "log_in_failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_rehashes_a_hash_of_another_cost() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    for (stored, renewed) in [(hash(PASSWORD, 3), true), (hash(PASSWORD, 1), false)] {
        api.db.has_user_with_hash(id, &stored, 3);
        api.db.record_log_in.returns(move |request| {
            let is_new = request.renewed_hash.starts_with("$scrypt$ln=1,r=1,p=1$");
            assert_eq!((is_new, request.renewed_hash.is_empty()), (renewed, !renewed));
            assert_ne!(request.renewed_hash, stored);
            Ok(proto::RecordLogInResponse {})
        });
        api.log_in("alice", "wrong").await.assert_problem(401, "invalid_credentials");
        assert_eq!(api.log_in("alice", PASSWORD).await.status, 200);
    }
}

fn registration(password: &str) -> serde_json::Value {
    json!({"sid": "12110301", "username": "alice.liddell", "email": "alice@mail.example.com", "password": password})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_with_taken_names_are_not_hashed() {
    let api = Api::start_with(single_hash).await;
    api.db.check_availability.fails_with(tonic::Code::AlreadyExists, ErrorReason::UsernameTaken);
    let register =
        || TestResponse::of(api.request(Method::POST, "/users").json(&registration(PASSWORD)));
    for response in futures_util::future::join_all((0..30).map(|_| register())).await {
        response.assert_problem(409, "username_taken");
    }
    for password in ["password1", "12110301", "ALICE.liddell", "alice@mail.example.com"] {
        let response =
            TestResponse::of(api.request(Method::POST, "/users").json(&registration(password)))
                .await;
        response.assert_problem(422, "guessable_password");
    }
    assert_eq!((api.db.check_availability.calls(), api.db.create_user.calls()), (30, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessable_new_password_reserves_no_check() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let checks = api.db.begin_password_check.calls();
    for new in ["iloveyou1", "12110301", "alice@mail.example.com"] {
        let change = json!({"current_password": PASSWORD, "new_password": new});
        let response =
            api.send_as(&token, Method::PUT, &format!("/users/{id}/password"), change).await;
        response.assert_problem(422, "guessable_password");
    }
    assert_eq!(api.db.begin_password_check.calls(), checks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_are_limited_by_client_address() {
    let api = Api::start_with(|config| {
        config.registrations_per_address =
            Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(90));
    })
    .await;
    api.db.check_availability.fails_with(tonic::Code::AlreadyExists, ErrorReason::UsernameTaken);
    let register = async || {
        TestResponse::of(api.request(Method::POST, "/users").json(&registration(PASSWORD))).await
    };
    for _ in 0..2 {
        register().await.assert_problem(409, "username_taken");
    }
    let limited = register().await;
    limited.assert_problem(429, "too_many_attempts");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((80..=90).contains(&wait), "{wait}");
    assert_eq!(api.db.check_availability.calls(), 2);
    // Log-ins have their own rate.
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    assert_eq!(api.log_in("alice", PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_and_password_changes_are_limited_by_address() {
    let rate = Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(90));
    let api = Api::start_with(|config| {
        config.log_ins_per_address = rate;
        config.registrations_per_address = rate;
    })
    .await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    // Each response reveals whether the name is taken.
    api.db.update_user.fails_with(tonic::Code::AlreadyExists, ErrorReason::UsernameTaken);
    let rename = async || {
        api.send_as(&token, Method::PATCH, &format!("/users/{id}"), json!({ "username": "bob" }))
            .await
    };
    for _ in 0..2 {
        rename().await.assert_problem(409, "username_taken");
    }
    rename().await.assert_problem(429, "too_many_attempts");
    assert_eq!(api.db.update_user.calls(), 2);

    let passwords =
        json!({ "current_password": "wrong horse", "new_password": "another horse battery" });
    let change = async || {
        api.send_as(&token, Method::PUT, &format!("/users/{id}/password"), passwords.clone()).await
    };
    for _ in 0..2 {
        change().await.assert_problem(403, "wrong_password");
    }
    change().await.assert_problem(429, "too_many_attempts");
}
