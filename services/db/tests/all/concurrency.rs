use std::time::Duration;

use merch_contract::grpc::assistant::v1::*;
use sea_orm::ConnectionTrait as _;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::harness::*;

on_both!(
    async fn concurrent_orders_never_oversell(store: &TestService) {
        store.sql("UPDATE products SET stock = 50 WHERE id = 1").await;
        let mut buyers = vec![];
        for n in 0..200 {
            buyers.push(store.register(&format!("buyer{n}")).await);
        }
        let outcomes = place_concurrently(
            &[store.client()],
            buyers.iter().map(|buyer| buyer.order(HOODIE, 1)).collect(),
        )
        .await;
        let sold = outcomes
            .iter()
            .filter(|outcome| refusal_reason(outcome.as_ref().unwrap()).is_none())
            .count();
        let refused = outcomes
            .iter()
            .filter(|outcome| {
                refusal_reason(outcome.as_ref().unwrap()) == Some(ErrorReason::OutOfStock)
            })
            .count();
        assert_eq!((sold, refused, store.product(HOODIE).await.stock), (50, 150, 0));
        assert_eq!(store.count("orders").await, 50);
        let names = store.event_names().await;
        assert_eq!(names.iter().filter(|word| *word == "order_placed").count(), 50);
        assert_eq!(names.iter().filter(|word| *word == "order_refused").count(), 150);
    }
);

on_both!(
    async fn concurrent_orders_cancellations_and_log_outs_are_consistent(store: &TestService) {
        let mut buyers = vec![];
        for n in 0..12 {
            buyers.push(store.register(&format!("buyer{n}")).await);
        }
        let tasks: Vec<_> = buyers
            .iter()
            .enumerate()
            .map(|(n, buyer)| {
                let (buyer, mut client) = (buyer.clone(), store.client());
                tokio::spawn(async move {
                    let mut kept = 0;
                    for round in 0..10 {
                        let orders = if n % 2 == 0 { [HOODIE, BOTTLE] } else { [BOTTLE, HOODIE] };
                        let orders = orders.map(|product| buyer.order(product, 1)).to_vec();
                        let placed_now = client
                            .place_orders(call(PlaceOrdersRequest { orders }))
                            .await
                            .unwrap()
                            .into_inner();
                        for result in placed_now.results {
                            let order = expect_placed(result.outcome.unwrap());
                            let request = CancelOrderRequest {
                                context: context(),
                                caller: Some(buyer.caller.clone()),
                                order_id: order.id.clone(),
                            };
                            if round % 2 == 0 {
                                client.cancel_order(call(request)).await.unwrap();
                            } else {
                                kept += 1;
                            }
                        }
                    }
                    let request = RevokeTokensRequest {
                        context: context(),
                        caller: Some(buyer.caller.clone()),
                    };
                    client.revoke_tokens(call(request)).await.unwrap();
                    kept
                })
            })
            .collect();
        let mut kept = 0;
        for task in tasks {
            kept += task.await.unwrap();
        }
        let (hoodie, bottle) =
            (store.product(HOODIE).await.stock, store.product(BOTTLE).await.stock);
        assert_eq!((1000 - hoodie - bottle, hoodie), (kept, bottle));
        assert_eq!(store.count("orders WHERE status = 'placed'").await, i64::from(kept));
    }
);

on_both!(
    async fn no_order_is_placed_after_log_out(store: &TestService) {
        let buyer = store.register("ada").await;
        let ordering: Vec<_> = (0..8)
            .map(|_| {
                let (buyer, mut client) = (buyer.clone(), store.client());
                tokio::spawn(async move {
                    for placed in 0.. {
                        let request = PlaceOrdersRequest { orders: vec![buyer.order(HOODIE, 1)] };
                        let outcome = client
                            .place_orders(call(request))
                            .await
                            .unwrap()
                            .into_inner()
                            .results
                            .remove(0)
                            .outcome
                            .unwrap();
                        match refusal_reason(&outcome) {
                            None => {}
                            Some(ErrorReason::TokenRevoked) => return placed,
                            other => panic!("{other:?}"),
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        eventually("some orders are placed", || async { store.count("orders").await > 20 }).await;
        let request =
            RevokeTokensRequest { context: context(), caller: Some(buyer.caller.clone()) };
        store.client().revoke_tokens(call(request)).await.unwrap();
        let stored = store.count("orders").await;
        let mut placed = 0;
        for task in ordering {
            placed += task.await.unwrap();
        }
        assert_eq!((store.count("orders").await, placed), (stored, stored));
        let names = store.event_names().await;
        assert_eq!(names.last().map(String::as_str), Some("user_logged_out"));
    }
);

on_both!(
    async fn two_replicas_share_stock_and_keys(store: &TestService) {
        let other = merch_chassis::bind("the test", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = other.local_addr().unwrap();
        let shutdown = tokio_util::sync::CancellationToken::new();
        let second = tokio::spawn(merch_db::serve(
            other,
            config(&store.test_database),
            Default::default(),
            shutdown.clone(),
        ));
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let other = assistant_service_client::AssistantServiceClient::new(channel);

        store.sql("UPDATE products SET stock = 60 WHERE id IN (1, 2)").await;
        let buyer = store.register("ada").await;
        let calls: Vec<_> = (0..160)
            .map(|n| {
                let mut client = if n % 2 == 0 { store.client() } else { other.clone() };
                let key = if n % 4 < 2 { n / 4 } else { 39 - n / 4 };
                let order = buyer.order_with_key(1 + key % 2, 1, &format!("k{key}"));
                tokio::spawn(async move {
                    client
                        .place_orders(call(PlaceOrdersRequest { orders: vec![order] }))
                        .await
                        .map(|_| key)
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(store.count("orders").await, 40);
        assert_eq!(
            (store.product(HOODIE).await.stock, store.product(BOTTLE).await.stock),
            (40, 40)
        );
        let mut rest =
            place_concurrently(&[store.client()], vec![buyer.order(HOODIE, 3); 20]).await;
        rest.retain(|outcome| refusal_reason(outcome.as_ref().unwrap()).is_none());
        assert_eq!((rest.len(), store.product(HOODIE).await.stock), (13, 1));
        shutdown.cancel();
        second.await.unwrap().unwrap();
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_refuses_orders_immediately() {
    let test_database = TestDatabase::sqlite().await;
    let mut config = config(&test_database);
    config.orders.queue = 256;
    let store = TestService::start_with(test_database, config).await;
    let buyer = store.register("ada").await;
    store.sql("UPDATE products SET stock = 100000 WHERE id = 1").await;
    let held = store.database.begin().await.unwrap();
    let call_of_200 = || {
        let (mut client, orders) = (store.client(), vec![buyer.order(HOODIE, 1); 200]);
        tokio::spawn(async move { client.place_orders(call(PlaceOrdersRequest { orders })).await })
    };
    let (mut one, mut other) = (call_of_200(), call_of_200());
    // One of them fits into the queue.
    let (refused, waiting) = tokio::select! {
        refused = &mut one => (refused.unwrap(), other),
        refused = &mut other => (refused.unwrap(), one),
    };
    let status = refused.unwrap_err();
    assert!(
        status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()),
        "it says when to try again"
    );
    assert_eq!(error_of(Err::<(), _>(status)), error(Code::Unavailable, ErrorReason::Overloaded));
    held.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
    store.buy(&buyer, HOODIE, 1).await;
    store.stop().await;
}

on_both!(
    async fn disconnected_caller_places_nothing_after_lock_wait(store: &TestService) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        let held = store.database.begin().await.unwrap();
        held.execute_unprepared("UPDATE products SET stock = stock WHERE id = 1").await.unwrap();
        let mut late = Request::new(PlaceOrdersRequest { orders: vec![ada.order(HOODIE, 1)] });
        late.set_timeout(Duration::from_millis(700));
        let late = store.client().place_orders(late).await.unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&late.code()), "{late:?}");
        let disconnecting = tokio::time::timeout(
            Duration::from_millis(300),
            store.place(vec![ada.order_with_key(HOODIE, 1, "k")]),
        )
        .await;
        assert!(disconnecting.is_err(), "the call has no response");
        held.rollback().await.unwrap();
        store.buy(&bob, HOODIE, 2).await;
        assert_eq!(store.count("orders").await, 1);
        assert_eq!(
            (store.product(HOODIE).await.stock, store.count("idempotency_keys").await),
            (498, 0)
        );
        assert_eq!(
            store.event_names().await.iter().filter(|word| word.starts_with("order_")).count(),
            1
        );
    }
);
