use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use merch_contract::grpc::assistant::v1::{ListOrdersRequest, OrderStatus};
use merch_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait as _, DbErr, TransactionTrait as _};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::harness::*;

async fn migrate_concurrently(url: &str) {
    let many: Vec<_> = (0..10).map(|_| tokio::spawn(merch_db::migrate(url))).collect();
    let mut applied = vec![];
    for one in many {
        applied.extend(one.await.unwrap().unwrap());
    }
    let all: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(applied, all, "one of them applied everything, the others nothing");
    let connection = connect(url).await;
    assert_eq!(rows(&connection, "SELECT 1 FROM products").await.len(), 3);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_migrations_apply_once_on_postgres() {
    migrate_concurrently(&TestDatabase::empty_postgres().await.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_migrations_apply_once_on_sqlite() {
    for _ in 0..5 {
        migrate_concurrently(&TestDatabase::empty_sqlite().url).await;
    }
}

/// The next release, which expands.
struct Next;

/// The release after that, which contracts.
struct AfterNext;

impl MigratorTrait for Next {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = Migrator::migrations();
        migrations.push(Box::new(Expand));
        migrations
    }
}

impl MigratorTrait for AfterNext {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = Next::migrations();
        migrations.push(Box::new(Contract));
        migrations
    }
}

struct Expand;
struct Contract;

const EXPAND: &str = "m20990101_000001_expand";
const CONTRACT: &str = "m20990101_000002_contract";

impl MigrationName for Expand {
    fn name(&self) -> &str {
        EXPAND
    }
}

impl MigrationName for Contract {
    fn name(&self) -> &str {
        CONTRACT
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Expand {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "ALTER TABLE users ADD COLUMN nickname text",
            "ALTER TABLE orders ADD COLUMN note text DEFAULT ''",
            "ALTER TABLE products ADD COLUMN weight_grams integer",
            "CREATE TABLE wishes (id integer PRIMARY KEY, wish text NOT NULL)",
            "CREATE INDEX ix_orders_created_at ON orders (created_at)",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Contract {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            &format!("UPDATE schema_requirements SET oldest_migration = '{EXPAND}'"),
            "ALTER TABLE users DROP COLUMN nickname",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

async fn starts(test_database: &TestDatabase) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let readiness = merch_chassis::Readiness::expecting("db");
    let mut serving = tokio::spawn(merch_db::serve(
        listener,
        config(test_database),
        readiness.clone(),
        shutdown.clone(),
    ));
    let ready = eventually("it serves", || async { readiness.check().is_ok() });
    tokio::select! {
        () = ready => {
            shutdown.cancel();
            serving.await.unwrap().map_err(|error| error.to_string())
        }
        ended = &mut serving => ended.unwrap().map_err(|error| error.to_string()),
    }
}

async fn assert_works_on_the_next_schema(test_database: TestDatabase) {
    let store = Arc::new(TestService::start(test_database).await);
    let buyer = store.register("ada").await;
    store.sql("UPDATE products SET stock = 100000 WHERE id = 1").await;
    let done = Arc::new(AtomicBool::new(false));
    let buying = tokio::spawn({
        let (store, buyer, done) = (store.clone(), buyer.clone(), done.clone());
        async move {
            let mut bought = 0;
            while !done.load(Ordering::Relaxed) {
                // Runs every prepared statement of the connection again.
                let order = buyer.order_with_key(HOODIE, 1, &format!("k{bought}"));
                let first =
                    expect_placed(store.place(vec![order.clone()]).await.unwrap().remove(0));
                assert_eq!(expect_placed(store.place(vec![order]).await.unwrap().remove(0)), first);
                for status in [OrderStatus::Unspecified, OrderStatus::Placed] {
                    let list = ListOrdersRequest {
                        caller: Some(buyer.caller.clone()),
                        page_size: 5,
                        status: status.into(),
                        ..Default::default()
                    };
                    assert!(
                        !store
                            .client()
                            .list_orders(call(list))
                            .await
                            .unwrap()
                            .into_inner()
                            .orders
                            .is_empty()
                    );
                }
                if bought % 2 == 0 {
                    store.cancel(&buyer, &first.id).await.unwrap();
                }
                store.product(HOODIE).await;
                bought += 1;
            }
            bought
        }
    });
    eventually("it is sold", || async { store.count("orders").await > 3 }).await;
    let connection = connect(&store.test_database.url).await;
    Next::up(&connection, None).await.unwrap();
    let so_far = store.count("orders").await;
    eventually("it is sold on", || async { store.count("orders").await > so_far + 3 }).await;
    done.store(true, Ordering::Relaxed);
    assert_eq!(buying.await.unwrap(), store.count("orders").await);
    store.register("bob").await;

    let test_database = Arc::into_inner(store).unwrap().stop().await;
    starts(&test_database).await.unwrap();
    assert_eq!(
        merch_db::migrate(&test_database.url).await.unwrap(),
        [] as [&str; 0],
        "newer migrations stay"
    );

    AfterNext::up(&connection, None).await.unwrap();
    connection.close().await.unwrap();
    let refusal = format!(
        "the schema is too new for this program: it requires the migration {EXPAND}, which this \
         program does not contain; start a newer `merch`"
    );
    assert_eq!(starts(&test_database).await.unwrap_err(), refusal);
    assert_eq!(merch_db::migrate(&test_database.url).await.unwrap_err().to_string(), refusal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn program_works_on_the_next_schema_on_postgres() {
    assert_works_on_the_next_schema(TestDatabase::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn program_works_on_the_next_schema_on_sqlite() {
    assert_works_on_the_next_schema(TestDatabase::sqlite().await).await;
}

#[tokio::test]
async fn diverged_schema_is_refused() {
    let test_database = TestDatabase::sqlite().await;
    let connection = connect(&test_database.url).await;
    let last = Migrator::migrations().last().unwrap().name().to_owned();
    connection
        .execute_unprepared(&format!(
            "UPDATE seaql_migrations SET version = '{EXPAND}' WHERE version = '{last}'"
        ))
        .await
        .unwrap();
    connection.close().await.unwrap();
    let expected = format!("it lacks {last} and has {EXPAND}, which this program does not contain");
    assert!(starts(&test_database).await.unwrap_err().contains(&expected));
    assert!(
        merch_db::migrate(&test_database.url).await.unwrap_err().to_string().contains(&expected)
    );
}

/// A migration stops waiting for a table before other queries wait behind it, and retries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_retries_after_a_lock_timeout() {
    let test_database = TestDatabase::empty_postgres().await;
    let connection = connect(&test_database.url).await;
    Migrator::up(&connection, Some(u32::try_from(Migrator::migrations().len()).unwrap() - 1))
        .await
        .unwrap();
    // Blocks writes to the table, not reads.
    let held = connection.begin().await.unwrap();
    held.execute_unprepared("LOCK TABLE seaql_migrations IN SHARE MODE").await.unwrap();
    let migrating = tokio::spawn(merch_db::migrate(&test_database.url));
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name = 'merch-migrate' AND wait_event_type = 'Lock'";
    for waits in [true, false, true] {
        eventually("it waits, gives up, and waits again", || async {
            rows(&connection, waiting).await.is_empty() != waits
        })
        .await;
    }
    held.rollback().await.unwrap();
    assert_eq!(migrating.await.unwrap().unwrap().len(), 1);
    connection.close().await.unwrap();
}
