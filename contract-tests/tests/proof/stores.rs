//! Stores for the suite: with a limit on log-ins that it can reach, and an expired token.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use contract_tests::{document::Document, options::Options, report::Report, suite};
use hyper::Method;
use merch_api::Rate;
use merch_test_store::{Database, PATIENCE, TestStore, fresh_name};
use serde_json::json;
use tokio::{sync::OnceCell, time::Instant};

use crate::{exchange::Request, proxy::Upstream};

/// Pieces of each product but the last: more than a run of the suite buys.
const MANY: i32 = 500;
/// Pieces of the last product, which the suite buys until it is sold out.
const FEW: i32 = 30;

/// A store that the suite is run against, once at a time.
pub(crate) struct SuiteStore {
    pub(crate) store: TestStore,
    /// Of a user of this store.
    soon_expired: String,
    expired: OnceCell<()>,
}

impl SuiteStore {
    /// Starts a store, and has a token made that expires soon.
    pub(crate) async fn start() -> Self {
        let mut options = merch_test_store::Options::default();
        options.log_ins_per_account =
            Rate::new(NonZeroU32::new(20).unwrap(), Duration::from_millis(500));
        options.registrations_per_address =
            Rate::new(NonZeroU32::new(100).unwrap(), Duration::from_millis(50));
        let store = TestStore::start_with(Database::Sqlite, options.clone()).await;
        // The same key and the same users, but tokens of one second.
        options.token_lifetime = Duration::from_secs(1);
        let short = Upstream::new(&store.another_api(&options, store.db_url()).await);
        let (name, password) = (fresh_name(), "correct horse battery staple");
        let user = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": password });
        let registered = short.send(&Request::new(Method::POST, "/users").with_json(&user)).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let login = short.log_in(&name, password).await.unwrap();
        Self { store, soon_expired: login.token, expired: OnceCell::new() }
    }

    /// A token that was good and has expired; waits until it has.
    pub(crate) async fn expired_token(&self) -> String {
        let wait = async {
            let (store, deadline) = (Upstream::new(self.store.url()), Instant::now() + PATIENCE);
            let request = Request::new(Method::GET, "/orders").with_token(&self.soon_expired);
            while store.send(&request).await.status == 200 {
                assert!(
                    Instant::now() < deadline,
                    "a token of one second has not expired after {PATIENCE:?}"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        self.expired.get_or_init(|| wait).await;
        self.soon_expired.clone()
    }

    /// Puts the pieces back on the shelf that runs against mutants have lost.
    pub(crate) async fn stock_up(&self) {
        let wanted = format!("CASE id WHEN 3 THEN {FEW} ELSE {MANY} END");
        self.store.sql(&format!("UPDATE products SET stock = {wanted}, version = version + 1 WHERE stock <> {wanted}")).await;
    }
}

/// What a run is given: the address of a store or of a proxy before it, and what the command line
/// can add.
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

/// Runs the suite.
pub(crate) async fn run(
    url: &str,
    only: &[&str],
    expired_token: Option<String>,
    exhaust_stock: bool,
    document: &Arc<Document>,
) -> Report {
    suite::run(options(url, only, expired_token, exhaust_stock), document.clone()).await
}

/// Fails the test unless the report has no complaint.
///
/// # Panics
/// With everything that the suite says.
pub(crate) fn expect_no_complaint(report: &Report) {
    let complaints = complaints(report);
    assert!(
        complaints.is_empty(),
        "the suite has {} complaints of what the contract allows:\n- {}",
        complaints.len(),
        complaints.join("\n- ")
    );
}

/// Everything that a report finds wrong; empty if it has not failed.
pub(crate) fn complaints(report: &Report) -> Vec<String> {
    let mut complaints: Vec<String> = report
        .failures()
        .map(|(case, failure)| {
            format!("{} {} {}: {failure}", case.operation, case.status, case.name)
        })
        .collect();
    complaints.extend(
        report
            .not_reached()
            .map(|(operation, status)| format!("{operation} {status} was not reached")),
    );
    complaints.extend(report.unusable.clone());
    assert_eq!(
        report.failed(),
        !complaints.is_empty(),
        "a report fails because of something: {report:?}"
    );
    complaints
}
