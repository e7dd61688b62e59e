use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use merch_contract::grpc::assistant::v1::PlaceOrdersRequest;
use merch_db::{Outbox, OutboxPosition, ShippedEvents};
use merch_logging::client::EventSource as _;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::{
    harness::*,
    outbox::{event_names, log_recorder},
};

#[tokio::test]
async fn late_committed_event_is_not_skipped() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
    store.register("ada").await;
    let late = store.database.begin().await.unwrap();
    late.execute_unprepared(
        "INSERT INTO outbox (id, payload, created_at) \
        SELECT gen_random_uuid(), payload, now() FROM outbox",
    )
    .await
    .unwrap();
    store.register("bob").await;
    let seen = outbox.read(None, 10).await.unwrap();
    assert_eq!(seen.len(), 2);
    outbox
        .acknowledge(&seen.iter().map(|(position, _)| *position).collect::<Vec<_>>())
        .await
        .unwrap();
    late.commit().await.unwrap();
    let [(position, _)] = outbox.read(None, 10).await.unwrap().try_into().unwrap();
    assert!(position < seen[1].0 && position > seen[0].0);
    store.stop().await;
}

/// Under load the shipper rarely restarts at the oldest event. A later event of a subject must not
/// overtake an earlier one that another process commits late.
#[tokio::test]
async fn late_committed_event_keeps_its_order() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
    for name in ["ada", "bob"] {
        store.register(name).await;
    }
    let insert = "INSERT INTO outbox (id, payload, created_at) \
        SELECT gen_random_uuid(), payload, now() FROM outbox WHERE seq = 1";
    let (third, fifth) =
        (store.database.begin().await.unwrap(), store.database.begin().await.unwrap());
    third.execute_unprepared(insert).await.unwrap();
    store.register("carol").await;
    fifth.execute_unprepared(insert).await.unwrap();
    let read = async |after: Option<OutboxPosition>, limit: usize| {
        let read = outbox.read(after.as_ref(), limit).await.unwrap();
        let numbers: Vec<i64> = read.iter().map(|(position, _)| position.seq()).collect();
        (numbers, read.last().map(|(position, _)| *position))
    };
    let (numbers, after) = read(None, 10).await;
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(read(after, 10).await.0, [] as [i64; 0]);
    third.commit().await.unwrap();
    store.register("dave").await;
    let (numbers, after) = read(after, 1).await;
    assert_eq!(numbers, [3], "events keep their order");
    let (numbers, after) = read(after, 10).await;
    assert_eq!(numbers, [6], "no event is read twice");
    fifth.rollback().await.unwrap();
    store.register("eve").await;
    assert_eq!(read(after, 10).await.0, [7]);
    assert_eq!(read(None, 10).await.0, [1, 2, 3, 4, 6, 7]);
    store.stop().await;
}

/// After a fail-over to a standby that lacks the last transactions, numbers can repeat.
#[tokio::test]
async fn acknowledgement_spares_the_next_event_of_its_number() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    for policy in [ShippedEvents::Delete, ShippedEvents::ShipAgainAtStart { kept: 0 }] {
        store.register(if policy == ShippedEvents::Delete { "ada" } else { "bob" }).await;
        let outbox = Outbox::new(store.database.clone(), policy);
        let lost = outbox.read(None, 10).await.unwrap();
        store.sql("UPDATE outbox SET id = gen_random_uuid()").await;
        let positions: Vec<OutboxPosition> = lost.iter().map(|(position, _)| *position).collect();
        outbox.acknowledge(&positions).await.unwrap();
        outbox.dead_letter(&lost[0].0, &lost[0].1, "refused").await.unwrap();
        let next = outbox.read(None, 10).await.unwrap();
        assert_eq!(next.len(), lost.len());
        assert!(next[0].0 != lost[0].0 && next[0].0.seq() == lost[0].0.seq());
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_are_replaced() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    let buyer = store.register("ada").await;
    let administrator = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = store.test_database.url.rsplit_once('/').unwrap();
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    // Connections in use are not checked, and those that wait longer are.
    let used = format!(
        "SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'merch-db'
            AND state_change > clock_timestamp() - interval '60 ms'"
    );
    for _ in 0..3 {
        eventually("no connection is in use", || async {
            let used = Statement::from_string(DbBackend::Postgres, used.as_str());
            administrator.query_one_raw(used).await.unwrap().is_none()
        })
        .await;
        administrator.execute_unprepared(&cut).await.unwrap();
        store.buy(&buyer, HOODIE, 1).await;
        store.register(&format!("b{}", store.product(HOODIE).await.stock)).await;
    }
    assert_eq!(store.product(HOODIE).await.stock, 497);
    administrator.close().await.unwrap();
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage_is_unavailable_then_recovers() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    let buyer = store.register("ada").await;
    eventually("the service is ready", || async { store.readiness.check().is_ok() }).await;
    let administrator = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = store.test_database.url.rsplit_once('/').unwrap();
    administrator
        .execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        .await
        .unwrap();
    administrator
        .execute_unprepared(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await
        .unwrap();
    let gone = (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned());
    assert_eq!(error_of(store.client().create_user(call(new_user("bob"))).await), gone);
    assert_eq!(error_of(store.place(vec![buyer.order(HOODIE, 1)]).await), gone);
    let list = merch_contract::grpc::assistant::v1::ListProductsRequest {
        page_size: 1,
        ..Default::default()
    };
    assert_eq!(error_of(store.client().list_products(call(list)).await), gone);
    eventually("the service is not ready", || async { store.readiness.check().is_err() }).await;
    administrator
        .execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        .await
        .unwrap();
    eventually("the service is ready again", || async { store.readiness.check().is_ok() }).await;
    store.buy(&buyer, HOODIE, 1).await;
    assert_eq!(store.count("orders").await, 1);
    administrator.close().await.unwrap();
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_timeout_is_unavailable_and_places_nothing() {
    let test_database = TestDatabase::postgres().await;
    let mut config = config(&test_database);
    config.pool.lock_timeout = Duration::from_millis(100);
    let store = TestService::start_with(test_database, config).await;
    let buyer = store.register("ada").await;
    let held = store.database.begin().await.unwrap();
    held.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let outcome = store.place(vec![buyer.order(HOODIE, 1)]).await;
    assert_eq!(
        error_of(outcome),
        (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned())
    );
    held.rollback().await.unwrap();
    assert_eq!((store.count("orders").await, store.product(HOODIE).await.stock), (0, 500));
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_key_waits_for_a_concurrent_commit() {
    let store = TestService::start(TestDatabase::postgres().await).await;
    let buyer = store.register("ada").await;
    store.sql("UPDATE products SET stock = 1 WHERE id = 1").await;
    let other = store.database.begin().await.unwrap();
    for sql in [
        "UPDATE products SET stock = 0 WHERE id = 1".to_owned(),
        format!(
            "INSERT INTO orders \
             SELECT gen_random_uuid(), '{}', id, 1, price_cents, price_cents, currency, 'placed', \
             now(), NULL, 1 \
             FROM products WHERE id = 1",
            buyer.user.id
        ),
        "INSERT INTO idempotency_keys \
         SELECT user_id, 'k', 'v1:product=1,quantity=1', id, created_at FROM orders"
            .to_owned(),
    ] {
        other.execute_unprepared(&sql).await.unwrap();
    }
    let (mut client, order) = (store.client(), buyer.order_with_key(HOODIE, 1, "k"));
    let repeated = tokio::spawn(async move {
        client.place_orders(call(PlaceOrdersRequest { orders: vec![order] })).await
    });
    let waits = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the repeated order waits for the product", || async {
        store.count(waits).await == 1
    })
    .await;
    other.commit().await.unwrap();
    let outcome = repeated.await.unwrap().unwrap().into_inner().results.remove(0).outcome.unwrap();
    let found = rows(store.database.reader(), "SELECT id::text FROM orders").await;
    assert_eq!([expect_placed(outcome).id], [found[0].try_get_by::<String, _>(0).unwrap()]);
    assert_eq!((found.len(), store.product(HOODIE).await.stock), (1, 0));
    store.stop().await;
}

/// A TCP proxy in front of PostgreSQL. Frozen connections stay open and pass no data.
pub(crate) struct FreezableProxy {
    pub(crate) url: String,
    pub(crate) cut: Arc<tokio::sync::watch::Sender<bool>>,
}

impl FreezableProxy {
    pub(crate) async fn before(url: &str) -> Self {
        let (credentials, rest) = url.rsplit_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{name}", listener.local_addr().unwrap());
        let (cut, server) = (Arc::new(tokio::sync::watch::Sender::new(false)), server.to_owned());
        let proxy = Self { url, cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, server) = (cut.subscribe(), server.clone());
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        biased;
                        // Dropping the receiver signals the test that the proxy has stopped
                        // forwarding.
                        () = async move { drop(cut.wait_for(|cut| *cut).await) } => {
                            std::future::pending().await
                        }
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        proxy
    }

    async fn before_store(change: impl FnOnce(&mut merch_db::Config)) -> (Self, TestService) {
        let test_database = TestDatabase::postgres().await;
        let proxy = Self::before(&test_database.url).await;
        let mut config = config(&test_database);
        config.database = (&proxy.url).into();
        change(&mut config);
        (proxy, TestService::start_with(test_database, config).await)
    }

    /// Later connections work.
    async fn freeze_open_connections(&self) {
        self.cut.send_replace(true);
        eventually("nothing passes any more", || async { self.cut.receiver_count() == 0 }).await;
        self.cut.send_replace(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_connections_make_the_service_unready() {
    let (recorder, logging) = log_recorder().await;
    let (proxy, store) = FreezableProxy::before_store(|config| {
        config.logging_endpoint = logging;
        config.pool.connections = 4;
        config.pool.acquire_timeout = Duration::from_secs(2);
        config.pool.transaction_timeout = Duration::from_secs(1);
    })
    .await;
    store.register("ada").await;
    eventually("the service is ready", || async { store.readiness.check().is_ok() }).await;
    eventually("the event is shipped", || async { event_names(&recorder).await.len() == 1 }).await;
    proxy.cut.send_replace(true);
    let lost: Vec<_> = (0..8)
        .map(|n| {
            let mut client = store.client();
            tokio::spawn(async move {
                client.create_user(call(new_user(&format!("lost{n}")))).await.map(|_| ())
            })
        })
        .collect();
    for lost in lost {
        assert_eq!(
            error_of(lost.await.unwrap()),
            (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned())
        );
    }
    eventually("the service is not ready", || async { store.readiness.check().is_err() }).await;
    proxy.cut.send_replace(false);
    eventually("the service is ready again", || async { store.readiness.check().is_ok() }).await;
    store.register("bob").await;
    eventually("the shipper continues", || async { event_names(&recorder).await.len() == 2 }).await;
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_idle_connection_is_replaced_during_a_call() {
    let (proxy, store) =
        FreezableProxy::before_store(|config| config.grpc.deadline = TIMEOUT).await;
    for round in 0..3 {
        store.register(&format!("before{round}")).await;
        proxy.freeze_open_connections().await;
        store.register(&format!("after{round}")).await;
    }
    store.stop().await;
}

/// Freezes idle connections and busy ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_frozen_at_any_time_are_replaced() {
    for pooler in [None, Some(merch_db::Pooler::Transaction)] {
        let (proxy, store) = FreezableProxy::before_store(|config| {
            config.pool.connections = 1;
            config.pool.acquire_timeout = Duration::from_millis(500);
            config.pool.transaction_timeout = Duration::from_secs(1);
            config.pool.pooler = pooler;
        })
        .await;
        let buyer = store.register("ada").await;
        for _ in 0..6 {
            proxy.freeze_open_connections().await;
            eventually("orders are placed again", || async {
                store.place(vec![buyer.order(HOODIE, 1)]).await.is_ok()
            })
            .await;
        }
        store.stop().await;
    }
}

/// Otherwise the next statement would be rolled back with the open transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_begin_leaves_no_open_transaction() {
    for pooler in [None, Some(merch_db::Pooler::Transaction)] {
        let test_database = TestDatabase::postgres().await;
        let pool = merch_db::Pool { connections: 1, pooler, ..merch_db::Pool::default() };
        let database = merch_db::Database::open(&test_database.url, &pool).await.unwrap();
        let onlooker = connect(&test_database.url).await;
        for round in 0..200_u64 {
            // BEGIN takes less time than the timer's resolution: some calls are cancelled before it
            // is sent, some while it runs, some after.
            let end = Instant::now() + Duration::from_micros(20 * (round % 50));
            let patience = async {
                while Instant::now() < end {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                begun = database.begin() => drop(begun),
                () = patience => {}
            }
            database
                .writer()
                .execute_unprepared(&format!("UPDATE products SET stock = {round} WHERE id = 1"))
                .await
                .unwrap();
            let stock = rows(&onlooker, "SELECT stock FROM products WHERE id = 1").await[0]
                .try_get_by::<i32, _>(0)
                .unwrap();
            assert_eq!(stock as u64, round, "the insert is missing");
        }
        onlooker.close().await.unwrap();
        database.close().await;
    }
}
