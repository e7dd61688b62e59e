//! The limits on a user's writes.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use merch_api::Rate;
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Api, PASSWORD, TestResponse, eventually, not_placed, order, placed, until};

/// All data writes of a user.
fn writes(user: Uuid) -> [(Method, String, Option<serde_json::Value>); 3] {
    let order = format!("/orders/{}/cancel", Uuid::now_v7());
    [
        (Method::POST, "/orders".to_owned(), Some(json!({ "product_id": 1, "quantity": 1 }))),
        (Method::POST, order, None),
        (Method::PATCH, format!("/users/{user}"), Some(json!({ "email": "new@example.com" }))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_in_flight_limit_one_user() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let (alice, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let (alice_token, bob_token) = (api.token(alice).await, api.token(bob).await);
    // The db service never responds to the orders of Alice.
    api.db.place_orders.returns_async(move |request| async move {
        let caller = request.orders[0].caller.clone().unwrap_or_default();
        if caller.user_id == alice.to_string() {
            std::future::pending::<()>().await;
        }
        Ok(placed(order(bob)))
    });
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    let mut in_flight = JoinSet::new();
    for _ in 0..2 {
        let request =
            api.request(Method::POST, "/orders").bearer_auth(&alice_token).json(&purchase);
        in_flight.spawn(async move { TestResponse::of(request).await });
    }
    eventually("both orders are in flight", || api.db.place_orders.calls() == 2).await;

    for (method, path, body) in writes(alice) {
        let request = api.request(method.clone(), &path).bearer_auth(&alice_token);
        let response = TestResponse::of(match &body {
            Some(body) => request.json(body),
            None => request,
        });
        let response = response.await;
        assert_eq!(response.status, 429, "{method} {path}: {response:?}");
        response.assert_problem(429, "too_many_writes");
    }
    assert_eq!(api.db.place_orders.calls(), 2, "refused requests do not reach the db service");
    assert_eq!(
        api.send_as(&bob_token, Method::POST, "/orders", purchase.clone()).await.status,
        201
    );
    api.db.get_order.fails_with(Code::NotFound, ErrorReason::OrderNotFound);
    assert_eq!(
        api.get_as(&alice_token, &format!("/orders/{}", Uuid::now_v7())).await.status,
        404,
        "reads are not limited"
    );

    // Orders in flight, perhaps with a stolen token, must not prevent the user from revoking it.
    api.db.has_user(alice, PASSWORD);
    let passwords =
        json!({ "current_password": PASSWORD, "new_password": "another horse battery" });
    api.db.change_password.fails_with(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let change = api
        .request(Method::PUT, &format!("/users/{alice}/password"))
        .bearer_auth(&alice_token)
        .json(&passwords);
    TestResponse::of(change).await.assert_problem(503, "unavailable");
    api.db.deactivate_user.fails_with(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let deactivate =
        api.request(Method::DELETE, &format!("/users/{alice}")).bearer_auth(&alice_token);
    TestResponse::of(deactivate).await.assert_problem(503, "unavailable");
    api.db.revoke_tokens.fails_with(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let log_out = api.request(Method::POST, "/logout").bearer_auth(&alice_token);
    TestResponse::of(log_out).await.assert_problem(503, "unavailable");

    // A disconnected client releases its permits.
    in_flight.shutdown().await;
    api.db.cancel_order.fails_with(Code::NotFound, ErrorReason::OrderNotFound);
    until("a permit is free again", async || {
        let cancel = format!("/orders/{}/cancel", Uuid::now_v7());
        api.send_as(&alice_token, Method::POST, &cancel, json!({})).await.status != 429
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_rate_limits_one_user() {
    let rate = Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(3600));
    let api = Api::start_with(|config| config.write_rate = rate).await;
    let (alice, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let (alice_token, bob_token) = (api.token(alice).await, api.token(bob).await);
    api.db.place_orders.returns(move |_| Ok(placed(order(alice))));
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    for _ in 0..2 {
        assert_eq!(
            api.send_as(&alice_token, Method::POST, "/orders", purchase.clone()).await.status,
            201
        );
    }
    for (method, path, body) in writes(alice) {
        let response =
            api.send_as(&alice_token, method, &path, body.unwrap_or_else(|| json!({}))).await;
        response.assert_problem(429, "too_many_writes");
        let seconds: u32 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    }
    assert_eq!(api.db.place_orders.calls(), 2, "refused requests do not reach the db service");
    assert_eq!(api.send_as(&bob_token, Method::POST, "/orders", purchase).await.status, 201);
    api.db.revoke_tokens.returns(|_| Ok(proto::RevokeTokensResponse {}));
    let log_out =
        TestResponse::of(api.request(Method::POST, "/logout").bearer_auth(&alice_token)).await;
    assert_eq!(log_out.status, 204, "a token can always be revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_outs_have_their_own_limit() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let alice = Uuid::now_v7();
    let token = api.token(alice).await;
    api.db.revoke_tokens.returns_async(|_| std::future::pending());
    let mut in_flight = JoinSet::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/logout").bearer_auth(&token);
        in_flight.spawn(async move { TestResponse::of(request).await });
    }
    eventually("both log-outs are in flight", || api.db.revoke_tokens.calls() == 2).await;
    let log_out = || api.request(Method::POST, "/logout").bearer_auth(&token);
    TestResponse::of(log_out()).await.assert_problem(429, "too_many_writes");
    in_flight.shutdown().await;
}

/// A revoked token uses no permit of its owner, and at most one statement of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_uses_no_permit_of_its_owner() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let alice = Uuid::now_v7();
    let stolen = api.token(alice).await;
    api.db.has_user_with_token_version(alice, PASSWORD, 2);
    let log_in = api.log_in("alice", PASSWORD).await;
    let fresh = log_in.json()["access_token"].as_str().unwrap().to_owned();
    let (release, released) = tokio::sync::watch::channel(false);
    api.db.place_orders.returns_async(move |request| {
        let mut released = released.clone();
        async move {
            if request.orders[0].caller.clone().unwrap_or_default().token_version == 2 {
                return Ok(placed(order(alice)));
            }
            released.wait_for(|released| *released).await.unwrap();
            Ok(not_placed(ErrorReason::TokenRevoked))
        }
    });
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    let mut in_flight = JoinSet::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/orders").bearer_auth(&stolen).json(&purchase);
        in_flight.spawn(async move { TestResponse::of(request).await });
    }
    eventually("the revoked token's orders are in flight", || api.db.place_orders.calls() == 2)
        .await;
    assert_eq!(api.send_as(&fresh, Method::POST, "/orders", purchase.clone()).await.status, 201);

    release.send(true).unwrap();
    for response in in_flight.join_all().await {
        response.assert_problem(401, "token_invalid");
    }
    let calls = api.db.place_orders.calls();
    let again = api.send_as(&stolen, Method::POST, "/orders", purchase.clone()).await;
    again.assert_problem(401, "token_invalid");
    assert_eq!(
        api.db.place_orders.calls(),
        calls,
        "a cached revoked token does not reach the db service"
    );
    let event = api.event_of(again.request_id()).await;
    assert_eq!(
        (event.event.as_str(), event.attributes["reason"].as_str()),
        ("token_refused", "revoked")
    );
    assert_eq!(event.subject, format!("user:{alice}"));
    assert_eq!(api.send_as(&fresh, Method::POST, "/orders", purchase).await.status, 201);
}

/// The db service limits the writes of a user across all api replicas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_limit_of_the_db_service_is_429() {
    let api = Api::start().await;
    let alice = Uuid::now_v7();
    let token = api.token(alice).await;
    api.db.cancel_order.fails_with(Code::ResourceExhausted, ErrorReason::TooManyWrites);
    let cancel = format!("/orders/{}/cancel", Uuid::now_v7());
    let response = TestResponse::of(api.request(Method::POST, &cancel).bearer_auth(&token)).await;
    response.assert_problem(429, "too_many_writes");
    assert_eq!(api.db.cancel_order.calls(), 1, "the call is not repeated");
    api.db.place_orders.returns(|_| Ok(not_placed(ErrorReason::TooManyWrites)));
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    api.send_as(&token, Method::POST, "/orders", purchase)
        .await
        .assert_problem(429, "too_many_writes");
}
