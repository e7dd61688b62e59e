//! How many changes one user may have under way.

use std::num::NonZeroUsize;

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Answer, Api, eventually, order, placed, until};

/// Every operation of a user that changes something.
fn writes(user: Uuid) -> [(Method, String, Option<serde_json::Value>); 6] {
    let order = format!("/orders/{}/cancel", Uuid::now_v7());
    [
        (Method::POST, "/orders".to_owned(), Some(json!({ "product_id": 1, "quantity": 1 }))),
        (Method::POST, order, None),
        (Method::PATCH, format!("/users/{user}"), Some(json!({ "email": "new@example.com" }))),
        (
            Method::PUT,
            format!("/users/{user}/password"),
            Some(json!({ "current_password": "the old password", "new_password": "the new password" })),
        ),
        (Method::DELETE, format!("/users/{user}"), None),
        (Method::POST, "/logout".to_owned(), None),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_too_many_changes_under_way_is_429_and_holds_up_no_other() {
    let api = Api::start_with(|config| config.writes_per_user = NonZeroUsize::new(2).unwrap()).await;
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
    assert_eq!(api.get_as(&of_alice, &format!("/orders/{}", Uuid::now_v7())).await.status, 404, "reading is no change");

    // A client that goes away gives its places back.
    under_way.shutdown().await;
    api.db.cancel_order.refuses(Code::NotFound, ErrorReason::OrderNotFound);
    until("a place is free again", async || {
        let cancel = format!("/orders/{}/cancel", Uuid::now_v7());
        api.send_as(&of_alice, Method::POST, &cancel, json!({})).await.status != 429
    })
    .await;
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
    let refusal = proto::OrderRefusal { reason: ErrorReason::TooManyWrites.into(), message: String::new() };
    let result = proto::PlaceOrderResult { outcome: Some(proto::place_order_result::Outcome::Refusal(refusal)) };
    api.db.place_orders.answers(move |_| Ok(proto::PlaceOrdersResponse { results: vec![result.clone()] }));
    let purchase = json!({ "product_id": 1, "quantity": 1 });
    api.send_as(&token, Method::POST, "/orders", purchase).await.assert_problem(429, "too_many_writes");
}
