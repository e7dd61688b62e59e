//! Whatever the db service does, the client gets a whole problem in time, and nothing of what is
//! inside.

use std::time::{Duration, Instant};

use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Api, PASSWORD, eventually, not_placed, product, refusal, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_of_a_call_has_its_status() {
    let api = Api::start().await;
    let cases = [
        (refusal(Code::NotFound, ErrorReason::ProductNotFound), 404, "product_not_found"),
        (refusal(Code::Unavailable, ErrorReason::DatabaseUnavailable), 503, "unavailable"),
        (refusal(Code::Unavailable, ErrorReason::Overloaded), 503, "unavailable"),
        (refusal(Code::InvalidArgument, ErrorReason::InvalidField), 500, "internal_error"),
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
        // A reason whose problem this operation does not declare.
        (refusal(Code::AlreadyExists, ErrorReason::SidTaken), 500, "internal_error"),
    ];
    for (error, status, code) in cases {
        let sent = error.clone();
        api.db.get_product.answers(move |_| Err(sent.clone()));
        let answer = api.get("/products/1").await;
        answer.assert_problem(status, code);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(error.message().is_empty() || !text.contains(error.message()), "{text}");
        assert!(!text.contains("ERROR_REASON") && !text.contains("grpc"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_try_again_comes_from_the_db_service() {
    use tonic_types::{ErrorDetails, StatusExt as _};
    let api = Api::start().await;
    api.db.get_product.answers(|_| {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(6100)));
        let none = std::collections::HashMap::<String, String>::new();
        details.set_error_info(ErrorReason::Overloaded.as_str_name(), "assistant.merch", none);
        Err(Status::with_error_details(Code::Unavailable, "busy", details))
    });
    let answer = api.get("/products/1").await;
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_an_order_has_its_status() {
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
        // One that is refused as void stays void.
        let token = api.token(Uuid::now_v7()).await;
        api.db.place_orders.answers(move |_| Ok(not_placed(reason)));
        let answer = api
            .send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1}))
            .await;
        answer.assert_problem(status, code);
        assert!(!String::from_utf8_lossy(&answer.body).contains("internal words"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_the_contract_is_a_bug() {
    let api = Api::start().await;
    let token = api.token(Uuid::now_v7()).await;
    let place =
        || api.send_as(&token, Method::POST, "/orders", json!({"product_id": 1, "quantity": 1}));
    api.db.place_orders.answers(|_| Ok(proto::PlaceOrdersResponse { results: vec![] }));
    place().await.assert_problem(500, "internal_error");
    api.db.place_orders.answers(|_| {
        Ok(proto::PlaceOrdersResponse { results: vec![proto::PlaceOrderResult { outcome: None }] })
    });
    place().await.assert_problem(500, "internal_error");
    api.db.get_product.answers(|_| Ok(proto::GetProductResponse { product: None }));
    api.get("/products/1").await.assert_problem(500, "internal_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_db_service_that_hangs_is_503_in_time() {
    let api = Api::start_with(|config| config.call_deadline = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let begun = Instant::now();
    api.get("/products/1").await.assert_problem(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_takes_too_long_is_503() {
    let api = Api::start_with(|config| config.request_timeout = Duration::from_millis(200)).await;
    api.db.get_product.hangs();
    let begun = Instant::now();
    api.get("/products/1").await.assert_problem(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_db_service_that_is_not_there_is_503() {
    let api = Api::start_with(|config| config.db_endpoint = "http://127.0.0.1:1".to_owned()).await;
    api.get("/products/1").await.assert_problem(503, "unavailable");
    api.log_in("alice", "wrong").await.assert_problem(503, "unavailable");
    eventually(
        "it says why it is not ready",
        || matches!(api.readiness.check(), Err(reasons) if reasons[0].1.contains("http://127.0.0.1:1")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_db_service_that_dies_is_503_also_for_the_call_under_way() {
    let api = Api::start().await;
    eventually("it is ready", || api.readiness.check().is_ok()).await;
    api.db.get_product.answers(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
    assert_eq!(api.get("/products/1").await.status, 200);

    api.db.get_product.hangs();
    let (answer, ()) = tokio::join!(api.get("/products/1"), async {
        eventually("the call is under way", || api.db.get_product.calls() == 2).await;
        api.db_server.cancel();
    });
    answer.assert_problem(503, "unavailable");
    until("it is known that nobody is there", async || api.readiness.check().is_err()).await;
    api.get("/products/1").await.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_answers_503_to_every_refusal_of_a_flood() {
    let api = Api::start_with(|config| {
        config.journal.max_backlog_bytes = 100;
        config.refusals.single_events = 1;
    })
    .await;
    api.db.knows(Uuid::now_v7(), PASSWORD);
    for _ in 0..3 {
        api.get("/orders").await.assert_problem(503, "unavailable");
        api.log_in("alice", "wrong horse").await.assert_problem(503, "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_do_not_fill_the_disk() {
    let api = Api::start_with(|config| config.journal.max_backlog_bytes = 100).await;
    for _ in 0..3 {
        api.get("/orders").await.assert_problem(503, "unavailable");
        api.get_as("nonsense", "/orders").await.assert_problem(503, "unavailable");
    }
    // What writes no event is served.
    assert_eq!(api.get("/docs").await.status, 200);
    let segments = std::fs::read_dir(&api.journal)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some());
    assert_eq!(segments.count(), 0);
}
