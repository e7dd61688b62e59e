//! Several db services behind one api: what happens to a request whose db service dies under it.

use std::{sync::Arc, time::Duration};

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Answer, Api, Script, eventually, order, placed, product, serve_db, user};

/// An api with two db services, of which the first is the one that `api.db` scripts.
struct Two {
    api: Api,
    second: Arc<Script>,
    second_server: CancellationToken,
}

impl Two {
    async fn start() -> Self {
        let second = Arc::new(Script::default());
        let (address, second_server) = serve_db(&second).await;
        let api = Api::start_with(|config| {
            config.db_endpoint = format!("{},http://{address}", config.db_endpoint)
        })
        .await;
        for db in [&api.db, &second] {
            db.get_product.answers(|_| Ok(proto::GetProductResponse { product: Some(product(1)) }));
        }
        let two = Self { api, second, second_server };
        // Both are found when both have served.
        let calls = |db: &Script| db.get_product.calls();
        crate::support::until("both serve", async || {
            assert_eq!(two.api.get("/products/1").await.status, 200);
            calls(&two.api.db) > 0 && calls(&two.second) > 0
        })
        .await;
        two
    }

    /// Sends a request, kills the db service that has it, and gives the answer. `calls` is how many
    /// such calls a db service got.
    async fn killed_under(
        &self,
        request: RequestBuilder,
        calls: impl Fn(&Script) -> usize,
    ) -> Answer {
        let before = (calls(&self.api.db), calls(&self.second));
        let begun = || (calls(&self.api.db) - before.0, calls(&self.second) - before.1);
        let (answer, ()) = tokio::join!(Answer::of(request), async {
            eventually("the call is under way", || begun() != (0, 0)).await;
            if begun().0 > 0 { self.api.db_server.cancel() } else { self.second_server.cancel() }
        });
        answer
    }
}

/// Slow enough to be killed under.
async fn slowly<T>(answer: T) -> Result<T, tonic::Status> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_answered_by_the_other_one() {
    let two = Two::start().await;
    for db in [&two.api.db, &two.second] {
        db.get_product
            .answers_later(|_| slowly(proto::GetProductResponse { product: Some(product(1)) }));
    }
    let answer = two
        .killed_under(two.api.request(Method::GET, "/products/1"), |db| db.get_product.calls())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // One is enough to be ready.
    assert!(two.api.readiness.check().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_sent_twice_only_with_a_key() {
    for key in [true, false] {
        let two = Two::start().await;
        let id = Uuid::now_v7();
        two.second.knows(id, crate::support::PASSWORD);
        let token = two.api.token(id).await;
        for db in [&two.api.db, &two.second] {
            db.place_orders.answers_later(move |_| slowly(placed(order(id))));
        }
        let mut request = two
            .api
            .request(Method::POST, "/orders")
            .bearer_auth(token)
            .json(&json!({"product_id": 1, "quantity": 2}));
        if key {
            request = request.header("idempotency-key", "k-1");
        }
        let answer = two.killed_under(request, |db| db.place_orders.calls()).await;
        let calls = two.api.db.place_orders.calls() + two.second.place_orders.calls();
        if key {
            assert_eq!((answer.status, calls), (201, 2), "{answer:?}");
        } else {
            answer.assert_problem(503, "unavailable");
            assert_eq!(calls, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_idempotent_by_nature_is_sent_again_and_a_conditional_change_is_not() {
    for conditional in [false, true] {
        let two = Two::start().await;
        let id = Uuid::now_v7();
        two.second.knows(id, crate::support::PASSWORD);
        let token = two.api.token(id).await;
        for db in [&two.api.db, &two.second] {
            db.update_user.answers_later(move |_| {
                slowly(proto::UpdateUserResponse { user: Some(user(id, 2)) })
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
        let answer = two.killed_under(request, |db| db.update_user.calls()).await;
        let calls = two.api.db.update_user.calls() + two.second.update_user.calls();
        assert_eq!(
            (answer.status, calls),
            if conditional { (503, 1) } else { (200, 2) },
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_while_one_of_them_serves() {
    let two = Two::start().await;
    eventually("it is ready", || two.api.readiness.check().is_ok()).await;
    two.api.db_server.cancel();
    for _ in 0..50 {
        assert_eq!(two.api.get("/products/1").await.status, 200);
        assert!(two.api.readiness.check().is_ok());
    }
    two.second_server.cancel();
    eventually("it is not ready", || two.api.readiness.check().is_err()).await;
}
