//! Two db services behind one api service; one of them is killed during a request.

use std::{sync::Arc, time::Duration};

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    Api, Stubs, TestResponse, eventually, order, placed, product, serve_db, user,
};

/// An api service with two db services; `api.db` is the first.
struct TwoReplicas {
    api: Api,
    second: Arc<Stubs>,
    second_server: CancellationToken,
}

impl TwoReplicas {
    async fn start() -> Self {
        let second = Arc::new(Stubs::default());
        let (address, second_server) = serve_db(&second).await;
        let api = Api::start_with(|config| {
            config.db_endpoint = format!("{},http://{address}", config.db_endpoint)
        })
        .await;
        for db in [&api.db, &second] {
            db.get_product.returns(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
        }
        let two = Self { api, second, second_server };
        let calls = |db: &Stubs| db.get_product.calls();
        crate::support::until("both replicas serve", async || {
            assert_eq!(two.api.get("/products/1").await.status, 200);
            calls(&two.api.db) > 0 && calls(&two.second) > 0
        })
        .await;
        two
    }

    /// Sends a request and kills the db service that receives it. `calls` returns the number of
    /// such calls.
    async fn kill_during(
        &self,
        request: RequestBuilder,
        calls: impl Fn(&Stubs) -> usize,
    ) -> TestResponse {
        let before = (calls(&self.api.db), calls(&self.second));
        let started = || (calls(&self.api.db) - before.0, calls(&self.second) - before.1);
        let (response, ()) = tokio::join!(TestResponse::of(request), async {
            eventually("the call is in flight", || started() != (0, 0)).await;
            if started().0 > 0 { self.api.db_server.cancel() } else { self.second_server.cancel() }
        });
        response
    }
}

/// Delays a response, so that the db service can be killed before it.
async fn delayed<T>(response: T) -> Result<T, tonic::Status> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(response)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_is_repeated_on_the_other_replica() {
    let two = TwoReplicas::start().await;
    for db in [&two.api.db, &two.second] {
        db.get_product
            .returns_async(|_| delayed(proto::GetProductResponse { product: Some(product(1)) }));
    }
    let response = two
        .kill_during(two.api.request(Method::GET, "/products/1"), |db| db.get_product.calls())
        .await;
    assert_eq!(response.status, 200, "{response:?}");
    // One is enough to be ready.
    assert!(two.api.readiness.check().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_repeated_only_with_a_key() {
    for key in [true, false] {
        let two = TwoReplicas::start().await;
        let id = Uuid::now_v7();
        two.second.has_user(id, crate::support::PASSWORD);
        let token = two.api.token(id).await;
        for db in [&two.api.db, &two.second] {
            db.place_orders.returns_async(move |_| delayed(placed(order(id))));
        }
        let mut request = two
            .api
            .request(Method::POST, "/orders")
            .bearer_auth(token)
            .json(&json!({"product_id": 1, "quantity": 2}));
        if key {
            request = request.header("idempotency-key", "k-1");
        }
        let response = two.kill_during(request, |db| db.place_orders.calls()).await;
        let calls = two.api.db.place_orders.calls() + two.second.place_orders.calls();
        if key {
            assert_eq!((response.status, calls), (201, 2), "{response:?}");
        } else {
            response.assert_problem(503, "unavailable");
            assert_eq!(calls, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_unconditional_updates_are_repeated() {
    for conditional in [false, true] {
        let two = TwoReplicas::start().await;
        let id = Uuid::now_v7();
        two.second.has_user(id, crate::support::PASSWORD);
        let token = two.api.token(id).await;
        for db in [&two.api.db, &two.second] {
            db.update_user.returns_async(move |_| {
                delayed(proto::UpdateUserResponse { user: Some(user(id, 2)) })
            });
        }
        let path = format!("/users/{id}");
        let mut request = two
            .api
            .request(Method::PATCH, &path)
            .bearer_auth(token)
            .json(&json!({"username": "alice"}));
        if conditional {
            request = request.header("if-match", "\"1\"");
        }
        let response = two.kill_during(request, |db| db.update_user.calls()).await;
        let calls = two.api.db.update_user.calls() + two.second.update_user.calls();
        assert_eq!(
            (response.status, calls),
            if conditional { (503, 1) } else { (200, 2) },
            "{response:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_is_ready_while_one_replica_serves() {
    let two = TwoReplicas::start().await;
    eventually("the service is ready", || two.api.readiness.check().is_ok()).await;
    two.api.db_server.cancel();
    for _ in 0..50 {
        assert_eq!(two.api.get("/products/1").await.status, 200);
        assert!(two.api.readiness.check().is_ok());
    }
    two.second_server.cancel();
    eventually("the service is not ready", || two.api.readiness.check().is_err()).await;
}
