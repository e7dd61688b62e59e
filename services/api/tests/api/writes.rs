//! How many changes one user may have under way.

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

use crate::support::{Answer, Api, PASSWORD, eventually, not_placed, order, placed, until};

/// Every operation of a user that changes data.
fn writes(user: Uuid) -> [(Method, String, Option<serde_json::Value>); 3] {
    let order = format!("/orders/{}/cancel", Uuid::now_v7());
    [
        (Method::POST, "/orders".to_owned(), Some(json!({ "product_id": 1, "quantity": 1 }))),
        (Method::POST, order, None),
        (Method::PATCH, format!("/users/{user}"), Some(json!({ "email": "new@example.com" }))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_too_many_changes_under_way_is_429_and_holds_up_no_other() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let (alice, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let (of_alice, of_bob) = (api.token(alice).await, api.token(bob).await);
    // The db service takes its time with the orders of Alice.
    api.db.place_orders.answers_later(move |request| async move {
        let caller = request.orders[0].caller.clone().unwrap_or_default();
        if caller.user_id == alice.to_string() {
            std::future::pending::<()>().await;
        }
        Ok(placed(order(bob)))
    });
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    let mut under_way = JoinSet::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/orders").bearer_auth(&of_alice).json(&purchase);
        under_way.spawn(async move { Answer::of(request).await });
    }
    eventually("both orders are under way", || api.db.place_orders.calls() == 2).await;

    for (method, path, body) in writes(alice) {
        let request = api.request(method.clone(), &path).bearer_auth(&of_alice);
        let answer = Answer::of(match &body {
            Some(body) => request.json(body),
            None => request,
        });
        let answer = answer.await;
        assert_eq!(answer.status, 429, "{method} {path}: {answer:?}");
        answer.assert_problem(429, "too_many_writes");
    }
    assert_eq!(api.db.place_orders.calls(), 2, "what is refused does not reach the db service");
    assert_eq!(api.send_as(&of_bob, Method::POST, "/orders", purchase.clone()).await.status, 201);
    api.db.get_order.refuses(Code::NotFound, ErrorReason::OrderNotFound);
    assert_eq!(
        api.get_as(&of_alice, &format!("/orders/{}", Uuid::now_v7())).await.status,
        404,
        "reading is no change"
    );

    // Orders that are under way, perhaps a thief's, do not keep the user from voiding the token.
    api.db.knows(alice, PASSWORD);
    let passwords =
        json!({ "current_password": PASSWORD, "new_password": "another horse battery" });
    api.db.change_password.refuses(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let change = api
        .request(Method::PUT, &format!("/users/{alice}/password"))
        .bearer_auth(&of_alice)
        .json(&passwords);
    Answer::of(change).await.assert_problem(503, "unavailable");
    api.db.deactivate_user.refuses(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let deactivate = api.request(Method::DELETE, &format!("/users/{alice}")).bearer_auth(&of_alice);
    Answer::of(deactivate).await.assert_problem(503, "unavailable");
    api.db.revoke_tokens.refuses(Code::Unavailable, ErrorReason::DatabaseUnavailable);
    let log_out = api.request(Method::POST, "/logout").bearer_auth(&of_alice);
    Answer::of(log_out).await.assert_problem(503, "unavailable");

    // A client that goes away gives its places back.
    under_way.shutdown().await;
    api.db.cancel_order.refuses(Code::NotFound, ErrorReason::OrderNotFound);
    until("a place is free again", async || {
        let cancel = format!("/orders/{}/cancel", Uuid::now_v7());
        api.send_as(&of_alice, Method::POST, &cancel, json!({})).await.status != 429
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_too_many_changes_a_minute_is_429_and_no_other() {
    let rate = Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(3600));
    let api = Api::start_with(|config| config.write_rate = rate).await;
    let (alice, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let (of_alice, of_bob) = (api.token(alice).await, api.token(bob).await);
    api.db.place_orders.answers(move |_| Ok(placed(order(alice))));
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    for _ in 0..2 {
        assert_eq!(
            api.send_as(&of_alice, Method::POST, "/orders", purchase.clone()).await.status,
            201
        );
    }
    for (method, path, body) in writes(alice) {
        let answer = api.send_as(&of_alice, method, &path, body.unwrap_or_else(|| json!({}))).await;
        answer.assert_problem(429, "too_many_writes");
        let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    }
    assert_eq!(api.db.place_orders.calls(), 2, "what is refused does not reach the db service");
    assert_eq!(api.send_as(&of_bob, Method::POST, "/orders", purchase).await.status, 201);
    api.db.revoke_tokens.answers(|_| Ok(proto::RevokeTokensResponse {}));
    let log_out = Answer::of(api.request(Method::POST, "/logout").bearer_auth(&of_alice)).await;
    assert_eq!(log_out.status, 204, "a token can always be voided");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_outs_have_a_bound_of_their_own() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let alice = Uuid::now_v7();
    let token = api.token(alice).await;
    api.db.revoke_tokens.answers_later(|_| std::future::pending());
    let mut under_way = JoinSet::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/logout").bearer_auth(&token);
        under_way.spawn(async move { Answer::of(request).await });
    }
    eventually("both log-outs are under way", || api.db.revoke_tokens.calls() == 2).await;
    let log_out = || api.request(Method::POST, "/logout").bearer_auth(&token);
    Answer::of(log_out()).await.assert_problem(429, "too_many_writes");
    under_way.shutdown().await;
}

/// A token that was voided costs its owner no place, and the database no more than one statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_token_takes_no_place_of_its_owner() {
    let api =
        Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
    let alice = Uuid::now_v7();
    let stolen = api.token(alice).await;
    api.db.knows_version(alice, PASSWORD, 2);
    let log_in = api.log_in("alice", PASSWORD).await;
    let fresh = log_in.json()["access_token"].as_str().unwrap().to_owned();
    let (release, released) = tokio::sync::watch::channel(false);
    api.db.place_orders.answers_later(move |request| {
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
    let mut under_way = JoinSet::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/orders").bearer_auth(&stolen).json(&purchase);
        under_way.spawn(async move { Answer::of(request).await });
    }
    eventually("the void token's orders are under way", || api.db.place_orders.calls() == 2).await;
    assert_eq!(api.send_as(&fresh, Method::POST, "/orders", purchase.clone()).await.status, 201);

    release.send(true).unwrap();
    for answer in under_way.join_all().await {
        answer.assert_problem(401, "token_invalid");
    }
    let calls = api.db.place_orders.calls();
    let again = api.send_as(&stolen, Method::POST, "/orders", purchase.clone()).await;
    again.assert_problem(401, "token_invalid");
    assert_eq!(
        api.db.place_orders.calls(),
        calls,
        "a token that is known to be void does not reach the db service"
    );
    let event = api.event_of(again.request_id()).await;
    assert_eq!(
        (event.event.as_str(), event.attributes["reason"].as_str()),
        ("token_refused", "revoked")
    );
    assert_eq!(event.subject, format!("user:{alice}"));
    assert_eq!(api.send_as(&fresh, Method::POST, "/orders", purchase).await.status, 201);
}

/// The db service bounds the changes of a user over all replicas of the api.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_the_db_service_keeps_is_the_same_answer() {
    let api = Api::start().await;
    let alice = Uuid::now_v7();
    let token = api.token(alice).await;
    api.db.cancel_order.refuses(Code::ResourceExhausted, ErrorReason::TooManyWrites);
    let cancel = format!("/orders/{}/cancel", Uuid::now_v7());
    let answer = Answer::of(api.request(Method::POST, &cancel).bearer_auth(&token)).await;
    answer.assert_problem(429, "too_many_writes");
    assert_eq!(api.db.cancel_order.calls(), 1, "it is not tried elsewhere");
    api.db.place_orders.answers(|_| Ok(not_placed(ErrorReason::TooManyWrites)));
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    api.send_as(&token, Method::POST, "/orders", purchase)
        .await
        .assert_problem(429, "too_many_writes");
}
