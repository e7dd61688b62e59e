//! Concurrent reads of the catalogue share a call to the db service.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use merch_contract::grpc::assistant::v1::{self as proto, ErrorReason};
use reqwest::Method;
use tokio::sync::watch;
use tonic::Code;

use crate::support::{Api, TestResponse, error_status, eventually, product};

const REQUESTS: usize = 30;

/// Sends requests for a product while calls wait, and returns the responses. The first call and the
/// next one are in flight before a call returns.
async fn concurrent_reads(api: &Api, release: &watch::Sender<bool>) -> Vec<TestResponse> {
    let requests = (0..REQUESTS).map(|_| TestResponse::of(api.request(Method::GET, "/products/1")));
    let (responses, ()) = tokio::join!(join_all(requests), async {
        eventually("two calls are in flight", || api.db.get_product.calls() == 2).await;
        release.send_replace(true);
    });
    responses
}

fn responds_after_release(
    api: &Api,
    response: fn() -> Result<proto::GetProductResponse, tonic::Status>,
) -> watch::Sender<bool> {
    let (release, released) = watch::channel(false);
    api.db.get_product.returns_async(move |_| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            response()
        }
    });
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reads_share_calls() {
    let api = Api::start().await;
    let release = responds_after_release(&api, || {
        Ok(proto::GetProductResponse { product: Some(product(7)) })
    });
    for response in concurrent_reads(&api, &release).await {
        assert_eq!((response.status, response.header("etag")), (200, Some("\"7\"")));
        assert_eq!(response.json()["price_cents"], 4999);
    }
    let calls = api.db.get_product.calls();
    assert!(calls < REQUESTS / 2, "{calls} calls for {REQUESTS} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_error_has_the_id_of_each_request() {
    let api = Api::start().await;
    let release = responds_after_release(&api, || {
        Err(error_status(Code::NotFound, ErrorReason::ProductNotFound))
    });
    let responses = concurrent_reads(&api, &release).await;
    for response in &responses {
        response.assert_problem(404, "product_not_found");
    }
    let ids: BTreeSet<&str> = responses.iter().map(TestResponse::request_id).collect();
    assert_eq!(ids.len(), REQUESTS);
}
