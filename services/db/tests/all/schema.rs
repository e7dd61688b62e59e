//! The schema: up, down and up again, its rules, and what an unmigrated one is told.

use std::time::Duration;

use merch_db::Database;
use merch_migration::{Migrator, MigratorTrait as _, Standing, standing};
use sea_orm::ConnectionTrait as _;

use crate::harness::*;

async fn served(place: &Place) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = merch_db::serve(listener, config(place), Default::default(), Default::default());
    tokio::time::timeout(Duration::from_secs(20), serving)
        .await
        .expect("it does not start")
        .unwrap_err()
        .to_string()
}

async fn up_down_up(place: Place) {
    let applied = merch_db::migrate(&place.url).await.unwrap();
    let all: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(applied, all);
    assert_eq!(merch_db::migrate(&place.url).await.unwrap(), [] as [&str; 0]);
    let connection = connect(&place.url).await;
    Migrator::down(&connection, None).await.unwrap();
    assert_eq!(standing(&connection).await.unwrap(), Standing::Behind { pending: applied });
    Migrator::up(&connection, None).await.unwrap();
    let found = rows(&connection, "SELECT count(*), sum(stock) FROM products").await;
    assert_eq!(
        (found[0].try_get_by::<i64, _>(0).unwrap(), found[0].try_get_by::<i64, _>(1).unwrap()),
        (3, 1500)
    );
    connection.close().await.unwrap();
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_sqlite() {
    up_down_up(Place::empty_sqlite()).await;
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_postgres() {
    up_down_up(Place::empty_postgres().await).await;
}

#[tokio::test]
async fn a_schema_that_is_not_migrated_is_refused_with_what_to_do() {
    let all = Migrator::migrations().len();
    let place = Place::empty_postgres().await;
    assert_eq!(
        served(&place).await,
        format!("schema is not migrated ({all} migrations pending): run `merch migrate`")
    );
    let connection = connect(&place.url).await;
    assert!(
        rows(&connection, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'").await.is_empty(),
        "nothing was made in passing"
    );
    Migrator::up(&connection, Some(u32::try_from(all).unwrap() - 1)).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(
        served(&place).await,
        "schema is not migrated (1 migration pending): run `merch migrate`"
    );

    let place = Place::empty_sqlite();
    std::fs::write(file(&place), "").unwrap();
    assert_eq!(
        served(&place).await,
        format!("schema is not migrated ({all} migrations pending): run `merch migrate`")
    );
}

#[tokio::test]
async fn a_database_that_is_not_there_is_one_clear_sentence() {
    let place = Place::empty_sqlite();
    assert_eq!(
        served(&place).await,
        format!(
            "there is no database file {}: run `merch migrate` to make it",
            file(&place).display()
        )
    );

    let place = Place::empty_postgres().await;
    let (server, _) = place.url.rsplit_once('/').unwrap();
    let pool = config(&place).pool;
    let error =
        Database::open(&format!("{server}/no_such_database"), &pool).await.unwrap_err().to_string();
    assert!(error.contains("has no database \"no_such_database\""), "{error}");
    let error = Database::open("postgres://nobody:hunter2@127.0.0.1:1/none", &pool)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("PostgreSQL at 127.0.0.1:1 cannot be reached")
            && !error.contains("hunter2"),
        "{error}"
    );
    let error =
        merch_db::migrate("sqlite:///no/such/folder/store.db").await.unwrap_err().to_string();
    assert!(
        error.starts_with("the database file /no/such/folder/store.db cannot be opened"),
        "{error}"
    );
}

#[tokio::test]
async fn settings_that_break_the_contract_are_named() {
    let place = Place::sqlite().await;
    let start = async |change: fn(&mut merch_db::Config)| {
        let mut config = config(&place);
        change(&mut config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        merch_db::serve(listener, config, Default::default(), Default::default())
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(start(|config| config.orders.batch = 255).await.contains("at least 256"));
    assert!(start(|config| config.orders.queue = 10).await.contains("at least 256"));
    assert!(
        start(|config| config.orders.idempotency_retention = Duration::from_secs(1))
            .await
            .contains("at least 24 hours")
    );
    assert!(
        start(|config| config.logging_endpoint = "not a url".into())
            .await
            .contains("http://host:port")
    );
}

on_both!(
    async fn the_tables_refuse_what_breaks_their_rules(store: &TestDb) {
        let buyer = store.register("ada").await;
        store.buy(&buyer, HOODIE, 2).await;
        let broken = [
            "UPDATE users SET sid = 'ABCDEFGHIJKLMNOP'",
            "UPDATE users SET sid = ''",
            "UPDATE users SET username = '123456789012345678901234567890123456789012345678901'",
            "UPDATE products SET stock = -1",
            "UPDATE products SET price_cents = -1",
            "UPDATE orders SET quantity = 0",
            "UPDATE orders SET quantity = 4, total_price_cents = 4 * unit_price_cents",
            "UPDATE orders SET total_price_cents = total_price_cents + 1",
            "UPDATE orders SET status = 'lost'",
            "UPDATE orders SET status = 'cancelled'",
            "UPDATE orders SET cancelled_at = created_at",
            "UPDATE orders SET product_id = 99",
            "DELETE FROM users",
            "DELETE FROM products",
        ];
        for sql in broken {
            assert!(store.database.writer().execute_unprepared(sql).await.is_err(), "{sql}");
        }
    }
);

/// Every check, unique, foreign and primary key has a name that says what it is.
#[tokio::test]
async fn every_constraint_is_named() {
    let place = Place::postgres().await;
    let connection = connect(&place.url).await;
    let constraints = "SELECT conname::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' \
                       AND conrelid <> 'seaql_migrations'::regclass UNION \
                       SELECT indexrelid::regclass::text FROM pg_index WHERE indisunique AND indrelid::regclass::text IN ('users')";
    let mut names = vec![];
    for row in rows(&connection, constraints).await {
        names.push(row.try_get_by::<String, _>(0).unwrap());
    }
    assert!(
        names
            .iter()
            .all(|name| ["pk_", "uq_", "ck_", "fk_"].iter().any(|kind| name.starts_with(kind))),
        "{names:?}"
    );
    for expected in [
        "uq_users_sid",
        "uq_users_username",
        "uq_users_email",
        "ck_users_sid_length",
        "ck_orders_quantity",
        "ck_products_stock",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
    connection.close().await.unwrap();

    // SQLite keeps the statement as it was written.
    let place = Place::sqlite().await;
    let connection = connect(&place.url).await;
    for row in
        rows(&connection, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'seaql_migrations'")
            .await
    {
        let sql: String = row.try_get_by(0).unwrap();
        for unnamed in ["CHECK", "REFERENCES", "PRIMARY KEY", "UNIQUE"] {
            let (all, named) =
                (sql.matches(unnamed).count(), sql.lines().filter(|line| line.contains(unnamed) && line.contains("CONSTRAINT ")).count());
            assert_eq!(all, named, "{unnamed} in {sql}");
        }
        assert!(!["REAL", "FLOAT", "DOUBLE", "NUMERIC"].iter().any(|word| sql.to_uppercase().contains(word)), "{sql}");
    }
    connection.close().await.unwrap();
}
