//! Each language's client completes the journey; afterwards the store and the topic contain exactly
//! its effects.

use merch_test_store::TestStore;

use crate::{
    driver::{Driver, Run, SOLD_OUT, store},
    journey_file::Journey,
};

const STOCK: i64 = 500;

async fn completes_the_journey(language: &'static str) {
    let store = store().await;
    let dir = tempfile::tempdir().unwrap();
    let journey = Journey::read();
    let run = drive(&Driver::of(language).await, &journey, store.url(), dir.path()).await;
    assert_eq!(run.code, Some(0), "the {language} client did not complete the journey\n{run}");
    let mut said = run.stdout.lines();
    for (number, step) in (1..).zip(journey.steps()) {
        let line = match step.not_in(language) {
            None => format!("ok {number} {} {} {}", step.operation(), step.status(), step.name()),
            Some(reason) => format!("skipped {number} {} {reason}", step.operation()),
        };
        assert_eq!(said.next(), Some(line.as_str()), "{run}");
    }
    assert_eq!(said.next(), None, "{run}");
    assert_stored(&store, language, &journey).await;
    store.finish().await;
}

pub(crate) async fn drive(
    driver: &Driver,
    journey: &Journey,
    url: &str,
    dir: &std::path::Path,
) -> Run {
    let path = dir.join("journey.json");
    std::fs::write(&path, journey.text()).unwrap();
    let path = path.to_str().expect("a temporary directory has a name of ASCII");
    driver.clone().with("MERCH_URL", url).with("MERCH_JOURNEY", path).run().await
}

async fn assert_stored(store: &TestStore, language: &str, journey: &Journey) {
    let events = journey.events(language);
    let count = |word: &str| i64::try_from(events.get(word).copied().unwrap_or(0)).unwrap();
    for (rows, wanted) in [
        ("users", count("user_registered")),
        ("users WHERE NOT is_active", count("user_deactivated")),
        ("orders", count("order_placed")),
        ("orders WHERE status = 'cancelled'", count("order_cancelled")),
        // The key of a refused order is not stored.
        ("idempotency_keys", 1),
    ] {
        assert_eq!(
            store.sql_integer(&format!("SELECT COUNT(*) FROM {rows}")).await,
            wanted,
            "{rows}"
        );
    }
    for product in 1..=SOLD_OUT {
        let sold = format!(
            "(SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE product_id = {product} AND \
             status = 'placed')"
        );
        let pieces = store
            .sql_integer(&format!("SELECT stock + {sold} FROM products WHERE id = {product}"))
            .await;
        assert_eq!(
            pieces,
            if product == SOLD_OUT { 0 } else { STOCK },
            "pieces of product {product}, in stock and sold"
        );
    }
    for (word, times) in &events {
        store.expect_event_count(word, *times);
    }
}

each_language!(crate::journey::completes_the_journey);
