//! What only PostgreSQL does: numbers that are committed out of order, connections that are cut.

use merch_db::{Outbox, ShippedEvents};
use merch_logging::client::EventSource as _;
use sea_orm::ConnectionTrait as _;

use crate::harness::*;

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
    outbox.acknowledge(&seen.iter().map(|(position, _)| *position).collect::<Vec<_>>()).await.unwrap();
    late.commit().await.unwrap();
    let [(position, _)] = outbox.read(None, 10).await.unwrap().try_into().unwrap();
    assert!(position < seen[1].0 && position > seen[0].0);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_anew() {
    let store = TestDb::start(Place::postgres().await).await;
    let buyer = store.register("ada").await;
    let administrator = connect(&std::env::var("MERCH_TEST_POSTGRES_URL").unwrap()).await;
    let (_, name) = store.place.url.rsplit_once('/').unwrap();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
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
    administrator.execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    administrator
        .execute_unprepared(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await
        .unwrap();
    let gone = (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned());
    assert_eq!(told(store.client().create_user(call(new_user("bob"))).await), gone);
    assert_eq!(told(store.place(vec![buyer.order(HOODIE, 1)]).await), gone);
    let list = merch_contract::grpc::assistant::v1::ListProductsRequest { page_size: 1, ..Default::default() };
    assert_eq!(told(store.client().list_products(call(list)).await), gone);
    eventually("the service is not ready", || async { store.readiness.check().is_err() }).await;
    administrator.execute_unprepared(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
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
    config.pool.lock_timeout = std::time::Duration::from_millis(100);
    let store = TestDb::start_with(place, config).await;
    let buyer = store.register("ada").await;
    let held = store.database.begin().await.unwrap();
    held.execute_unprepared("UPDATE products SET stock = 7 WHERE id = 1").await.unwrap();
    let outcome = store.place(vec![buyer.order(HOODIE, 1)]).await;
    assert_eq!(told(outcome), (tonic::Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE".to_owned()));
    held.rollback().await.unwrap();
    assert_eq!((store.count("orders").await, store.product(HOODIE).await.stock), (0, 500));
    store.stop().await;
}
