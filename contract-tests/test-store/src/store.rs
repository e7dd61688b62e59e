//! One store, whole and in this process, for one test.

use std::{
    collections::BTreeMap, fmt::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf,
    sync::Mutex, time::Duration,
};

use merch_api::{CorsOrigins, Cost, Rate, SigningKey, TrustedProxies};
use merch_contract::{
    grpc::logging::v1::LogMessage,
    rest::client::Client,
    sdk::{RetryPolicy, StoreClient},
};
use merch_logging::server::embedded::EmbeddedBroker;
use reqwest::Method;
use tempfile::TempDir;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::{Call, Database, Events, Record, TestUser, database::OwnDatabase, role::Role, user};

const TOPIC: &str = "log-channel";
const PARTITIONS: i32 = 3;

/// What differs from store to store. The defaults suit a test that is about something else: a hash
/// costs nothing, and log-ins are not throttled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What a password hash costs.
    pub hash_cost: Cost,
    /// Wrong passwords that one account takes from one address.
    pub log_ins_per_account: Rate,
    /// Wrong passwords that one account takes over all addresses at which it is not known.
    pub log_ins_over_all_addresses: Rate,
    /// How often one address may try.
    pub log_ins_per_address: Rate,
    /// How often one address may register.
    pub registrations_per_address: Rate,
    /// Proxies whose `X-Forwarded-For` is trusted, so that a test can have many addresses.
    pub trusted_proxies: TrustedProxies,
    /// Bytes of a request's body, at most.
    pub body_limit: usize,
    /// Bytes of a request's line and headers, at most.
    pub header_limit: usize,
    /// Signs tokens.
    pub signing_key: Vec<u8>,
    /// For how long a token is valid.
    pub token_lifetime: Duration,
    /// Other origins whose scripts may use the store from a browser.
    pub cors_origins: CorsOrigins,
}

impl Default for Options {
    fn default() -> Self {
        let unbounded = Rate::new(NonZeroU32::MAX, Duration::from_nanos(1));
        Self {
            hash_cost: Cost::for_tests(),
            log_ins_per_account: unbounded,
            log_ins_over_all_addresses: unbounded,
            log_ins_per_address: unbounded,
            registrations_per_address: unbounded,
            trusted_proxies: TrustedProxies::default(),
            body_limit: 64 * 1024,
            header_limit: 16 * 1024,
            signing_key: b"a key for tests, of more than thirty-two bytes".to_vec(),
            token_lifetime: Duration::from_secs(24 * 60 * 60),
            cors_origins: CorsOrigins::default(),
        }
    }
}

/// A whole store: database, broker, logging service, db service and api.
///
/// A test ends it with [`finish`](Self::finish), which the macro
/// [`on_both_databases!`](crate::on_both_databases) does; a store that is dropped otherwise fails
/// the test.
#[derive(Debug)]
pub struct TestStore {
    options: Options,
    /// Where each service is, also while it is stopped.
    addresses: Addresses,
    running: AsyncMutex<Running>,
    url: String,
    http: reqwest::Client,
    events: OnceCell<Events>,
    /// How many events of each word the test has caused.
    expected: Mutex<BTreeMap<String, usize>>,
    finished: bool,
    database: Option<OwnDatabase>,
    // Dropped last, and in this order.
    broker: EmbeddedBroker,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    logging: SocketAddr,
    db: SocketAddr,
}

/// The services; `None` while stopped.
#[derive(Debug)]
struct Running {
    logging: Option<Role>,
    db: Option<Role>,
    api: Option<Role>,
    /// Those of [`TestStore::another_api`].
    more_apis: Vec<Role>,
}

impl TestStore {
    /// A store with default options.
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, Options::default()).await
    }

    /// Starts everything and waits until it is ready.
    ///
    /// # Panics
    /// When a part cannot start.
    pub async fn start_with(database: Database, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let database = OwnDatabase::create(database, folder.path()).await;
        let broker =
            EmbeddedBroker::start(TOPIC, PARTITIONS).unwrap_or_else(|error| panic!("{error}"));

        let mut logging = start_logging(&broker, None).await;
        let mut db = start_db(&options, &database, logging.address(), None).await;
        let addresses = Addresses { logging: logging.address(), db: db.address() };
        let mut api = start_api(
            &options,
            folder.path().join("journal"),
            url(addresses.db),
            addresses.logging,
        )
        .await;
        let url = url(api.address());
        logging.ready().await;
        db.ready().await;
        api.ready().await;

        Self {
            options,
            addresses,
            running: AsyncMutex::new(Running {
                logging: Some(logging),
                db: Some(db),
                api: Some(api),
                more_apis: Vec::new(),
            }),
            url,
            http: http_client(),
            events: OnceCell::new(),
            expected: Mutex::default(),
            finished: false,
            database: Some(database),
            broker,
            folder,
        }
    }

    /// Where the api is: `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the gRPC of the db service is: `http://127.0.0.1:port`.
    pub fn db_url(&self) -> String {
        url(self.addresses.db)
    }

    /// Starts one more api beside the first, on the same services and with a journal of its own,
    /// and gives its URL. It ends with the store.
    ///
    /// `options` are this api's alone. `db_endpoint` is where it looks for the gRPC of the db
    /// service: [`db_url`](Self::db_url), or something between.
    ///
    /// # Panics
    /// When it cannot start, or does not find a db service there.
    pub async fn another_api(&self, options: &Options, db_endpoint: impl Into<String>) -> String {
        let mut running = self.running.lock().await;
        let journal = self.folder.path().join(format!("journal-{}", running.more_apis.len() + 2));
        let mut api = start_api(options, journal, db_endpoint.into(), self.addresses.logging).await;
        api.ready().await;
        let url = url(api.address());
        running.more_apis.push(api);
        url
    }

    /// Where the gRPC of the logging service is: `http://127.0.0.1:port`.
    pub fn logging_url(&self) -> String {
        url(self.addresses.logging)
    }

    /// What this store was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The generated client, without a token.
    pub fn anonymous(&self) -> Client {
        self.sdk().into_client()
    }

    /// The client for programs. It sends nothing twice, so that a test sees what came.
    pub(crate) fn sdk(&self) -> StoreClient {
        let store = StoreClient::builder(&self.url)
            .http(self.http.clone())
            .retries(RetryPolicy::NEVER)
            .build();
        store.expect("the address of a store is a URL")
    }

    /// A user who has just registered and logged in; both events are expected.
    pub async fn user(&self) -> TestUser<'_> {
        user::register_and_log_in(self).await
    }

    /// Begins a request that need not be one that the generated client would send.
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call {
        Call::new(&self.http, &self.url, method, path.into())
    }

    /// Begins a GET.
    pub fn get(&self, path: impl Into<String>) -> Call {
        self.call(Method::GET, path)
    }

    /// Begins a POST.
    pub fn post(&self, path: impl Into<String>) -> Call {
        self.call(Method::POST, path)
    }

    /// The topic, as a consumer sees it.
    pub async fn events(&self) -> &Events {
        self.events
            .get_or_init(|| async { Events::follow(self.broker.bootstrap_servers(), TOPIC) })
            .await
    }

    /// Says which log events the test has caused, besides those that it has named before: one for
    /// each word (`order_placed`), in any order.
    pub fn expect_events<'w>(&self, words: impl IntoIterator<Item = &'w str>) {
        for word in words {
            self.expect_many(word, 1);
        }
    }

    /// Says that the test has caused so many events of one word.
    pub fn expect_many(&self, word: &str, times: usize) {
        *self
            .expected
            .lock()
            .expect("nobody panics with it")
            .entry(word.to_owned())
            .or_default() += times;
    }

    /// Runs statements in the store's database, past all services.
    pub async fn sql(&self, statements: &str) {
        self.database().execute(statements).await;
    }

    /// The one integer that a query in the store's database gives.
    pub async fn sql_integer(&self, query: &str) -> i64 {
        self.database().integer(query).await
    }

    /// Sets a product's stock, past all services.
    pub async fn set_stock(&self, product_id: i32, stock: i32) {
        self.sql(&format!(
            "UPDATE products SET stock = {stock}, version = version + 1 WHERE id = {product_id}"
        ))
        .await;
    }

    /// Stops the db service, after it has drained.
    pub async fn stop_db(&self) {
        let role = self.running.lock().await.db.take().expect("the db service runs");
        role.stop().await;
    }

    /// Starts the db service again, where it was; stops it first if it runs.
    pub async fn restart_db(&self) {
        let mut running = self.running.lock().await;
        if let Some(role) = running.db.take() {
            role.stop().await;
        }
        let mut db = start_db(
            &self.options,
            self.database(),
            self.addresses.logging,
            Some(self.addresses.db),
        )
        .await;
        db.ready().await;
        running.db = Some(db);
    }

    /// Stops the logging service, after it has drained.
    pub async fn stop_logging(&self) {
        let role = self.running.lock().await.logging.take().expect("the logging service runs");
        role.stop().await;
    }

    /// Starts the logging service again, where it was; stops it first if it runs.
    pub async fn restart_logging(&self) {
        let mut running = self.running.lock().await;
        if let Some(role) = running.logging.take() {
            role.stop().await;
        }
        let mut logging = start_logging(&self.broker, Some(self.addresses.logging)).await;
        logging.ready().await;
        running.logging = Some(logging);
    }

    /// Stops everything in the order that loses nothing, reads the topic to its end, and ends the
    /// store.
    ///
    /// # Panics
    /// When a log event is on the topic that the test has not expected, or one that it has expected
    /// is not there.
    pub async fn finish(self) {
        let expected = std::mem::take(&mut *self.expected.lock().expect("nobody panics with it"));
        let records = self.stop().await;
        if let Err(difference) = compare(&expected, &records) {
            panic!("{difference}");
        }
    }

    /// Ends the store like [`finish`](Self::finish), for a test whose events nobody can count
    /// beforehand: a fuzzer's, or another program's. Each event has still to be one that the store
    /// knows how to read.
    ///
    /// # Panics
    /// When a record is no event.
    pub async fn finish_whatever_came(self) -> Vec<Record> {
        let records = self.stop().await;
        for record in &records {
            let known = serde_json::from_value::<LogMessage>(record.value.clone());
            assert!(
                known.is_ok_and(|event| !event.event.is_empty()),
                "no event of the contract: {record:?}"
            );
        }
        records
    }

    /// Stops everything in the order that loses nothing, and reads the topic to its end.
    async fn stop(mut self) -> Vec<Record> {
        self.finished = true;
        let running = self.running.get_mut();
        let apis = running.api.take().into_iter().chain(running.more_apis.drain(..));
        for role in apis.chain(running.db.take()).chain(running.logging.take()) {
            role.stop().await;
        }
        let records = self.events().await.all().await;
        if let Some(events) = self.events.take() {
            events.close().await;
        }
        if let Some(database) = self.database.take() {
            database.drop().await;
        }
        records
    }

    fn database(&self) -> &OwnDatabase {
        self.database.as_ref().expect("only `finish` takes it")
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        // A test that fails anyway shall fail with its own words.
        assert!(
            self.finished || std::thread::panicking(),
            "the store was not finished: call `store.finish().await` at the end, so that its log events are looked at"
        );
    }
}

/// Holds the events that were expected against those that came.
fn compare(expected: &BTreeMap<String, usize>, records: &[Record]) -> Result<(), String> {
    let mut came: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        came.entry(record.word()).or_default().push(record);
    }
    let mut difference = String::new();
    let words: std::collections::BTreeSet<&str> =
        expected.keys().map(String::as_str).chain(came.keys().copied()).collect();
    for word in words {
        let (wanted, records) = (
            expected.get(word).copied().unwrap_or(0),
            came.get(word).map_or(&[][..], Vec::as_slice),
        );
        if wanted != records.len() {
            writeln!(difference, "{word}: expected {wanted}, came {}", records.len())
                .expect("a String takes everything");
            for record in records {
                writeln!(difference, "    {}", record.value).expect("a String takes everything");
            }
        }
    }
    if difference.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the log events are not what the test expected (`store.expect_events`, `store.expect_many`):\n{difference}"
    ))
}

async fn start_logging(broker: &EmbeddedBroker, address: Option<SocketAddr>) -> Role {
    let config = merch_logging::server::Config {
        topic: merch_logging::topic_admin::Topic {
            partitions: PARTITIONS,
            ..merch_logging::topic_admin::Topic::new(TOPIC)
        },
        ..merch_logging::server::Config::new(broker.bootstrap_servers())
    };
    Role::start("logging", address, |listener, readiness, shutdown| {
        merch_logging::server::serve(listener, config, readiness, shutdown)
    })
    .await
}

async fn start_db(
    options: &Options,
    database: &OwnDatabase,
    logging: SocketAddr,
    address: Option<SocketAddr>,
) -> Role {
    let mut config = merch_db::Config::new(database.location(), url(logging));
    // Tests look for every event.
    config.refusals.single_events = u32::MAX;
    let rate = |Rate { burst, period }| merch_db::Rate { burst, period };
    config.log_ins.per_network = rate(options.log_ins_per_account);
    config.log_ins.over_all = rate(options.log_ins_over_all_addresses);
    Role::start("db", address, |listener, readiness, shutdown| {
        merch_db::serve(listener, config, readiness, shutdown)
    })
    .await
}

async fn start_api(
    options: &Options,
    journal: PathBuf,
    db_endpoint: String,
    logging: SocketAddr,
) -> Role {
    let key =
        SigningKey::new(options.signing_key.clone()).unwrap_or_else(|error| panic!("{error}"));
    let mut config = merch_api::Config::new(db_endpoint, url(logging), journal, key);
    config.refusals.single_events = u32::MAX;
    config.hash_cost = options.hash_cost;
    // Hundreds of buyers register at once.
    config.hashes_waiting = 10_000;
    config.log_ins_per_address = options.log_ins_per_address;
    config.registrations_per_address = options.registrations_per_address;
    config.write_rate = Rate::new(NonZeroU32::MAX, Duration::from_nanos(1));
    config.trusted_proxies = options.trusted_proxies.clone();
    config.body_limit = options.body_limit;
    config.header_limit = options.header_limit;
    config.token_lifetime = options.token_lifetime;
    config.cors_origins = options.cors_origins.clone();
    Role::start("api", None, |listener, readiness, shutdown| {
        merch_api::serve(listener, config, readiness, shutdown)
    })
    .await
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn http_client() -> reqwest::Client {
    // No proxy, as the environment is not the store's affair, and no list of authorities, which
    // takes longer to read than a request does to answer.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(crate::PATIENCE)
        .redirect(reqwest::redirect::Policy::none());
    client.build().expect("a client for plain HTTP needs nothing that could be missing")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(word: &str) -> Record {
        Record { partition: 0, offset: 0, key: None, value: json!({ "id": word, "event": word }) }
    }

    #[test]
    fn surplus_and_missing_events_are_both_told() {
        let expected: BTreeMap<String, usize> =
            [("order_placed".to_owned(), 2), ("user_registered".to_owned(), 1)].into();
        assert_eq!(
            compare(
                &expected,
                &[record("order_placed"), record("order_placed"), record("user_registered")]
            ),
            Ok(())
        );
        let difference = compare(
            &expected,
            &[record("order_placed"), record("user_registered"), record("token_refused")],
        )
        .unwrap_err();
        assert!(difference.contains("order_placed: expected 2, came 1"), "{difference}");
        assert!(difference.contains("token_refused: expected 0, came 1\n    {"), "{difference}");
        assert!(!difference.contains("user_registered"), "{difference}");
    }
}
