use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use merch_db::Database;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::program::{Directory, Postgres};
use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_change_fails_no_call() {
    let server = Postgres::start("17", &[], "host all all 127.0.0.1/32 scram-sha-256", &[]).await;
    let administrator = connect(&server.url()).await;
    administrator.execute_unprepared("CREATE ROLE store LOGIN PASSWORD 'one'").await.unwrap();
    administrator.execute_unprepared("CREATE DATABASE merch OWNER store").await.unwrap();
    let tables = connect(&server.url().replace("/postgres", "/merch")).await;
    let dir = Directory::new();
    let file = dir.write("password", "one\n");
    let url =
        |password: &str| format!("postgres://store:{password}@127.0.0.1:{}/merch", server.port);
    merch_db::migrate(url("one")).await.unwrap();

    let test_database = TestDatabase::external(url("of-last-year"));
    let mut settings = config(&test_database);
    settings.grpc.deadline = TIMEOUT;
    settings.pool.password_file = Some(file.clone());
    settings.pool.acquire_timeout = Duration::from_secs(10);
    settings.pool.connections = 64;
    for limit in [
        &mut settings.pool.lock_timeout,
        &mut settings.pool.statement_timeout,
        &mut settings.pool.transaction_timeout,
    ] {
        *limit = Duration::from_secs(25);
    }
    let pool = settings.pool.clone();
    let store = Arc::new(TestService::start_with(test_database, settings).await);
    let buyer = store.register("ada").await;
    store.sql("UPDATE products SET stock = 100000 WHERE id = 1").await;

    let done = Arc::new(AtomicBool::new(false));
    let buying = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                store.buy(&buyer, HOODIE, 1).await;
                store.product(HOODIE).await;
            }
        }
    });
    // Each registration waits for the table on its connection. There is one more than connections,
    // so each round needs a new one.
    let registering = async |round: &'static str, meanwhile: Pin<Box<dyn Future<Output = ()>>>| {
        let connections =
            rows(&administrator, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'store'")
                .await;
        let many = connections[0].try_get_by::<i64, _>(0).unwrap() + 1;
        let held = tables.begin().await.unwrap();
        held.execute_unprepared("LOCK TABLE users IN SHARE MODE").await.unwrap();
        let registrations: Vec<_> = (0..many)
            .map(|n| {
                let mut client = store.client();
                tokio::spawn(async move {
                    client.create_user(call(new_user(&format!("{round}{n}")))).await.map(|_| ())
                })
            })
            .collect();
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE usename = 'store' AND wait_event_type = 'Lock'";
        let waiting =
            async || rows(&administrator, waiting).await[0].try_get_by::<i64, _>(0).unwrap();
        // These wait on open connections.
        eventually("some registrations wait for the table", || async { waiting().await > 0 }).await;
        meanwhile.await;
        eventually("all registrations have a connection", || async { waiting().await == many })
            .await;
        held.rollback().await.unwrap();
        for registration in registrations {
            registration.await.unwrap().expect("no call is refused");
        }
    };
    let change = async |password: &str| {
        administrator
            .execute_unprepared(&format!("ALTER ROLE store PASSWORD '{password}'"))
            .await
            .unwrap();
    };
    let nothing = || Box::pin(std::future::ready(()));
    registering("first", nothing()).await;
    // The server changes first: a call that needs a connection waits for the file.
    change("two").await;
    let write = file.clone();
    registering("second", Box::pin(async move { std::fs::write(write, "two\n").unwrap() })).await;
    // The file changes first: it is not read while the old password works.
    std::fs::write(&file, "three\n").unwrap();
    registering("third", nothing()).await;
    change("three").await;
    registering("fourth", nothing()).await;
    // The file changes after the old password has stopped working: a call that needs a connection
    // waits for the server.
    change("unknown-password").await;
    std::fs::write(&file, "four\n").unwrap();
    let (log, address) = (server.log(), server.url());
    let refusals = move || {
        std::fs::read_to_string(&log).unwrap().matches("password authentication failed").count()
    };
    let before = refusals();
    let changed = async move {
        eventually("two tries are refused", async || refusals() >= before + 2).await;
        let administrator = connect(&address).await;
        administrator.execute_unprepared("ALTER ROLE store PASSWORD 'four'").await.unwrap();
        administrator.close().await.unwrap();
    };
    registering("fifth", Box::pin(changed)).await;
    done.store(true, Ordering::Relaxed);
    buying.await.expect("no order was refused meanwhile");

    std::fs::write(&file, "never-mind\n").unwrap();
    let pool = merch_db::Pool { acquire_timeout: Duration::from_secs(1), ..pool };
    let error = Database::open(&url("x"), &pool).await.unwrap_err().to_string();
    assert!(
        error.contains("refuses the user \"store\": check the name and the password")
            && !error.contains("never-mind"),
        "{error}"
    );
    std::fs::remove_file(&file).unwrap();
    let error = Database::open(&url("x"), &pool).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the database password file ") && error.contains("cannot be read"),
        "{error}"
    );
    tables.close().await.unwrap();
    administrator.close().await.unwrap();
    Arc::into_inner(store).expect("no task holds the service").stop().await;
}
