//! Errors of the db service: the client gets a complete problem in time, without internal details.

use std::time::{Duration, Instant};

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Api, PASSWORD, error_status, eventually, not_placed, product, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn db_errors_map_to_statuses() {
    let api = Api::start().await;
    let cases = [
        (error_status(Code::NotFound, ErrorReason::ProductNotFound), 404, "product_not_found"),
        (error_status(Code::Unavailable, ErrorReason::DatabaseUnavailable), 503, "unavailable"),
        (error_status(Code::Unavailable, ErrorReason::Overloaded), 503, "unavailable"),
        (error_status(Code::InvalidArgument, ErrorReason::InvalidField), 500, "internal_error"),
        (Status::not_found("no such product"), 500, "internal_error"),
        (Status::new(Code::ResourceExhausted, ""), 503, "unavailable"),
        (Status::new(Code::DeadlineExceeded, ""), 503, "unavailable"),
        (Status::new(Code::Cancelled, ""), 503, "unavailable"),
        (Status::new(Code::Internal, "SELECT * FROM product"), 500, "internal_error"),
        (Status::new(Code::Unknown, "timeout"), 500, "internal_error"),
        (Status::new(Code::Unimplemented, ""), 500, "internal_error"),
        (Status::new(Code::PermissionDenied, ""), 500, "internal_error"),
        (Status::new(Code::DataLoss, ""), 500, "internal_error"),
        (Status::new(Code::OutOfRange, ""), 500, "internal_error"),
        // A reason whose problem the operation does not declare.
        (error_status(Code::AlreadyExists, ErrorReason::SidTaken), 500, "internal_error"),
    ];
    for (error, status, code) in cases {
        let sent = error.clone();
        api.db.get_product.returns(move |_| Err(sent.clone()));
        let response = api.get("/products/1").await;
        response.assert_problem(status, code);
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(error.message().is_empty() || !text.contains(error.message()), "{text}");
        assert!(!text.contains("ERROR_REASON") && !text.contains("grpc"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_comes_from_the_db_service() {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let api = Api::start().await;
    api.db.get_product.returns(|_| {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(6100)));
        let none = std::collections::HashMap::<String, String>::new();
        details.set_error_info(ErrorReason::Overloaded.as_str_name(), "assistant.merch", none);
        Err(Status::with_error_details(Code::Unavailable, "busy", details))
    });
    let response = api.get("/products/1").await;
    response.assert_problem(503, "unavailable");
    assert_eq!(response.header("retry-after"), Some("7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_refusals_map_to_statuses() {
    let api = Api::start().await;
    for (reason, status, code) in [
        (ErrorReason::ProductNotFound, 404, "product_not_found"),
        (ErrorReason::OutOfStock, 409, "out_of_stock"),
        (ErrorReason::IdempotencyKeyReused, 422, "idempotency_key_reused"),
        (ErrorReason::TokenRevoked, 401, "token_invalid"),
        (ErrorReason::InvalidField, 500, "internal_error"),
        (ErrorReason::Unspecified, 500, "internal_error"),
        (ErrorReason::Overloaded, 503, "unavailable"),
    ] {
        // A new token, as the api caches revoked ones.
        let token = api.token(Uuid::now_v7()).await;
        api.db.place_orders.returns(move |_| Ok(not_placed(reason)));
        let response = api
            .send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1}))
            .await;
        response.assert_problem(status, code);
        assert!(!String::from_utf8_lossy(&response.body).contains("internal text"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_responses_of_the_db_service_are_500() {
    let api = Api::start().await;
    let token = api.token(Uuid::now_v7()).await;
    let place =
        || api.send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1}));
    api.db.place_orders.returns(|_| Ok(proto::PlaceOrdersResponse { results: vec![] }));
    place().await.assert_problem(500, "internal_error");
    api.db.place_orders.returns(|_| {
        Ok(proto::PlaceOrdersResponse { results: vec![proto::PlaceOrderResult { outcome: None }] })
    });
    place().await.assert_problem(500, "internal_error");
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: None }));
    api.get("/products/1").await.assert_problem(500, "internal_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_db_service_is_503_at_the_deadline() {
    let api = Api::start_with(|config| config.call_deadline = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let started = Instant::now();
    api.get("/products/1").await.assert_problem(503, "unavailable");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_past_its_timeout_is_503() {
    let api = Api::start_with(|config| config.request_timeout = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let started = Instant::now();
    api.get("/products/1").await.assert_problem(503, "unavailable");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_db_service_is_503() {
    let api = Api::start_with(|config| config.db_endpoint = "http://127.0.0.1:1".to_owned()).await;
    api.get("/products/1").await.assert_problem(503, "unavailable");
    api.log_in("alice", "wrong").await.assert_problem(503, "unavailable");
    eventually(
        "the service reports why it is not ready",
        || matches!(api.readiness.check(), Err(reasons) if reasons[0].1.contains("http://127.0.0.1:1")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_db_service_is_503_for_the_current_call() {
    let api = Api::start().await;
    eventually("the service is ready", || api.readiness.check().is_ok()).await;
    api.db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
    assert_eq!(api.get("/products/1").await.status, 200);

    api.db.get_product.hangs();
    let (response, ()) = tokio::join!(api.get("/products/1"), async {
        eventually("the call is in flight", || api.db.get_product.calls() == 2).await;
        api.db_server.cancel();
    });
    response.assert_problem(503, "unavailable");
    until("the service is not ready", async || api.readiness.check().is_err()).await;
    api.get("/products/1").await.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_journal_turns_refusals_into_503() {
    let api = Api::start_with(|config| {
        config.journal.max_backlog_bytes = 100;
        config.refusals.single_events = 1;
    })
    .await;
    api.db.has_user(Uuid::now_v7(), PASSWORD);
    for _ in 0..3 {
        api.get("/orders").await.assert_problem(503, "unavailable");
        api.log_in("alice", "wrong horse").await.assert_problem(503, "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_stop_at_the_journal_limit() {
    let api = Api::start_with(|config| config.journal.max_backlog_bytes = 100).await;
    for _ in 0..3 {
        api.get("/orders").await.assert_problem(503, "unavailable");
        api.get_as("nonsense", "/orders").await.assert_problem(503, "unavailable");
    }
    // Requests that write no event are served.
    assert_eq!(api.get("/docs").await.status, 200);
    let segments = std::fs::read_dir(&api.journal)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some());
    assert_eq!(segments.count(), 0);
}
