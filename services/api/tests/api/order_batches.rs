//! Orders that share a call to the db service.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use merch_contract::grpc::assistant::v1 as proto;
use reqwest::Method;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use crate::support::{Api, TestResponse, eventually, order, placed};

const BUYERS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_in_one_call_keep_their_own_data() {
    let api = Api::start().await;
    let calls: Arc<Mutex<Vec<Vec<proto::NewOrder>>>> = Arc::default();
    let (release, released) = watch::channel(false);
    api.db.place_orders.returns_async({
        let calls = Arc::clone(&calls);
        move |request| {
            calls.lock().unwrap().push(request.orders.clone());
            let mut released = released.clone();
            async move {
                released.wait_for(|released| *released).await.unwrap();
                let result = |new: proto::NewOrder| {
                    let buyer: Uuid = new.caller.unwrap_or_default().user_id.parse().unwrap();
                    placed(order(buyer)).results.remove(0)
                };
                let results = request.orders.into_iter().map(result).collect();
                Ok(proto::PlaceOrdersResponse { results })
            }
        }
    });

    // Before the first order, as a log-in takes longer than a call may delay others.
    let mut buyers = Vec::new();
    for _ in 0..BUYERS {
        let buyer = Uuid::now_v7();
        buyers.push((buyer, api.token(buyer).await));
    }
    let mut responses = JoinSet::new();
    for (number, (buyer, token)) in buyers.into_iter().enumerate() {
        let mut request = api
            .request(Method::POST, "/orders")
            .bearer_auth(token)
            .header("x-request-id", format!("buyer-{number}"))
            .json(&json!({"product_id": 1, "quantity": 2}));
        if number % 2 == 1 {
            request = request.header("idempotency-key", "k");
        }
        responses.spawn(async move { (number, buyer, TestResponse::of(request).await) });
    }
    // Calls that are not answered make room for others.
    let count = || calls.lock().unwrap().iter().map(Vec::len).sum::<usize>();
    eventually("all orders are in flight", || count() == BUYERS).await;
    release.send(true).unwrap();
    while let Some(response) = responses.join_next().await {
        let (number, buyer, response) = response.unwrap();
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.request_id(), format!("buyer-{number}"));
        assert_eq!(response.json()["user_id"], json!(buyer.to_string()));
    }

    let calls = std::mem::take(&mut *calls.lock().unwrap());
    assert!(calls.len() < BUYERS, "orders share calls");
    let request_id = |order: &proto::NewOrder| order.context.clone().unwrap_or_default().request_id;
    let ids: BTreeSet<_> = calls.iter().flatten().map(request_id).collect();
    assert_eq!(ids.len(), BUYERS, "each order has its own request id");
    let metadata = std::mem::take(&mut *api.db.metadata.lock().unwrap());
    let of_calls: BTreeSet<_> = metadata
        .iter()
        .filter(|(method, _)| *method == "place_orders")
        .map(|(_, metadata)| metadata.get("x-request-id").unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(of_calls, calls.iter().map(|orders| request_id(&orders[0])).collect());
    for orders in &calls {
        let is_keyed = |order: &proto::NewOrder| !order.idempotency_key.is_empty();
        assert!(orders.iter().all(|order| is_keyed(order) == is_keyed(&orders[0])), "{orders:?}");
        let is_within_deadline = |order: &proto::NewOrder| {
            order.time_left_ms.is_some_and(|left| (1..=5_000).contains(&left))
        };
        assert!(orders.iter().all(is_within_deadline), "{orders:?}");
    }
}
