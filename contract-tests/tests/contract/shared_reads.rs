//! Concurrent reads share calls to the db service, and still see each commit before them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use futures_util::future::join_all;
use merch_test_store::on_both_databases;
use serde_json::Value;

/// Changes of the price, by one each.
const CHANGES: i64 = 60;
/// Clients of each replica that read all the time.
const READERS: usize = 4;

/// A client of one replica of the api.
#[derive(Clone)]
struct Reader {
    http: reqwest::Client,
    url: String,
    /// The price of the last commit.
    committed: Arc<AtomicI64>,
    /// Price minus version, which change together.
    offset: i64,
}

impl Reader {
    async fn get(&self, path: &str) -> (Option<i64>, Value) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let etag = response.headers().get("etag");
        let version = etag.map(|etag| etag.to_str().unwrap().trim_matches('"').parse().unwrap());
        (version, response.json().await.unwrap())
    }

    /// Reads the product and its page. Both must have the price that is committed now.
    async fn check(&self) {
        let committed = self.committed.load(Ordering::SeqCst);
        let (version, product) = self.get("/products/1").await;
        let price = product["price_cents"].as_i64().unwrap();
        assert!(price >= committed, "price {price} after the commit of {committed}");
        assert_eq!(version, Some(price - self.offset), "the entity tag of price {price}");

        let committed = self.committed.load(Ordering::SeqCst);
        let (_, page) = self.get("/products").await;
        let price = page["items"][0]["price_cents"].as_i64().unwrap();
        assert!(price >= committed, "listed price {price} after the commit of {committed}");
    }
}

on_both_databases! {
    async fn committed_price_is_visible_at_three_replicas(store: &TestStore) {
        let first = store.get("/products/1").await.expect(200);
        let version: i64 = first.header("etag").trim_matches('"').parse().unwrap();
        let price = first.json()["price_cents"].as_i64().unwrap();
        let reader = Reader {
            http: reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap(),
            url: store.url().to_owned(),
            committed: Arc::new(AtomicI64::new(price)),
            offset: price - version,
        };
        let mut replicas = vec![reader.clone()];
        for _ in 0..2 {
            let url = store.start_another_api(store.options(), store.db_url()).await;
            replicas.push(Reader { url, ..reader.clone() });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let readers = replicas.iter().flat_map(|replica| {
            (0..READERS).map(|_| {
                let (replica, stop) = (replica.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        replica.check().await;
                    }
                })
            })
        });
        let readers: Vec<_> = readers.collect();
        for price in price + 1..=price + CHANGES {
            let change = "version = version + 1 WHERE id = 1";
            store.sql(&format!("UPDATE products SET price_cents = {price}, {change}")).await;
            reader.committed.store(price, Ordering::SeqCst);
            join_all(replicas.iter().map(Reader::check)).await;
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
    }
}
