use std::time::Duration;

use merch_db::Database;
use merch_migration::{Compatibility, Migrator, MigratorTrait as _, check_compatibility};
use sea_orm::ConnectionTrait as _;

use crate::harness::*;

async fn served(test_database: &TestDatabase) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving =
        merch_db::serve(listener, config(test_database), Default::default(), Default::default());
    tokio::time::timeout(Duration::from_secs(20), serving)
        .await
        .expect("the start fails")
        .unwrap_err()
        .to_string()
}

async fn up_down_up(test_database: TestDatabase) {
    let applied = merch_db::migrate(&test_database.url).await.unwrap();
    let all: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(applied, all);
    assert_eq!(merch_db::migrate(&test_database.url).await.unwrap(), [] as [&str; 0]);
    let connection = connect(&test_database.url).await;
    Migrator::down(&connection, None).await.unwrap();
    assert_eq!(
        check_compatibility(&connection).await.unwrap(),
        Compatibility::Behind { pending: applied }
    );
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
    up_down_up(TestDatabase::empty_sqlite()).await;
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_postgres() {
    up_down_up(TestDatabase::empty_postgres().await).await;
}

#[tokio::test]
async fn unmigrated_schema_is_refused_with_instructions() {
    let all = Migrator::migrations().len();
    let test_database = TestDatabase::empty_postgres().await;
    assert_eq!(
        served(&test_database).await,
        format!("schema is not migrated ({all} migrations pending): run `merch migrate`")
    );
    let connection = connect(&test_database.url).await;
    assert!(
        rows(&connection, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'").await.is_empty(),
        "no file was created"
    );
    Migrator::up(&connection, Some(u32::try_from(all).unwrap() - 1)).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(
        served(&test_database).await,
        "schema is not migrated (1 migration pending): run `merch migrate`"
    );

    let test_database = TestDatabase::empty_sqlite();
    std::fs::write(file(&test_database), "").unwrap();
    assert_eq!(
        served(&test_database).await,
        format!("schema is not migrated ({all} migrations pending): run `merch migrate`")
    );
}

#[tokio::test]
async fn missing_database_is_refused_with_instructions() {
    let test_database = TestDatabase::empty_sqlite();
    assert_eq!(
        served(&test_database).await,
        format!(
            "there is no database file {}: run `merch migrate` to create it",
            file(&test_database).display()
        )
    );

    let test_database = TestDatabase::empty_postgres().await;
    let (server, _) = test_database.url.rsplit_once('/').unwrap();
    let pool = config(&test_database).pool;
    let error =
        Database::open(&format!("{server}/no_such_database"), &pool).await.unwrap_err().to_string();
    assert!(error.contains("has no database \"no_such_database\""), "{error}");
    let error = Database::open("postgres://user:hunter2@127.0.0.1:1/none", &pool)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("PostgreSQL at 127.0.0.1:1 cannot be reached")
            && !error.contains("hunter2"),
        "{error}"
    );
    let error =
        merch_db::migrate("sqlite:///no/such/directory/store.db").await.unwrap_err().to_string();
    assert!(
        error.starts_with("the database file /no/such/directory/store.db cannot be opened"),
        "{error}"
    );
}

#[tokio::test]
async fn invalid_settings_are_named() {
    let test_database = TestDatabase::sqlite().await;
    let start = async |change: fn(&mut merch_db::Config)| {
        let mut config = config(&test_database);
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
    async fn tables_enforce_their_constraints(store: &TestService) {
        let buyer = store.register("ada").await;
        store.buy(&buyer, HOODIE, 2).await;
        let broken = [
            ("UPDATE users SET sid = 'ABCDEFGHIJKLMNOP'", "ck_users_sid_length"),
            ("UPDATE users SET sid = ''", "ck_users_sid_length"),
            (
                "UPDATE users SET username = '123456789012345678901234567890123456789012345678901'",
                "ck_users_username_length",
            ),
            ("UPDATE products SET stock = -1", "ck_products_stock"),
            ("UPDATE products SET price_cents = -1", "ck_products_price_cents"),
            ("UPDATE orders SET quantity = 0", "ck_orders_quantity"),
            (
                "UPDATE orders SET quantity = 4, total_price_cents = 4 * unit_price_cents",
                "ck_orders_quantity",
            ),
            (
                "UPDATE orders SET total_price_cents = total_price_cents + 1",
                "ck_orders_total_price_cents",
            ),
            ("UPDATE orders SET status = 'lost'", "ck_orders_status"),
            ("UPDATE orders SET status = 'cancelled'", "ck_orders_cancelled_at"),
            ("UPDATE orders SET cancelled_at = created_at", "ck_orders_cancelled_at"),
            ("UPDATE orders SET product_id = 99", "fk_orders_product"),
            ("DELETE FROM users", "fk_orders_user"),
            ("DELETE FROM products", "fk_orders_product"),
        ];
        for (sql, constraint) in broken {
            let outcome = store.database.writer().execute_unprepared(sql).await;
            let error = outcome.expect_err(sql).to_string();
            // SQLite does not name the foreign key.
            let foreign_key = constraint.starts_with("fk_") && error.contains("FOREIGN KEY");
            assert!(error.contains(constraint) || foreign_key, "{sql}: {error}");
        }
    }
);

#[tokio::test]
async fn every_constraint_has_a_name() {
    let test_database = TestDatabase::postgres().await;
    let connection = connect(&test_database.url).await;
    let constraints = "
        SELECT conname::text FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
            AND contype <> 'n'
            AND conrelid <> 'seaql_migrations'::regclass
        UNION
        SELECT indexrelid::regclass::text FROM pg_index
        WHERE indisunique AND indrelid::regclass::text IN ('users')";
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

    // SQLite stores the statement as written.
    let test_database = TestDatabase::sqlite().await;
    let connection = connect(&test_database.url).await;
    let tables = "
        SELECT sql FROM sqlite_schema
        WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'seaql_migrations'";
    for row in rows(&connection, tables).await {
        let sql: String = row.try_get_by(0).unwrap();
        for unnamed in ["CHECK", "REFERENCES", "PRIMARY KEY", "UNIQUE"] {
            let named = sql
                .lines()
                .filter(|line| line.contains(unnamed) && line.contains("CONSTRAINT "))
                .count();
            assert_eq!(sql.matches(unnamed).count(), named, "{unnamed} in {sql}");
        }
        let uppercase = sql.to_uppercase();
        for inexact in ["REAL", "FLOAT", "DOUBLE", "NUMERIC"] {
            assert!(!uppercase.contains(inexact), "{sql}");
        }
    }
    connection.close().await.unwrap();
}
