//! What only PostgreSQL does: numbers that are committed out of order, connections that are cut.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use merch_contract::grpc::assistant::v1::PlaceOrdersRequest;
use merch_db::{Outbox, ShippedEvents};
use merch_logging::client::EventSource as _;
use sea_orm::ConnectionTrait as _;

use crate::{
    harness::*,
    outbox::{keeper, words},
};

#[tokio::test]
async fn an_event_that_is_committed_late_is_not_skipped() {
    let store = TestDb::start(Place::postgres().await).await;
    let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
    store.register("ada").await;
    // A transaction takes a number and lingers, while a later one commits.
    let late = store.database.begin().await.unwrap();
    late.execute_unprepared("INSERT INTO outbox (id, payload, created_at) SELECT gen_random_uuid(), payload, now() FROM outbox")
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

/// As the shipper reads under load, when it begins from the oldest once in a while only: the later
/// event of a subject must not overtake the one that another process wrote before and committed
/// late.
#[tokio::test]
async fn an_event_that_is_committed_late_comes_before_what_was_written_after_it() {
    let store = TestDb::start(Place::postgres().await).await;
    let outbox = Outbox::new(store.database.clone(), ShippedEvents::Delete);
    for name in ["ada", "bob"] {
        store.register(name).await;
    }
    // Numbers 3 and 5, which are not committed, and 4 between them, which is.
    let insert = "INSERT INTO outbox (id, payload, created_at) SELECT gen_random_uuid(), payload, now() FROM outbox WHERE seq = 1";
    let (third, fifth) =
        (store.database.begin().await.unwrap(), store.database.begin().await.unwrap());
    third.execute_unprepared(insert).await.unwrap();
    store.register("carol").await;
    fifth.execute_unprepared(insert).await.unwrap();
    let numbers = async |after: Option<i64>, limit: usize| {
        let read = outbox.read(after.as_ref(), limit).await.unwrap();
        read.into_iter().map(|(position, _)| position).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, 10).await, [1, 2, 4]);
    assert_eq!(numbers(Some(4), 10).await, [] as [i64; 0]);
    third.commit().await.unwrap();
    store.register("dave").await;
    assert_eq!(numbers(Some(4), 1).await, [3], "first what was first");
    assert_eq!(numbers(Some(3), 10).await, [6], "and nothing twice");
    fifth.rollback().await.unwrap();
    store.register("eve").await;
    assert_eq!(numbers(Some(6), 10).await, [7]);
    assert_eq!(numbers(None, 10).await, [1, 2, 3, 4, 6, 7]);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_anew() {
    let store = TestDb::start(Place::postgres().await).await;
    let buyer = store.register("ada").await;
    let administrator = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = store.place.url.rsplit_once('/').unwrap();
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    for _ in 0..3 {
        administrator.execute_unprepared(&cut).await.unwrap();
        store.buy(&buyer, HOODIE, 1).await;
        store.register(&format!("b{}", store.product(HOODIE).await.stock)).await;
    }
    assert_eq!(store.product(HOODIE).await.stock, 497);
    administrator.close().await.unwrap();
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_unavailable_and_comes_back() {
    let store = TestDb::start(Place::postgres().await).await;
    let buyer = store.register("ada").await;
    eventually("the service is ready", || async { store.readiness.check().is_ok() }).await;
    let administrator = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = store.place.url.rsplit_once('/').unwrap();
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
    assert_eq!(told(store.client().create_user(call(new_user("bob"))).await), gone);
    assert_eq!(told(store.place(vec![buyer.order(HOODIE, 1)]).await), gone);
    let list = merch_contract::grpc::assistant::v1::ListProductsRequest {
        page_size: 1,
        ..Default::default()
    };
    assert_eq!(told(store.client().list_products(call(list)).await), gone);
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
async fn a_lock_that_is_held_too_long_is_unavailable_and_nothing_is_placed() {
    let place = Place::postgres().await;
    let mut config = config(&place);
    config.pool.lock_timeout = Duration::from_millis(100);
    let store = TestDb::start_with(place, config).await;
    let buyer = store.register("ada").await;
    let held = store.database.begin().await.unwrap();
    held.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let outcome = store.place(vec![buyer.order(HOODIE, 1)]).await;
    assert_eq!(
        told(outcome),
        (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned())
    );
    held.rollback().await.unwrap();
    assert_eq!((store.count("orders").await, store.product(HOODIE).await.stock), (0, 500));
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_key_whose_order_another_process_is_committing_is_a_replay_also_of_the_last_piece()
 {
    let store = TestDb::start(Place::postgres().await).await;
    let buyer = store.register("ada").await;
    store.sql("UPDATE products SET stock = 1 WHERE id = 1").await;
    // The other process: the last piece is taken and the key remembered, but not committed.
    let other = store.database.begin().await.unwrap();
    for sql in [
        "UPDATE products SET stock = 0 WHERE id = 1".to_owned(),
        format!(
            "INSERT INTO orders SELECT gen_random_uuid(), '{}', id, 1, price_cents, price_cents, currency, 'placed', now(), NULL, 1 \
             FROM products WHERE id = 1",
            buyer.user.id
        ),
        "INSERT INTO idempotency_keys SELECT user_id, 'k', 'v1:product=1,quantity=1', id, created_at FROM orders".to_owned(),
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
    assert_eq!([placed(outcome).id], [found[0].try_get_by::<String, _>(0).unwrap()]);
    assert_eq!((found.len(), store.product(HOODIE).await.stock), (1, 0));
    store.stop().await;
}

/// Stands before PostgreSQL. What it swallows it keeps for ever: connections stay open and say
/// nothing more, as behind a cut wire.
pub(crate) struct Wire {
    pub(crate) url: String,
    pub(crate) cut: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Wire {
    pub(crate) async fn before(url: &str) -> Self {
        let (credentials, rest) = url.rsplit_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{name}", listener.local_addr().unwrap());
        let (cut, server) = (Arc::new(tokio::sync::watch::Sender::new(false)), server.to_owned());
        let wire = Self { url, cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, server) = (cut.subscribe(), server.clone());
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        biased;
                        // The receiver is dropped with it, by which a test sees that nothing passes
                        // any more.
                        () = async move { drop(cut.wait_for(|cut| *cut).await) } => std::future::pending().await,
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        wire
    }

    /// One between a new database and a store on it.
    async fn before_store(change: impl FnOnce(&mut merch_db::Config)) -> (Self, TestDb) {
        let place = Place::postgres().await;
        let wire = Self::before(&place.url).await;
        let mut config = config(&place);
        config.database = (&wire.url).into();
        change(&mut config);
        (wire, TestDb::start_with(place, config).await)
    }

    /// What there is stays silent; what is made from now on is not.
    async fn silence_what_there_is(&self) {
        self.cut.send_replace(true);
        eventually("nothing passes any more", || async { self.cut.receiver_count() == 0 }).await;
        self.cut.send_replace(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_make_the_service_not_ready_and_are_given_up() {
    let (keeper, logging) = keeper().await;
    let (wire, store) = Wire::before_store(|config| {
        config.logging_endpoint = logging;
        config.pool.connections = 4;
        config.pool.acquire_timeout = Duration::from_secs(2);
        config.pool.transaction_timeout = Duration::from_secs(1);
    })
    .await;
    store.register("ada").await;
    eventually("the service is ready", || async { store.readiness.check().is_ok() }).await;
    eventually("the event is shipped", || async { words(&keeper).await.len() == 1 }).await;
    wire.cut.send_replace(true);
    // So that every connection is used, and falls silent while it is.
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
            told(lost.await.unwrap()),
            (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned())
        );
    }
    eventually("the service is not ready", || async { store.readiness.check().is_err() }).await;
    wire.cut.send_replace(false);
    eventually("the service is ready again", || async { store.readiness.check().is_ok() }).await;
    store.register("bob").await;
    eventually("the shipper goes on", || async { words(&keeper).await.len() == 2 }).await;
    store.stop().await;
}

/// As when a firewall forgets a connection, or the server's machine is another one now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fell_silent_while_nobody_used_it_is_replaced_and_the_call_goes_on() {
    let (wire, store) = Wire::before_store(|config| config.grpc.deadline = PATIENCE).await;
    for round in 0..3 {
        store.register(&format!("before{round}")).await;
        wire.silence_what_there_is().await;
        store.register(&format!("after{round}")).await;
    }
    store.stop().await;
}

/// Idle ones, and those that are just returned to the pool: sqlx pings them then, without a time
/// limit of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_at_any_moment_are_replaced() {
    for pooler in [None, Some(merch_db::Pooler::Transaction)] {
        let (wire, store) = Wire::before_store(|config| {
            config.pool.connections = 1;
            config.pool.acquire_timeout = Duration::from_millis(500);
            config.pool.transaction_timeout = Duration::from_secs(1);
            config.pool.pooler = pooler;
        })
        .await;
        let buyer = store.register("ada").await;
        for _ in 0..6 {
            wire.silence_what_there_is().await;
            eventually("orders are placed again", || async {
                store.place(vec![buyer.order(HOODIE, 1)]).await.is_ok()
            })
            .await;
        }
        store.stop().await;
    }
}

/// Else the next statement on that connection would seem to have been done, and be undone with the
/// transaction that nobody knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_while_a_transaction_begins_leaves_none_behind() {
    for pooler in [None, Some(merch_db::Pooler::Transaction)] {
        let place = Place::postgres().await;
        let pool = merch_db::Pool { connections: 1, pooler, ..merch_db::Pool::default() };
        let database = merch_db::Database::open(&place.url, &pool).await.unwrap();
        let onlooker = connect(&place.url).await;
        for round in 0..200_u64 {
            // BEGIN takes some hundred microseconds, less than a timer counts: some leave before it
            // is sent, some while it is answered, some after.
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
            assert_eq!(stock as u64, round, "what was done is not there");
        }
        onlooker.close().await.unwrap();
        database.close().await;
    }
}
