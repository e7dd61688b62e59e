//! `/orders`: placing, listing, reading, cancelling.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use merch_contract::rest::client::types::{self, Order};
use merch_test_store::{Answer, TestStore, TestUser, on_both_databases};
use serde_json::{Value, json};

/// Maximum of concurrent registrations. SQLite runs the writes one by one, and each waits for the
/// disk.
const CONCURRENT_REGISTRATIONS: usize = 8;

fn ids(page: &Value) -> Vec<String> {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn stock(store: &TestStore, product_id: i32) -> i64 {
    store.get(format!("/products/{product_id}")).await.expect(200).json()["stock"].as_i64().unwrap()
}

async fn place(user: &TestUser<'_>, product_id: i32, quantity: i32) -> Answer {
    user.order(product_id, quantity).await.expect(201)
}

on_both_databases! {
    async fn orders_keep_the_price_at_purchase(store: &TestStore) {
        let alice = store.user().await;
        let placed = place(&alice, 1, 2).await;
        store.expect_events(["order_placed"]);
        let order = placed.json();
        assert_eq!(
            (
                &order["product_id"],
                &order["quantity"],
                &order["unit_price_cents"],
                &order["total_price_cents"],
                &order["currency"]
            ),
            (&json!(1), &json!(2), &json!(4999), &json!(9998), &json!("CNY"))
        );
        assert_eq!(
            (&order["status"], &order["cancelled_at"], &order["user_id"]),
            (&json!("placed"), &Value::Null, &json!(alice.id))
        );
        assert_eq!(
            order["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap().get_version_num(),
            7
        );
        assert_eq!(placed.header("location"), format!("/orders/{}", order["id"].as_str().unwrap()));
        assert_eq!(stock(store, 1).await, 498);

        let read = alice.get(placed.header("location")).await.expect(200);
        assert_eq!((read.json(), read.header("etag")), (order.clone(), placed.header("etag")));
        alice
            .get(placed.header("location"))
            .header("if-none-match", placed.header("etag"))
            .await
            .expect(304);

        // A later price change does not affect the order.
        store.sql("UPDATE products SET price_cents = 1, version = version + 1 WHERE id = 1").await;
        assert_eq!(alice.get(placed.header("location")).await.json(), order);
        assert_eq!(place(&alice, 1, 3).await.json()["total_price_cents"], 3);
        store.expect_events(["order_placed"]);
    }

    async fn generated_client_places_and_cancels_orders(store: &TestStore) {
        let alice = store.user().await;
        let client = alice.client();
        let body = types::Purchase::builder()
            .product_id(types::ProductId(2.try_into().unwrap()))
            .quantity(3_u32);
        let placed = client.place_order().idempotency_key("k-1").body(body).send().await.unwrap();
        assert_eq!((placed.status().as_u16(), placed.total_price_cents), (201, 5997));
        let read = client.get_order().order_id(placed.id.clone()).send().await.unwrap();
        assert_eq!(read.total_price_cents, placed.total_price_cents);
        let cancelled = client.cancel_order().order_id(placed.id.clone()).send().await.unwrap();
        assert_eq!(cancelled.status, types::OrderStatus::Cancelled);
        let all: Vec<Order> = client.list_orders().stream().try_collect().await.unwrap();
        assert_eq!(all.len(), 1);
        store.expect_events(["order_placed", "order_cancelled"]);
    }

    async fn invalid_orders_are_400(store: &TestStore) {
        let alice = store.user().await;
        let good = || json!({ "product_id": 1, "quantity": 1 });
        for (body, faults) in [
            (json!({ "product_id": 1, "quantity": 0 }), vec!["body /quantity"]),
            (json!({ "product_id": 1, "quantity": 4 }), vec!["body /quantity"]),
            (json!({ "product_id": 1, "quantity": -1 }), vec!["body /quantity"]),
            (json!({ "product_id": 1, "quantity": 1.5 }), vec!["body /quantity"]),
            (json!({ "product_id": 1, "quantity": "1" }), vec!["body /quantity"]),
            (json!({ "product_id": 1, "quantity": null }), vec!["body /quantity"]),
            (json!({ "product_id": 0, "quantity": 4 }), vec!["body /product_id", "body /quantity"]),
            (json!({ "product_id": 2_147_483_648_i64, "quantity": 1 }), vec!["body /product_id"]),
            (json!({ "product_id": 1 }), vec!["body /quantity"]),
            (json!({}), vec!["body /product_id", "body /quantity"]),
            (
                json!({ "product_id": 1, "quantity": 1, "unit_price_cents": 1 }),
                vec!["body /unit_price_cents"],
            ),
            (json!({ "product_id": 1, "quantity": 1, "user_id": alice.id }), vec!["body /user_id"]),
            (json!([good()]), vec!["body "]),
        ] {
            assert_eq!(alice.post("/orders").json(&body).await.faults(), faults, "{body}");
        }
        for key in ["", " ", "a b", "k\u{e9}", &"k".repeat(256)] {
            assert_eq!(
                alice.order(1, 1).header("idempotency-key", key).await.faults(),
                ["header /Idempotency-Key"],
                "{key:?}"
            );
        }
        assert_eq!(
            alice
                .order(1, 1)
                .header("idempotency-key", "a")
                .header("idempotency-key", "b")
                .await
                .faults(),
            ["header /Idempotency-Key"]
        );
        alice.order(999, 1).await.problem(404, "product_not_found");
        assert_eq!(
            (stock(store, 1).await, store.sql_integer("SELECT count(*) FROM orders").await),
            (500, 0)
        );
        alice.order(1, 1).header("idempotency-key", "~".repeat(255)).await.expect(201);
        store.expect_events(["order_placed"]);
    }

    async fn orders_are_never_filled_partially(store: &TestStore) {
        let alice = store.user().await;
        store.set_stock(3, 2).await;
        alice.order(3, 3).await.problem(409, "out_of_stock");
        assert_eq!(stock(store, 3).await, 2);
        place(&alice, 3, 2).await;
        alice.order(3, 1).await.problem(409, "out_of_stock");
        assert_eq!(stock(store, 3).await, 0);
        store.expect_events(["order_refused", "order_placed", "order_refused"]);
    }

    async fn concurrent_buyers_never_oversell(store: &TestStore) {
        const BUYERS: usize = 200;
        const PIECES: usize = 50;
        let buyers: Vec<TestUser<'_>> = stream::iter(0..BUYERS)
            .map(|_| store.user())
            .buffer_unordered(CONCURRENT_REGISTRATIONS)
            .collect()
            .await;
        store.set_stock(1, PIECES as i32).await;
        let answers = join_all(buyers.iter().map(|buyer| buyer.order(1, 1).into_future())).await;
        let sold = answers.iter().filter(|answer| answer.status == 201).count();
        answers
            .iter()
            .filter(|answer| answer.status != 201)
            .for_each(|answer| drop(answer.problem(409, "out_of_stock")));
        assert_eq!((sold, stock(store, 1).await), (PIECES, 0));
        assert_eq!(store.sql_integer("SELECT count(*) FROM orders").await, PIECES as i64);
        assert_eq!(
            answers
                .iter()
                .filter(|answer| answer.status == 201)
                .map(|answer| answer.json()["id"].to_string())
                .collect::<HashSet<_>>()
                .len(),
            PIECES
        );
        store.expect_event_count("order_placed", PIECES);
        store.expect_event_count("order_refused", BUYERS - PIECES);
    }

    async fn concurrent_orders_and_cancels_conserve_stock(store: &TestStore) {
        let buyers: Vec<TestUser<'_>> = stream::iter(0..16)
            .map(|_| store.user())
            .buffer_unordered(CONCURRENT_REGISTRATIONS)
            .collect()
            .await;
        store.set_stock(2, 40).await;
        let bought = join_all(buyers.iter().map(async |buyer| {
            let (mut kept, mut placed, mut refused, mut cancelled) = (0, 0, 0, 0);
            for round in 0..6 {
                let quantity = 1 + round % 3;
                let answer = buyer.order(2, quantity).await;
                if answer.status == 409 {
                    answer.problem(409, "out_of_stock");
                    refused += 1;
                    continue;
                }
                let order = answer.expect(201);
                placed += 1;
                if round % 2 == 0 {
                    buyer.post(format!("{}/cancel", order.header("location"))).await.expect(200);
                    cancelled += 1;
                } else {
                    kept += quantity;
                }
            }
            (kept, placed, refused, cancelled)
        }))
        .await;
        let kept: i32 = bought.iter().map(|buyer| buyer.0).sum();
        assert_eq!(stock(store, 2).await, i64::from(40 - kept));
        store.expect_event_count("order_placed", bought.iter().map(|buyer| buyer.1).sum());
        store.expect_event_count("order_refused", bought.iter().map(|buyer| buyer.2).sum());
        store.expect_event_count("order_cancelled", bought.iter().map(|buyer| buyer.3).sum());
    }

    async fn repeated_cancels_restock_once(store: &TestStore) {
        let alice = store.user().await;
        let placed = place(&alice, 1, 3).await;
        let cancel = || alice.post(format!("{}/cancel", placed.header("location")));
        let first = cancel().await.expect(200);
        assert_eq!(first.json()["status"], "cancelled");
        assert!(first.json()["cancelled_at"].is_string());
        assert_ne!(first.header("etag"), placed.header("etag"));
        for _ in 0..2 {
            let again = cancel().await.expect(200);
            assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")));
        }
        assert_eq!(stock(store, 1).await, 500);
        assert_eq!(alice.get(placed.header("location")).await.json(), first.json());
        store.expect_events(["order_placed", "order_cancelled"]);
    }

    async fn concurrent_cancels_restock_once(store: &TestStore) {
        let alice = store.user().await;
        let placed = place(&alice, 1, 2).await;
        let answers =
            join_all((0..16).map(|_| {
                alice.post(format!("{}/cancel", placed.header("location"))).into_future()
            }))
            .await;
        let bodies: HashSet<_> =
            answers.into_iter().map(|answer| answer.expect(200).body).collect();
        assert_eq!((bodies.len(), stock(store, 1).await), (1, 500));
        store.expect_events(["order_placed", "order_cancelled"]);
    }

    async fn same_key_and_body_replay_the_response(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let order = |key: &str| alice.order(1, 2).header("idempotency-key", key);
        let first = order("key").await.expect(201);
        for _ in 0..3 {
            let again = order("key").await.expect(201);
            assert_eq!(again.body, first.body);
            for header in ["location", "etag", "content-type"] {
                assert_eq!(again.header(header), first.header(header));
            }
        }
        // White space and member order do not make it a different body.
        let spaced = alice
            .post("/orders")
            .header("idempotency-key", "key")
            .body("application/json", "{ \"quantity\": 2,\n\"product_id\": 1 }");
        assert_eq!(spaced.await.expect(201).body, first.body);
        assert_eq!(stock(store, 1).await, 498);

        // The key still replays the order after its cancellation, when no stock is left.
        alice.post(format!("{}/cancel", first.header("location"))).await.expect(200);
        store.set_stock(1, 0).await;
        let replayed = order("key").await.expect(201);
        assert_eq!((&replayed.body, replayed.header("etag")), (&first.body, first.header("etag")));

        alice
            .order(1, 1)
            .header("idempotency-key", "key")
            .await
            .problem(422, "idempotency_key_reused");
        alice
            .order(2, 2)
            .header("idempotency-key", "key")
            .await
            .problem(422, "idempotency_key_reused");
        // Keys are case-sensitive and belong to a user.
        order("KEY").await.problem(409, "out_of_stock");
        bob.order(2, 2).header("idempotency-key", "key").await.expect(201);
        store.expect_events(["order_placed", "order_cancelled", "order_refused", "order_placed"]);
    }

    async fn concurrent_requests_with_one_key_place_one_order(store: &TestStore) {
        let alice = store.user().await;
        let answers = join_all(
            (0..16).map(|_| alice.order(1, 1).header("idempotency-key", "once").into_future()),
        )
        .await;
        let bodies: HashSet<_> =
            answers.into_iter().map(|answer| answer.expect(201).body).collect();
        assert_eq!((bodies.len(), stock(store, 1).await), (1, 499));
        assert_eq!(store.sql_integer("SELECT count(*) FROM orders").await, 1);
        store.expect_events(["order_placed"]);
    }

    async fn concurrent_bodies_with_one_key_have_one_winner(store: &TestStore) {
        let alice = store.user().await;
        let answers =
            join_all((0..15).map(|n| {
                alice.order(1, 1 + n % 3).header("idempotency-key", "once").into_future()
            }))
            .await;
        let placed: HashSet<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .map(|answer| answer.body.clone())
            .collect();
        assert_eq!(placed.len(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 5);
        answers
            .iter()
            .filter(|answer| answer.status != 201)
            .for_each(|answer| drop(answer.problem(422, "idempotency_key_reused")));
        store.expect_events(["order_placed"]);
    }

    async fn refused_orders_do_not_consume_the_key(store: &TestStore) {
        let alice = store.user().await;
        store.set_stock(1, 0).await;
        let order = || alice.order(1, 1).header("idempotency-key", "patience");
        order().await.problem(409, "out_of_stock");
        store.set_stock(1, 1).await;
        order().await.expect(201);
        store.expect_events(["order_refused", "order_placed"]);
    }

    async fn orders_of_other_users_are_404(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let placed = place(&alice, 1, 1).await;
        let path = placed.header("location");
        let unknown_path = format!("/orders/{}", uuid::Uuid::now_v7());
        let (others, unknown) = (
            bob.get(path).await.problem(404, "order_not_found"),
            bob.get(&unknown_path).await.problem(404, "order_not_found"),
        );
        assert_eq!((&others["title"], &others["detail"]), (&unknown["title"], &unknown["detail"]));
        bob.post(format!("{path}/cancel")).await.problem(404, "order_not_found");
        bob.post(format!("{unknown_path}/cancel")).await.problem(404, "order_not_found");
        bob.get(path)
            .header("if-none-match", placed.header("etag"))
            .await
            .problem(404, "order_not_found");
        assert_eq!(ids(&bob.get("/orders").await.expect(200).json()), Vec::<String>::new());
        assert_eq!(alice.get(path).await.expect(200).json()["status"], "placed");
        for id in ["1", "x", "%00"] {
            assert_eq!(bob.get(format!("/orders/{id}")).await.faults(), ["path /order_id"], "{id}");
            assert_eq!(
                bob.post(format!("/orders/{id}/cancel")).await.faults(),
                ["path /order_id"],
                "{id}"
            );
        }
        store.expect_events(["order_placed"]);
    }

    async fn paging_returns_each_item_once(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let mut placed = Vec::new();
        for n in 0..5 {
            placed
                .push(place(&alice, 1 + n % 3, 1).await.json()["id"].as_str().unwrap().to_owned());
        }
        place(&bob, 1, 1).await;
        placed.reverse();
        assert_eq!(ids(&alice.get("/orders").await.expect(200).json()), placed, "newest first");

        let (mut walked, mut path) = (Vec::new(), "/orders?limit=1".to_owned());
        loop {
            let page = alice.get(&path).await.expect(200).json();
            assert_eq!(ids(&page).len(), 1);
            walked.extend(ids(&page));
            // A newer order does not appear on later pages.
            place(&alice, 2, 1).await;
            let Some(token) = page["next_page"].as_str() else { break };
            path = format!("/orders?limit=1&page_token={token}");
        }
        assert_eq!(walked, placed);
        let orders: Vec<Order> =
            alice.client().list_orders().limit(3_u32).stream().try_collect().await.unwrap();
        assert_eq!(
            (
                orders.len(),
                orders.iter().map(|order| order.id.to_string()).collect::<BTreeSet<_>>().len()
            ),
            (10, 10)
        );
        store.expect_event_count("order_placed", 11);

        // With another user's page token, the api lists only the caller's own orders or returns
        // 400.
        let token =
            alice.get("/orders?limit=1").await.json()["next_page"].as_str().unwrap().to_owned();
        let page = bob.get(format!("/orders?limit=100&page_token={token}")).await;
        if page.status == 200 {
            assert!(
                page.json()["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|order| order["user_id"] == json!(bob.id))
            );
        } else {
            assert_eq!(page.faults(), ["query /page_token"]);
        }
    }

    async fn orders_are_filtered_by_status(store: &TestStore) {
        let alice = store.user().await;
        let (first, second, third) =
            (place(&alice, 1, 1).await, place(&alice, 2, 1).await, place(&alice, 3, 1).await);
        let id = |answer: &Answer| answer.json()["id"].as_str().unwrap().to_owned();
        alice.post(format!("{}/cancel", second.header("location"))).await.expect(200);
        assert_eq!(ids(&alice.get("/orders?status=cancelled").await.json()), [id(&second)]);
        assert_eq!(ids(&alice.get("/orders?status=placed").await.json()), [id(&third), id(&first)]);

        let page = alice.get("/orders?limit=1&status=placed").await.json();
        let token = page["next_page"].as_str().unwrap();
        let next = alice.get(format!("/orders?page_token={token}")).await.expect(200).json();
        assert_eq!(
            (ids(&next), &next["next_page"]),
            (vec![id(&first)], &Value::Null),
            "the token carries the filter"
        );
        alice.get(format!("/orders?page_token={token}&status=placed")).await.expect(200);
        for (query, fault) in [
            (format!("page_token={token}&status=cancelled"), "query /page_token"),
            ("page_token=nonsense".to_owned(), "query /page_token"),
            ("status=shipped".to_owned(), "query /status"),
            ("status=".to_owned(), "query /status"),
            ("status=placed&status=cancelled".to_owned(), "query /status"),
            ("limit=0".to_owned(), "query /limit"),
            ("limit=101".to_owned(), "query /limit"),
            ("user_id=1".to_owned(), "query /user_id"),
        ] {
            assert_eq!(alice.get(format!("/orders?{query}")).await.faults(), [fault], "{query}");
        }
        store.expect_events(["order_placed", "order_placed", "order_placed", "order_cancelled"]);
    }

    async fn product_page_tokens_are_refused_for_orders(store: &TestStore) {
        let alice = store.user().await;
        let token =
            store.get("/products?limit=1").await.json()["next_page"].as_str().unwrap().to_owned();
        assert_eq!(
            alice.get(format!("/orders?page_token={token}")).await.faults(),
            ["query /page_token"]
        );
    }

    async fn orders_survive_a_db_restart(store: &TestStore) {
        let alice = store.user().await;
        let first = alice.order(1, 2).header("idempotency-key", "key").await.expect(201);
        store.restart_db().await;
        // The order and its key were durable before the response.
        let deadline = tokio::time::Instant::now() + merch_test_store::TIMEOUT;
        let again = loop {
            let answer = alice.order(1, 2).header("idempotency-key", "key").await;
            if answer.status == 201 {
                break answer;
            }
            answer.problem(503, "unavailable");
            assert!(
                tokio::time::Instant::now() < deadline,
                "the api did not reconnect to the db service"
            );
        };
        assert_eq!(again.body, first.body);
        store.expect_events(["order_placed"]);
    }
}
