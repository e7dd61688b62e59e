//! Stores for the suite, with reachable limits and an expired token.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use contract_tests::{
    document::Document,
    options::Options,
    report::{self, Report},
};
use hyper::Method;
use merch_api::Rate;
use merch_test_store::{Database, TIMEOUT, TestStore, fresh_name};
use serde_json::json;
use tokio::{sync::OnceCell, time::Instant};

use crate::{exchange::Request, proxy::Upstream};

/// Stock of each product but the last: more than a run buys.
const STOCK: i32 = 500;
/// Stock of the last product, which the suite sells out.
const LAST_STOCK: i32 = 30;

/// A store for one run at a time.
pub(crate) struct SuiteStore {
    pub(crate) store: TestStore,
    soon_expired: String,
    expired: OnceCell<()>,
}

impl SuiteStore {
    /// Starts a store and creates a short-lived token.
    pub(crate) async fn start() -> Self {
        let mut options = merch_test_store::Options::default();
        options.log_ins_per_account =
            Rate::new(NonZeroU32::new(20).unwrap(), Duration::from_millis(500));
        options.registrations_per_address =
            Rate::new(NonZeroU32::new(100).unwrap(), Duration::from_millis(50));
        let store = TestStore::start_with(Database::Sqlite, options.clone()).await;
        // The same key and users, with a lifetime of one second.
        options.token_lifetime = Duration::from_secs(1);
        let short = Upstream::new(&store.start_another_api(&options, store.db_url()).await);
        let (name, password) = (fresh_name(), "correct horse battery staple");
        let user = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": password });
        let registered = short.send(&Request::new(Method::POST, "/users").with_json(&user)).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let login = short.log_in(&name, password).await.unwrap();
        Self { store, soon_expired: login.token, expired: OnceCell::new() }
    }

    /// An expired token; waits for its expiry.
    pub(crate) async fn expired_token(&self) -> String {
        let wait = async {
            let (store, deadline) = (Upstream::new(self.store.url()), Instant::now() + TIMEOUT);
            let request = Request::new(Method::GET, "/orders").with_token(&self.soon_expired);
            while store.send(&request).await.status == 200 {
                assert!(
                    Instant::now() < deadline,
                    "a token of one second has not expired after {TIMEOUT:?}"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        self.expired.get_or_init(|| wait).await;
        self.soon_expired.clone()
    }

    /// Restocks after mutants.
    pub(crate) async fn restock(&self) {
        let wanted = format!("CASE id WHEN 3 THEN {LAST_STOCK} ELSE {STOCK} END");
        self.store
            .sql(&format!(
                "UPDATE products SET stock = {wanted}, version = version + 1 WHERE stock <> \
                 {wanted}"
            ))
            .await;
    }
}

pub(crate) fn options(
    url: &str,
    only: &[&str],
    expired_token: Option<String>,
    exhaust_stock: bool,
) -> Options {
    let mut options = Options::new(url.parse().unwrap());
    options.only = only.iter().map(|name| (*name).to_owned()).collect();
    options.expired_token = expired_token;
    options.exhaust_stock = exhaust_stock;
    options
}

pub(crate) async fn run(
    url: &str,
    only: &[&str],
    expired_token: Option<String>,
    exhaust_stock: bool,
    document: &Arc<Document>,
) -> Report {
    contract_tests::run(options(url, only, expired_token, exhaust_stock), document.clone()).await
}

/// # Panics
/// If it has failed; the message contains the whole report.
pub(crate) fn assert_passed(report: &Report) {
    assert!(
        !report.failed(),
        "{}\n{}",
        report.not_tested.as_deref().unwrap_or_default(),
        report::table(report, false)
    );
}
