use std::{sync::atomic::Ordering, time::Duration};

use merch_chassis::Readiness;
use merch_contract::grpc::assistant::v1::*;
use sea_orm::DbBackend;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{clock::TestClock, harness::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_stock_flood_is_summarised_per_user() {
    let test_database = TestDatabase::sqlite().await;
    let mut limited = config(&test_database);
    limited.refusals.single_events = 3;
    let store = TestService::start_with(test_database, limited).await;
    let (ada, bob) = (store.register("ada").await, store.register("bob").await);
    store.sql("UPDATE products SET stock = 0 WHERE id = 1").await;
    for buyer in [&ada, &bob] {
        for _ in 0..10 {
            let outcomes = store.place(vec![buyer.order(HOODIE, 1); 5]).await.unwrap();
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| refusal_reason(outcome) == Some(ErrorReason::OutOfStock))
            );
        }
    }
    let store = TestService::start(store.stop().await).await;
    let events = store.events().await;
    for buyer in [ada, bob] {
        let actor = format!("user:{}", buyer.user.id);
        let of_it = |word: &str| {
            events
                .iter()
                .filter(|event| event.event == word && event.actor == actor)
                .collect::<Vec<_>>()
        };
        assert_eq!(of_it("order_refused").len(), 3);
        let summaries = of_it("refusals_summarised");
        assert_eq!(summaries.len(), 1, "{summaries:?}");
        let summary =
            ["event", "reason", "count"].map(|name| summaries[0].attributes[name].as_str());
        assert_eq!(summary, ["order_refused", "out_of_stock", "47"]);
    }
    store.stop().await;
}

on_both!(
    async fn outcomes_match_the_order_of_the_request(store: &TestService) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        store.sql("UPDATE products SET stock = 3 WHERE id = 1").await;
        let outcomes = store
            .place(vec![
                ada.order(HOODIE, 2),
                bob.order(HOODIE, 2),
                bob.order(HOODIE, 1),
                ada.order(99, 1),
                ada.with_token_version(5).order(BOTTLE, 1),
                NewOrder { quantity: 4, ..ada.order(HOODIE, 1) },
                NewOrder { caller: None, idempotency_key: "a b".into(), ..ada.order(HOODIE, 0) },
                ada.order(BOTTLE, 3),
            ])
            .await
            .unwrap();
        let reasons: Vec<_> = outcomes.iter().map(refusal_reason).collect();
        assert_eq!(
            reasons,
            [
                None,
                Some(ErrorReason::OutOfStock),
                None,
                Some(ErrorReason::ProductNotFound),
                Some(ErrorReason::TokenRevoked),
                Some(ErrorReason::InvalidField),
                Some(ErrorReason::InvalidField),
                None
            ]
        );
        let orders: Vec<Order> = outcomes
            .into_iter()
            .filter(|outcome| refusal_reason(outcome).is_none())
            .map(expect_placed)
            .collect();
        assert_eq!(
            orders.iter().map(|order| order.total_price_cents).collect::<Vec<_>>(),
            [9998, 4999, 5997]
        );
        assert!(orders.is_sorted_by(|a, b| a.id < b.id), "ids grow in arrival order");
        assert_eq!(
            (store.product(HOODIE).await.stock, store.product(BOTTLE).await.stock),
            (0, 497)
        );

        let events = store.events().await;
        let names: Vec<_> = events[2..].iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names, ["order_placed", "order_refused", "order_placed", "order_placed"]);
        let refused = &events[3];
        assert_eq!(
            (refused.actor.clone(), refused.subject.as_str()),
            (format!("user:{}", bob.user.id), "product:1")
        );
        assert_eq!(
            (refused.attributes["reason"].as_str(), refused.attributes["quantity"].as_str()),
            ("out_of_stock", "2")
        );
        let placed = &events[2];
        assert_eq!(
            (placed.subject.clone(), placed.attributes["total_price_cents"].as_str()),
            (format!("order:{}", orders[0].id), "9998")
        );
        assert_eq!(
            (placed.attributes["product_id"].as_str(), placed.attributes["currency"].as_str()),
            ("1", "CNY")
        );
        assert_eq!(placed.time, orders[0].created_at, "by the database's clock");
        assert_eq!(placed.request_id, "r-1");
    }
);

on_both!(
    async fn each_order_has_its_own_deadline(store: &TestService) {
        let ada = store.register("ada").await;
        let within = |time_left_ms| NewOrder {
            time_left_ms: Some(time_left_ms),
            ..ada.order_with_key(HOODIE, 1, &format!("k{time_left_ms}"))
        };
        let outcomes = store.place(vec![within(4_000), within(0), ada.order(HOODIE, 1)]);
        let reasons: Vec<_> = outcomes.await.unwrap().iter().map(refusal_reason).collect();
        assert_eq!(reasons, [None, Some(ErrorReason::OrderExpired), None]);
        let alone = store.place(vec![within(0)]).await.unwrap();
        assert_eq!(refusal_reason(&alone[0]), Some(ErrorReason::OrderExpired));
        assert_eq!(store.product(HOODIE).await.stock, 498);
        expect_placed(store.place(vec![within(4_000)]).await.unwrap().remove(0));
        assert_eq!(store.product(HOODIE).await.stock, 498, "its key is in use");
        let order = NewOrder { time_left_ms: None, ..within(0) };
        expect_placed(store.place(vec![order]).await.unwrap().remove(0));
        assert_eq!(store.product(HOODIE).await.stock, 497, "the key of the expired order is not");
    }
);

on_both!(
    async fn a_call_takes_1_to_256_orders(store: &TestService) {
        let buyer = store.register("ada").await;
        assert_eq!(invalid_fields(store.place(vec![]).await), ["orders"]);
        assert_eq!(
            invalid_fields(store.place(vec![buyer.order(HOODIE, 1); 257]).await),
            ["orders"]
        );
        let outcomes = store.place(vec![buyer.order(HOODIE, 1); 256]).await.unwrap();
        assert!(outcomes.iter().all(|outcome| refusal_reason(outcome).is_none()));
        assert_eq!(store.product(HOODIE).await.stock, 244);
    }
);

on_both!(
    async fn order_keeps_the_price_at_purchase(store: &TestService) {
        let buyer = store.register("ada").await;
        let before = store.buy(&buyer, HOODIE, 1).await;
        store.sql("UPDATE products SET price_cents = 1, currency = 'EUR' WHERE id = 1").await;
        let after = store.buy(&buyer, HOODIE, 3).await;
        assert_eq!(
            (before.unit_price_cents, before.total_price_cents, before.currency.as_str()),
            (4999, 4999, "CNY")
        );
        assert_eq!(
            (after.unit_price_cents, after.total_price_cents, after.currency.as_str()),
            (1, 3, "EUR")
        );
    }
);

on_both!(
    async fn repeated_key_replays_the_first_order(store: &TestService) {
        let buyer = store.register("ada").await;
        let key = "\"k\\'!~";
        let first = expect_placed(
            store.place(vec![buyer.order_with_key(HOODIE, 2, key)]).await.unwrap().remove(0),
        );
        let again = expect_placed(
            store.place(vec![buyer.order_with_key(HOODIE, 2, key)]).await.unwrap().remove(0),
        );
        assert_eq!(again, first);
        store.cancel(&buyer, &first.id).await.unwrap();
        let again = expect_placed(
            store.place(vec![buyer.order_with_key(HOODIE, 2, key)]).await.unwrap().remove(0),
        );
        assert_eq!(again, first, "as it was when it was placed");

        for other in [
            buyer.order_with_key(HOODIE, 1, key),
            buyer.order_with_key(BOTTLE, 2, key),
            buyer.order_with_key(99, 2, key),
        ] {
            assert_eq!(
                refusal_reason(&store.place(vec![other]).await.unwrap()[0]),
                Some(ErrorReason::IdempotencyKeyReused)
            );
        }
        let revoked = buyer.with_token_version(9).order_with_key(HOODIE, 2, key);
        assert_eq!(
            refusal_reason(&store.place(vec![revoked]).await.unwrap()[0]),
            Some(ErrorReason::TokenRevoked)
        );
        let other = store.register("bob").await;
        let own = expect_placed(
            store.place(vec![other.order_with_key(BOTTLE, 1, key)]).await.unwrap().remove(0),
        );
        assert_ne!(own.id, first.id);
        assert_eq!((store.count("orders").await, store.count("idempotency_keys").await), (2, 2));
        let names = store.event_names().await;
        assert_eq!(
            names,
            [
                "user_registered",
                "order_placed",
                "order_cancelled",
                "user_registered",
                "order_placed"
            ]
        );
    }
);

on_both!(
    async fn repeated_key_in_one_call_places_one_order(store: &TestService) {
        let buyer = store.register("ada").await;
        let outcomes = store
            .place(vec![
                buyer.order_with_key(HOODIE, 1, "k"),
                buyer.order_with_key(HOODIE, 1, "k"),
                buyer.order_with_key(HOODIE, 2, "k"),
                buyer.order_with_key(HOODIE, 1, "l"),
            ])
            .await
            .unwrap();
        assert_eq!(refusal_reason(&outcomes[2]), Some(ErrorReason::IdempotencyKeyReused));
        assert_eq!(outcomes[0], outcomes[1]);
        assert_ne!(outcomes[0], outcomes[3]);
        assert_eq!((store.count("orders").await, store.product(HOODIE).await.stock), (2, 498));
        assert_eq!(store.event_names().await, ["user_registered", "order_placed", "order_placed"]);
    }
);

on_both!(
    async fn refused_order_leaves_its_key_unused(store: &TestService) {
        let buyer = store.register("ada").await;
        store.sql("UPDATE products SET stock = 0 WHERE id = 1").await;
        let order = buyer.order_with_key(HOODIE, 1, "k");
        assert_eq!(
            refusal_reason(&store.place(vec![order.clone()]).await.unwrap()[0]),
            Some(ErrorReason::OutOfStock)
        );
        store.sql("UPDATE products SET stock = 1 WHERE id = 1").await;
        expect_placed(store.place(vec![order]).await.unwrap().remove(0));
    }
);

on_both!(
    async fn keys_are_limited_to_255_characters(store: &TestService) {
        let buyer = store.register("ada").await;
        expect_placed(
            store
                .place(vec![buyer.order_with_key(HOODIE, 1, &"k".repeat(255))])
                .await
                .unwrap()
                .remove(0),
        );
        let over =
            store.place(vec![buyer.order_with_key(HOODIE, 1, &"k".repeat(256))]).await.unwrap();
        assert_eq!(refusal_reason(&over[0]), Some(ErrorReason::InvalidField));
    }
);

on_both!(
    async fn concurrent_calls_with_one_key_place_one_order(store: &TestService) {
        let buyer = store.register("ada").await;
        let calls: Vec<_> = (0..32)
            .map(|_| {
                let request =
                    PlaceOrdersRequest { orders: vec![buyer.order_with_key(HOODIE, 2, "k")] };
                let mut client = store.client();
                tokio::spawn(async move {
                    client.place_orders(call(request)).await.unwrap().into_inner()
                })
            })
            .collect();
        let mut answers = vec![];
        for call in calls {
            answers.push(call.await.unwrap());
        }
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        assert_eq!((store.count("orders").await, store.product(HOODIE).await.stock), (1, 498));
        assert_eq!(store.event_names().await, ["user_registered", "order_placed"]);
    }
);

on_both!(
    async fn failed_transaction_leaves_no_rows(store: &TestService) {
        let buyer = store.register("ada").await;
        // The total overflows.
        store.sql("UPDATE products SET price_cents = 9000000000000000000 WHERE id = 1").await;
        let status = store.place(vec![buyer.order(HOODIE, 3)]).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.details().is_empty() && !status.message().contains("orders"));
        assert_eq!((store.count("orders").await, store.product(BOTTLE).await.stock), (0, 500));
        assert_eq!(store.event_names().await, ["user_registered"]);
        let calls: Vec<_> = (0..20)
            .map(|n| {
                let request = PlaceOrdersRequest {
                    orders: vec![if n % 10 == 3 {
                        buyer.order(HOODIE, 3)
                    } else {
                        buyer.order(BOTTLE, 1)
                    }],
                };
                let mut client = store.client();
                tokio::spawn(async move {
                    client
                        .place_orders(call(request))
                        .await
                        .map(|_| ())
                        .map_err(|status| status.code())
                })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), if n % 10 == 3 { Err(Code::Internal) } else { Ok(()) });
        }
        assert_eq!((store.count("orders").await, store.product(BOTTLE).await.stock), (18, 482));

        let mixed = store.place(vec![buyer.order(HOODIE, 3), buyer.order(BOTTLE, 1)]);
        let reasons: Vec<_> = mixed.await.unwrap().iter().map(refusal_reason).collect();
        assert_eq!(reasons, [Some(ErrorReason::Unspecified), None], "the other order is placed");
        assert_eq!((store.count("orders").await, store.product(BOTTLE).await.stock), (19, 481));
    }
);

on_both!(
    async fn key_expires_after_a_day(store: &TestService) {
        let buyer = store.register("ada").await;
        let mut first = vec![];
        for key in ["old", "young"] {
            first.push(expect_placed(
                store.place(vec![buyer.order_with_key(HOODIE, 1, key)]).await.unwrap().remove(0),
            ));
        }
        let day = time::Duration::days(1);
        let limit = OffsetDateTime::now_utc()
            - if store.backend() == DbBackend::Postgres { day } else { time::Duration::ZERO };
        for (key, made) in [
            ("young", limit + time::Duration::minutes(1)),
            ("old", limit - time::Duration::minutes(1)),
        ] {
            let made = made.format(&Rfc3339).unwrap();
            store
                .sql(&format!(
                    "UPDATE idempotency_keys SET created_at = '{made}' WHERE key = '{key}'"
                ))
                .await;
        }
        let clock = TestClock::ahead(0);
        let mut config = config(&store.test_database);
        (config.clock, config.housekeeping_interval) = (clock.clone(), Duration::from_millis(20));
        let (listener, shutdown) =
            (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), CancellationToken::new());
        let readiness = Readiness::expecting("db");
        let second =
            tokio::spawn(merch_db::serve(listener, config, readiness.clone(), shutdown.clone()));
        eventually("it has started", || async { readiness.check().is_ok() }).await;
        if store.backend() == DbBackend::Sqlite {
            clock.passed.store(day.whole_seconds() + 5, Ordering::SeqCst);
        }
        eventually("the old key is removed", || async {
            store.count("idempotency_keys").await == 1
        })
        .await;
        shutdown.cancel();
        second.await.unwrap().unwrap();
        let orders = ["old", "young"].map(|key| buyer.order_with_key(HOODIE, 1, key)).to_vec();
        let now: Vec<Order> =
            store.place(orders).await.unwrap().into_iter().map(expect_placed).collect();
        assert_ne!(now[0], first[0]);
        assert_eq!(now[1], first[1]);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_outcomes_are_counted() {
    let store = TestService::start(TestDatabase::sqlite().await).await;
    let buyer = store.register("ada").await;
    store
        .place(vec![
            buyer.order_with_key(HOODIE, 1, "k"),
            buyer.order_with_key(HOODIE, 1, "k"),
            buyer.order(99, 1),
        ])
        .await
        .unwrap();
    let families = prometheus::gather();
    let counted = families.iter().find(|family| family.name() == "merch_db_orders_total").unwrap();
    let outcomes: Vec<&str> =
        counted.get_metric().iter().map(|metric| metric.get_label()[0].value()).collect();
    for expected in ["placed", "replayed", "ERROR_REASON_PRODUCT_NOT_FOUND"] {
        assert!(outcomes.contains(&expected), "{outcomes:?}");
    }
    for expected in
        ["merch_db_order_batch_size", "merch_db_order_queue_depth", "merch_db_transaction_seconds"]
    {
        assert!(families.iter().any(|family| family.name() == expected), "{expected}");
    }
    store.stop().await;
}
