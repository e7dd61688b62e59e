//! The built `merch-contract-tests`, and stores to test.

use std::{
    num::NonZeroU32,
    process::{Output, Stdio},
    time::Duration,
};

use merch_api::Rate;
use merch_test_store::{Database, Options, TIMEOUT, TestStore};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const RUN_TIMEOUT: Duration = Duration::from_secs(240);

/// The program with these arguments and a clean environment.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merch-contract-tests"));
    command
        .args(arguments)
        .env_remove("MERCH_URL")
        .env_remove("MERCH_EXPIRED_TOKEN")
        .env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Output {
    wait(program(arguments).spawn().unwrap()).await
}

pub(crate) async fn wait(child: Child) -> Output {
    tokio::time::timeout(RUN_TIMEOUT, child.wait_with_output())
        .await
        .expect("the program ends")
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A store with default rate limits and cheap hashes.
pub(crate) async fn store() -> TestStore {
    let mut options = Options::default();
    options.log_ins_per_account = Rate::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(360));
    options.log_ins_over_all_addresses =
        Rate::new(NonZeroU32::new(100).unwrap(), Duration::from_secs(36));
    options.registrations_per_address = merch_api::Config::REGISTRATIONS_PER_ADDRESS;
    options.log_ins_per_address = merch_api::Config::LOG_INS_PER_ADDRESS;
    TestStore::start_with(Database::Sqlite, options).await
}

/// Active users, placed orders, and the stock by product.
pub(crate) async fn remaining(store: &TestStore) -> (i64, i64, Vec<i64>) {
    let users = store.sql_integer("SELECT COUNT(*) FROM users WHERE is_active").await;
    let orders = store.sql_integer("SELECT COUNT(*) FROM orders WHERE status = 'placed'").await;
    let mut stock = Vec::new();
    for id in [1, 2, 3] {
        stock.push(store.sql_integer(&format!("SELECT stock FROM products WHERE id = {id}")).await);
    }
    (users, orders, stock)
}

pub(crate) async fn expired_token(store: &TestStore) -> String {
    let mut options = store.options().clone();
    options.token_lifetime = Duration::from_secs(1);
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let url = store.start_another_api(&options, store.db_url()).await;
    let name = merch_test_store::fresh_name();
    let password = "correct horse battery staple";
    let user = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": password });
    let registered = http.post(format!("{url}/users")).json(&user).send().await.unwrap();
    assert_eq!(registered.status(), 201);
    let credentials = json!({ "username": name, "password": password });
    let token: Value = http
        .post(format!("{url}/login"))
        .json(&credentials)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = token["access_token"].as_str().unwrap().to_owned();
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while http
        .get(format!("{}/orders", store.url()))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap()
        .status()
        == 200
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "a token of one second is still valid after {TIMEOUT:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The suite did not register this user.
    store.sql("UPDATE users SET is_active = FALSE").await;
    token
}
