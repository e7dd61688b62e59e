use std::{collections::HashSet, time::Duration};

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tonic::{Code, Status};

use super::*;

async fn number(connection: &DatabaseConnection, sql: &str) -> i64 {
    rows(connection, sql).await[0].try_get_by(0).unwrap()
}

async fn buyers(replica: &Replica, count: usize) -> Vec<Buyer> {
    let mut buyers = vec![];
    for n in 0..count {
        buyers.push(replica.register(&format!("buyer{n}")).await);
    }
    buyers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_never_oversell() {
    let test_database = TestDatabase::postgres().await;
    let replicas: [Replica; 3] = replicas(&test_database, |_, _| {}).await;
    let database = connect(&test_database.url).await;
    database.execute_unprepared("UPDATE products SET stock = 50 WHERE id = 1").await.unwrap();
    let buyers = buyers(&replicas[0], 40).await;
    let orders = (0..240).map(|n| buyers[n % 40].order(HOODIE, 1)).collect();
    let outcomes =
        place_concurrently(&replicas.each_ref().map(|replica| replica.client.clone()), orders)
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
    assert_eq!((sold, refused), (50, 190));
    assert_eq!(number(&database, "SELECT stock::bigint FROM products WHERE id = 1").await, 0);
    assert_eq!(number(&database, "SELECT count(*) FROM orders").await, 50);
    assert_eq!(number(&database, "SELECT count(*) FROM outbox").await, 40 + 240);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replica_loses_no_acknowledged_order() {
    let test_database = TestDatabase::postgres().await;
    let [first, second, third]: [Replica; 3] = replicas(&test_database, |_, _| {}).await;
    let database = connect(&test_database.url).await;
    database.execute_unprepared("UPDATE products SET stock = 100000 WHERE id = 1").await.unwrap();
    let buyer = first.register("ada").await;
    let clients = [first.client.clone(), second.client.clone(), third.client.clone()];
    let calls: Vec<_> = (0..600)
        .map(|n| {
            let (mut client, order) = (clients[n % 3].clone(), buyer.order(HOODIE, 1));
            tokio::spawn(async move {
                let answer =
                    client.place_orders(call(PlaceOrdersRequest { orders: vec![order] })).await;
                (
                    n % 3,
                    answer.map(|answer| {
                        expect_placed(answer.into_inner().results.remove(0).outcome.unwrap()).id
                    }),
                )
            })
        })
        .collect();
    eventually("some orders are placed", || async {
        number(&database, "SELECT count(*) FROM orders").await > 20
    })
    .await;
    third.kill();
    let mut acknowledged = HashSet::new();
    for call in calls {
        match call.await.unwrap() {
            (_, Ok(id)) => assert!(acknowledged.insert(id)),
            // Calls in flight at the killed replica got no response.
            (2, Err(_)) => {}
            (_, Err(status)) => panic!("an order at a running replica failed: {status:?}"),
        }
    }
    let later_order = first.place(buyer.order(HOODIE, 1)).await.unwrap();
    acknowledged.insert(expect_placed(later_order).id);
    let mut stored = HashSet::new();
    for row in rows(&database, "SELECT id::text FROM orders").await {
        stored.insert(row.try_get_by::<String, _>(0).unwrap());
    }
    assert!(acknowledged.is_subset(&stored));
    let count = i64::try_from(stored.len()).unwrap();
    assert_eq!(
        number(&database, "SELECT stock::bigint FROM products WHERE id = 1").await,
        100_000 - count
    );
    assert_eq!(number(&database, "SELECT count(*) FROM outbox").await, count + 1);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_at_all_replicas_places_one_order() {
    let test_database = TestDatabase::postgres().await;
    let replicas: [Replica; 3] = replicas(&test_database, |_, _| {}).await;
    let buyer = replicas[0].register("ada").await;
    let orders =
        (0..90).map(|n| buyer.order_with_key(1 + n / 3 % 3, 1, &format!("k{}", n / 3))).collect();
    let outcomes =
        place_concurrently(&replicas.each_ref().map(|replica| replica.client.clone()), orders)
            .await;
    for three in outcomes.chunks(3) {
        let ids: HashSet<String> = three
            .iter()
            .map(|outcome| expect_placed(outcome.as_ref().unwrap().clone()).id)
            .collect();
        assert_eq!(ids.len(), 1, "{three:?}");
    }
    let outcome = replicas[2].place(buyer.order_with_key(HOODIE, 2, "k0")).await.unwrap();
    assert_eq!(refusal_reason(&outcome), Some(ErrorReason::IdempotencyKeyReused));
    // Both requests arrive concurrently, for different products: one is placed, one is refused.
    let orders =
        (0..60).map(|n| buyer.order_with_key(1 + n % 2, 1, &format!("twice{}", n / 2))).collect();
    for two in
        place_concurrently(&replicas.each_ref().map(|replica| replica.client.clone()), orders)
            .await
            .chunks(2)
    {
        let reasons: Vec<_> =
            two.iter().map(|outcome| refusal_reason(outcome.as_ref().unwrap())).collect();
        assert!(
            reasons.contains(&None) && reasons.contains(&Some(ErrorReason::IdempotencyKeyReused)),
            "{reasons:?}"
        );
    }
    let database = connect(&test_database.url).await;
    assert_eq!(number(&database, "SELECT count(*) FROM orders").await, 60);
    assert_eq!(number(&database, "SELECT sum(stock) FROM products").await, 1500 - 60);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_products_and_users_never_deadlock() {
    let test_database = TestDatabase::postgres().await;
    let replicas: [Replica; 3] = replicas(&test_database, |_, _| {}).await;
    let buyers = buyers(&replicas[0], 6).await;
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let mut clients: Vec<_> =
                replicas.iter().map(|replica| replica.client.clone()).collect();
            let mut buyers = buyers.clone();
            if n % 2 == 0 {
                buyers.reverse();
            }
            tokio::spawn(async move {
                for round in 0..6 {
                    let products = if n % 3 == 0 { [HOODIE, BOTTLE] } else { [BOTTLE, HOODIE] };
                    let orders = buyers
                        .iter()
                        .flat_map(|buyer| products.map(|product| buyer.order(product, 1)))
                        .collect();
                    let (first, second) = ((n + round) % 3, (n + round + 1) % 3);
                    let answer = clients[first]
                        .place_orders(call(PlaceOrdersRequest { orders }))
                        .await
                        .unwrap()
                        .into_inner();
                    for (result, buyer) in answer
                        .results
                        .into_iter()
                        .zip(buyers.iter().flat_map(|buyer| [buyer, buyer]))
                    {
                        let order = expect_placed(result.outcome.unwrap());
                        let request = CancelOrderRequest {
                            context: context(),
                            caller: Some(buyer.caller.clone()),
                            order_id: order.id.clone(),
                        };
                        clients[second].cancel_order(call(request)).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let database = connect(&test_database.url).await;
    assert_eq!(number(&database, "SELECT sum(stock) FROM products").await, 1500);
    assert_eq!(number(&database, "SELECT count(*) FROM orders WHERE status = 'placed'").await, 0);
    // PostgreSQL reports the statistics of a connection when it ends.
    for replica in replicas {
        replica.shutdown.cancel();
        replica.kill();
    }
    eventually("only the test is connected", || async {
        number(
            &database,
            "SELECT count(DISTINCT application_name) FROM pg_stat_activity \
            WHERE datname = current_database()",
        )
        .await
            == 1
    })
    .await;
    assert_eq!(
        number(
            &database,
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        .await,
        0
    );
    database.close().await.unwrap();
}

/// Two users swap their names; only the deadlock detector can resolve this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocked_transaction_is_retried() {
    let test_database = TestDatabase::postgres().await;
    let [first, second]: [Replica; 2] = replicas(&test_database, |_, _| {}).await;
    let (ada, bob) = (first.register("ada").await, first.register("bob").await);
    for _ in 0..20 {
        let (one, other) = tokio::join!(first.rename(&ada, "bob"), second.rename(&bob, "ada"));
        for outcome in [&one, &other] {
            let taken = |status: &Status| status.code() == Code::AlreadyExists;
            assert!(outcome.as_ref().err().is_none_or(taken), "{outcome:?}");
        }
    }
}

/// The database's default is SERIALIZABLE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serialization_failure_is_retried_or_reported() {
    let test_database = TestDatabase::postgres().await;
    let administrator = connect(&test_database.url).await;
    let (_, name) = test_database.url.rsplit_once('/').unwrap();
    let serializable =
        format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    administrator.execute_unprepared(&serializable).await.unwrap();
    administrator.close().await.unwrap();
    let replicas: [Replica; 3] = replicas(&test_database, |_, _| {}).await;
    let buyer = replicas[0].register("ada").await;
    let outcomes = place_concurrently(
        &replicas.each_ref().map(|replica| replica.client.clone()),
        vec![buyer.order(HOODIE, 1); 150],
    )
    .await;
    let mut sold = 0;
    for outcome in outcomes {
        match outcome {
            Ok(outcome) => {
                expect_placed(outcome);
                sold += 1;
            }
            Err(status) => assert_eq!(
                error_of(Err::<(), _>(status)),
                error(Code::Unavailable, ErrorReason::DatabaseUnavailable)
            ),
        }
    }
    let database = connect(&test_database.url).await;
    assert!(sold > 0);
    assert_eq!(number(&database, "SELECT count(*) FROM orders").await, sold);
    assert_eq!(
        number(&database, "SELECT stock::bigint FROM products WHERE id = 1").await,
        500 - sold
    );
    database.close().await.unwrap();
}

/// After a 503, the client repeats the key at the other replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_lose_and_duplicate_nothing() {
    let test_database = TestDatabase::postgres().await;
    let [first, second]: [Replica; 2] = replicas(&test_database, |_, _| {}).await;
    let buyer = first.register("ada").await;
    let database = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = test_database.url.rsplit_once('/').unwrap();
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let clients = [first.client.clone(), second.client.clone()];
    let calls: Vec<_> = (0..8)
        .map(|task| {
            let (mut clients, buyer) = (clients.clone(), buyer.clone());
            tokio::spawn(async move {
                let mut again = 0;
                for n in 0..25 {
                    let order = buyer.order_with_key(1 + n % 3, 1, &format!("{task}-{n}"));
                    for attempt in 0.. {
                        let client = &mut clients[(task + attempt) % 2];
                        match client
                            .place_orders(call(PlaceOrdersRequest { orders: vec![order.clone()] }))
                            .await
                        {
                            Ok(answer) => {
                                expect_placed(
                                    answer.into_inner().results.remove(0).outcome.unwrap(),
                                );
                                break;
                            }
                            Err(status) => {
                                // On a slow machine all connections of a call may be closed until
                                // its deadline. Both errors ask for a retry.
                                if status.code() != Code::DeadlineExceeded {
                                    assert_eq!(
                                        error_of(Err::<(), _>(status)),
                                        error(Code::Unavailable, ErrorReason::DatabaseUnavailable)
                                    );
                                }
                                again += 1;
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                    }
                }
                again
            })
        })
        .collect();
    while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
        database.execute_unprepared(&cut).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let mut again = 0;
    for call in calls {
        again += call.await.unwrap();
    }
    eprintln!("{again} of 200 orders were retried");
    let store = connect(&test_database.url).await;
    assert_eq!(number(&store, "SELECT count(*) FROM orders").await, 200);
    assert_eq!(number(&store, "SELECT sum(stock) FROM products").await, 1300);
    assert_eq!(number(&store, "SELECT count(*) FROM outbox").await, 201);
    store.close().await.unwrap();
    database.close().await.unwrap();
}
