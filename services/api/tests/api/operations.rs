//! The requests of each operation to the db service, and the responses that it makes of the
//! results. The contract tests cover the rest with a real db service.

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use pbjson_types::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, TestResponse, order, placed, product};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greeting_has_version_and_working_links() {
    let api = Api::start().await;
    let response = api.get("/").await;
    assert_eq!(response.status, 200);
    let document: Value = serde_json::from_slice(&api.get("/openapi.json").await.body).unwrap();
    assert_eq!(response.json()["version"], document["info"]["version"]);
    for link in response.json()["links"].as_object().unwrap().values() {
        assert_eq!(api.get(link.as_str().unwrap()).await.status, 200, "{link}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_order_has_the_same_response() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let first = order(id);
    let location = format!("/orders/{}", first.id);
    api.db.place_orders.returns(move |request| {
        let [order] = request.orders.as_slice() else { panic!("one order") };
        assert_eq!(
            (order.product_id, order.quantity, order.idempotency_key.as_str()),
            (1, 2, "a-key")
        );
        assert_eq!(order.caller, Some(proto::Caller { user_id: id.to_string(), token_version: 1 }));
        Ok(placed(first.clone()))
    });
    let place = || {
        let request = api
            .request(Method::POST, "/orders")
            .bearer_auth(&token)
            .header("idempotency-key", "a-key");
        TestResponse::of(request.json(&json!({"product_id": 1, "quantity": 2})))
    };
    let (first, again) = (place().await, place().await);
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(
        (first.header("location"), first.header("etag")),
        (Some(location.as_str()), Some("\"1\""))
    );
    let json = first.json();
    assert_eq!(
        (&json["total_price_cents"], &json["status"], &json["cancelled_at"]),
        (&json!(9998), &json!("placed"), &Value::Null)
    );
    assert!(json.get("cancelled_at").is_some(), "a required member is present, even if null");
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    let comparable = |response: &TestResponse| {
        let mut headers = response.headers.clone();
        headers.remove("date");
        headers.remove("x-request-id");
        headers
    };
    assert_eq!(comparable(&first), comparable(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_order_has_cancelled_at() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let cancelled = proto::Order {
        status: proto::OrderStatus::Cancelled.into(),
        cancelled_at: Some(Timestamp { seconds: 1_795_334_401, nanos: 0 }),
        version: 2,
        ..order(id)
    };
    let path = format!("/orders/{}/cancel", cancelled.id);
    api.db
        .cancel_order
        .returns(move |_| Ok(proto::CancelOrderResponse { order: Some(cancelled.clone()) }));
    let response = TestResponse::of(api.request(Method::POST, &path).bearer_auth(&token)).await;
    assert_eq!((response.status, response.header("etag")), (200, Some("\"2\"")));
    assert_eq!(
        (&response.json()["status"], &response.json()["cancelled_at"]),
        (&json!("cancelled"), &json!("2026-11-22T08:00:01Z"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_keep_items_and_tokens() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.list_products.returns(|request| {
        assert_eq!(
            (request.page_size, request.page_token.as_str(), request.category.as_deref()),
            (7, "t-1", Some("Apparel"))
        );
        Ok(proto::ListProductsResponse {
            products: vec![product(1)],
            next_page_token: "t-2".to_owned(),
        })
    });
    let page = api.get("/products?limit=7&page_token=t-1&category=Apparel").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-cache")));
    assert_eq!(
        (&page.json()["next_page"], page.json()["items"].as_array().unwrap().len()),
        (&json!("t-2"), 1)
    );

    api.db.list_orders.returns(move |request| {
        assert_eq!(
            (request.page_size, request.page_token.as_str(), request.status()),
            (20, "", proto::OrderStatus::Cancelled)
        );
        Ok(proto::ListOrdersResponse { orders: vec![], next_page_token: String::new() })
    });
    let page = api.get_as(&token, "/orders?status=cancelled").await;
    assert_eq!((page.status, page.json()), (200, json!({"items": [], "next_page": null})));

    api.db.list_products.fails_with(tonic::Code::InvalidArgument, ErrorReason::InvalidPageToken);
    let refused = api.get("/products?page_token=nonsense").await;
    refused.assert_problem(400, "invalid_request");
    let fault = &refused.json()["errors"][0];
    assert_eq!((&fault["in"], &fault["pointer"]), (&json!("query"), &json!("/page_token")));
    assert!(!refused.json().to_string().contains("nonsense"));

    api.db.list_products.returns(|_| panic!("an empty token was sent to the db service"));
    api.db.list_orders.returns(|_| panic!("an empty token was sent to the db service"));
    for path in ["/products?page_token=", "/orders?page_token="] {
        let refused = api.get_as(&token, path).await;
        refused.assert_problem(400, "invalid_request");
        let fault = &refused.json()["errors"][0];
        assert_eq!(
            (&fault["in"], &fault["pointer"]),
            (&json!("query"), &json!("/page_token")),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_out_and_deactivation_return_204() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.revoke_tokens.returns(|_| Ok(proto::RevokeTokensResponse {}));
    api.db.deactivate_user.returns(move |request| {
        assert_eq!(request.user_id, id.to_string());
        Ok(proto::DeactivateUserResponse {})
    });
    for request in
        [api.request(Method::POST, "/logout"), api.request(Method::DELETE, &format!("/users/{id}"))]
    {
        let response = TestResponse::of(request.bearer_auth(&token)).await;
        assert_eq!((response.status, response.body.len()), (204, 0), "{response:?}");
    }
    api.db.deactivate_user.fails_with(tonic::Code::NotFound, ErrorReason::UserNotFound);
    TestResponse::of(
        api.request(Method::DELETE, &format!("/users/{}", Uuid::now_v7())).bearer_auth(&token),
    )
    .await
    .assert_problem(404, "user_not_found");
}
