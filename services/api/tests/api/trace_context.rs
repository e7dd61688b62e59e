//! Calls between services carry the ids of the request.

use std::collections::BTreeSet;

use merch_chassis::grpc::trace::Trace;
use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::support::{Api, PASSWORD, TestResponse, eventually, order, placed, product, user};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> &'a str {
    metadata.get(name).unwrap_or_else(|| panic!("no {name} in {metadata:?}")).to_str().unwrap()
}

/// Returns the request id, the trace id and the parent id of a call.
fn ids(metadata: &MetadataMap) -> (String, String, String) {
    let traceparent = text(metadata, "traceparent");
    let trace = Trace::parse(traceparent).unwrap_or_else(|| panic!("{traceparent}"));
    (
        text(metadata, "x-request-id").to_owned(),
        trace.id().to_owned(),
        traceparent.split('-').nth(2).unwrap().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn db_calls_carry_request_id_and_trace() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    api.db.create_user.returns(move |_| Ok(proto::CreateUserResponse { user: Some(user(id, 1)) }));
    api.db.get_user.returns(move |_| Ok(proto::GetUserResponse { user: Some(user(id, 1)) }));
    api.db.update_user.returns(move |_| Ok(proto::UpdateUserResponse { user: Some(user(id, 2)) }));
    api.db.change_password.returns(|_| Ok(proto::ChangePasswordResponse {}));
    api.db.deactivate_user.returns(|_| Ok(proto::DeactivateUserResponse {}));
    api.db.revoke_tokens.returns(|_| Ok(proto::RevokeTokensResponse {}));
    api.db.list_products.returns(|_| {
        Ok(proto::ListProductsResponse {
            products: vec![product(1)],
            next_page_token: String::new(),
        })
    });
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
    api.db.place_orders.returns(move |_| Ok(placed(order(id))));
    api.db.list_orders.returns(|_| {
        Ok(proto::ListOrdersResponse { orders: vec![], next_page_token: String::new() })
    });
    api.db.get_order.returns(move |_| Ok(proto::GetOrderResponse { order: Some(order(id)) }));
    api.db.cancel_order.returns(move |_| Ok(proto::CancelOrderResponse { order: Some(order(id)) }));
    let buyer = json!({"sid": "12110301", "username": "alice", "email": "alice@mail.example.com", "password": PASSWORD});
    let mut seen = BTreeSet::new();
    for (method, path, body) in [
        (Method::POST, "/users".to_owned(), buyer),
        (Method::POST, "/login".to_owned(), json!({"username": "alice", "password": PASSWORD})),
        (Method::GET, format!("/users/{id}"), json!(null)),
        (Method::PATCH, format!("/users/{id}"), json!({"username": "alicia"})),
        (
            Method::PUT,
            format!("/users/{id}/password"),
            json!({"current_password": PASSWORD, "new_password": "a longer battery staple"}),
        ),
        (Method::GET, "/products".to_owned(), json!(null)),
        (Method::GET, "/products/1".to_owned(), json!(null)),
        (Method::POST, "/orders".to_owned(), json!({"product_id": 1, "quantity": 1})),
        (Method::GET, "/orders".to_owned(), json!(null)),
        (Method::GET, format!("/orders/{}", Uuid::now_v7()), json!(null)),
        (Method::POST, format!("/orders/{}/cancel", Uuid::now_v7()), json!(null)),
        (Method::POST, "/logout".to_owned(), json!(null)),
        (Method::DELETE, format!("/users/{id}"), json!(null)),
    ] {
        for traceparent in [None, Some(format!("00-{TRACE}-b7ad6b7169203331-01"))] {
            api.db.metadata.lock().unwrap().clear();
            let mut request = api.request(method.clone(), &path).bearer_auth(&token);
            if !body.is_null() {
                request = request.json(&body);
            }
            if let Some(traceparent) = &traceparent {
                request = request.header("traceparent", traceparent);
            }
            let response = TestResponse::of(request).await;
            assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
            let calls = std::mem::take(&mut *api.db.metadata.lock().unwrap());
            assert!(!calls.is_empty(), "{method} {path}");
            for (call, metadata) in calls {
                let (request_id, trace, parent) = ids(&metadata);
                assert_eq!(request_id, response.request_id(), "{method} {path} {call}");
                assert_eq!(
                    trace == TRACE,
                    traceparent.is_some(),
                    "{method} {path} {call}: {trace}"
                );
                assert_ne!(parent, "b7ad6b7169203331", "{method} {path} {call}");
                seen.insert(call);
            }
        }
    }
    assert_eq!(seen.len(), 15, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_stream_has_its_own_ids() {
    let api = Api::start().await;
    api.get("/orders").await.assert_problem(401, "token_missing");
    eventually("the event arrives", || !api.received.events().is_empty()).await;
    let streams = api.received.metadata.lock().unwrap().clone();
    for metadata in streams {
        let (request_id, ..) = ids(&metadata);
        assert_eq!(request_id.parse::<Uuid>().unwrap().get_version_num(), 7);
    }
}
