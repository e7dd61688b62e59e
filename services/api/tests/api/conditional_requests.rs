//! `ETag`, `If-None-Match`, `If-Match`.

use std::sync::{Arc, Mutex};

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Api, TestResponse, error_status, order, product, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_resources_are_304() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let placed = order(id);
    let order_path = format!("/orders/{}", placed.id);
    api.db.get_user.returns(move |_| Ok(proto::GetUserResponse { user: Some(user(id, 7)) }));
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(7)) }));
    api.db.get_order.returns(move |_| {
        Ok(proto::GetOrderResponse { order: Some(proto::Order { version: 7, ..placed.clone() }) })
    });

    for (path, caching) in [
        (format!("/users/{id}"), "no-store"),
        (order_path, "no-store"),
        ("/products/1".to_owned(), "no-cache"),
    ] {
        for (condition, status) in [
            (None, 200),
            (Some("\"6\""), 200),
            (Some("\"7\""), 304),
            (Some("W/\"7\""), 304),
            (Some("\"6\", \"7\""), 304),
            (Some("*"), 304),
            (Some("7"), 400),
        ] {
            let mut request = api.request(Method::GET, &path).bearer_auth(&token);
            if let Some(condition) = condition {
                request = request.header("if-none-match", condition);
            }
            let response = TestResponse::of(request).await;
            assert_eq!(response.status, status, "{path} {condition:?}");
            match status {
                400 => {
                    response.assert_problem(400, "invalid_request");
                    assert_eq!(response.json()["errors"][0]["pointer"], "/If-None-Match");
                }
                _ => assert_eq!(
                    (response.header("etag"), response.header("cache-control")),
                    (Some("\"7\""), Some(caching)),
                    "{path} {condition:?}"
                ),
            }
            assert_eq!(response.body.is_empty(), status == 304, "{path} {condition:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_match_limits_updates_to_its_versions() {
    let api = Api::start().await;
    let id = Uuid::now_v7();
    let token = api.token(id).await;
    let requested = Arc::new(Mutex::new(Vec::new()));
    api.db.update_user.returns({
        let requested = Arc::clone(&requested);
        move |request| {
            requested.lock().unwrap().push(request.expected_versions.clone());
            assert_eq!(
                (request.username.as_deref(), request.email),
                (Some("alicia"), None),
                "absent members stay unset"
            );
            if request.expected_versions.is_empty() || request.expected_versions.contains(&7) {
                return Ok(proto::UpdateUserResponse { user: Some(user(id, 8)) });
            }
            Err(error_status(Code::Aborted, ErrorReason::VersionMismatch))
        }
    });
    for (condition, versions, status) in [
        (None, Some(vec![]), 200),
        (Some("*"), Some(vec![]), 200),
        (Some("\"7\""), Some(vec![7]), 200),
        (Some("\"6\", \"7\""), Some(vec![6, 7]), 200),
        (Some("\"6\""), Some(vec![6]), 412),
        (Some("W/\"7\""), Some(vec![0]), 412),
        (Some("\"nonsense\""), Some(vec![0]), 412),
        (Some("7"), None, 400),
    ] {
        let mut request = api
            .request(Method::PATCH, &format!("/users/{id}"))
            .bearer_auth(&token)
            .json(&json!({"username": "alicia"}));
        if let Some(condition) = condition {
            request = request.header("if-match", condition);
        }
        let response = TestResponse::of(request).await;
        assert_eq!(response.status, status, "{condition:?}: {response:?}");
        assert_eq!(requested.lock().unwrap().pop(), versions, "{condition:?}");
        match status {
            200 => assert_eq!(response.header("etag"), Some("\"8\"")),
            412 => response.assert_problem(412, "version_mismatch"),
            _ => response.assert_problem(400, "invalid_request"),
        }
    }
}
