//! A complete store in this process, for one test.

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

use crate::{Call, Database, Events, Record, database::OwnDatabase, service::Service};

const TOPIC: &str = "log-channel";
const PARTITIONS: i32 = 3;

/// Options of a store. By default, hashes are cheap and log-ins are not limited.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Cost of a password hash.
    pub hash_cost: Cost,
    /// Wrong passwords per account from one address.
    pub log_ins_per_account: Rate,
    /// Wrong passwords per account from all unknown addresses.
    pub log_ins_over_all_addresses: Rate,
    /// Log-ins per address.
    pub log_ins_per_address: Rate,
    /// Registrations per address.
    pub registrations_per_address: Rate,
    /// Proxies whose `X-Forwarded-For` is trusted; lets a test simulate addresses.
    pub trusted_proxies: TrustedProxies,
    /// Maximum bytes of a request body.
    pub body_limit: usize,
    /// Maximum bytes of a request line and headers.
    pub header_limit: usize,
    /// The key that signs tokens.
    pub signing_key: Vec<u8>,
    /// The lifetime of tokens.
    pub token_lifetime: Duration,
    /// Origins that may use the store from a browser.
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

/// A complete store: database, broker, logging service, db service and api.
///
/// A test must end it with [`finish`](Self::finish), as
/// [`on_both_databases!`](crate::on_both_databases) does; otherwise the test fails.
#[derive(Debug)]
pub struct TestStore {
    options: Options,
    /// Addresses of the services, kept while they are stopped.
    addresses: Addresses,
    running: AsyncMutex<Running>,
    url: String,
    http: reqwest::Client,
    events: OnceCell<Events>,
    /// Expected events by name.
    expected: Mutex<BTreeMap<String, usize>>,
    finished: bool,
    database: Option<OwnDatabase>,
    // Dropped last, in this order.
    broker: EmbeddedBroker,
    dir: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    logging: SocketAddr,
    db: SocketAddr,
}

#[derive(Debug)]
struct Running {
    logging: Option<Service>,
    db: Option<Service>,
    api: Option<Service>,
    /// From [`TestStore::start_another_api`].
    extra_apis: Vec<Service>,
}

impl TestStore {
    /// Starts a store with default options.
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, Options::default()).await
    }

    /// Starts all services and waits until they are ready.
    ///
    /// # Panics
    /// If one cannot start.
    pub async fn start_with(database: Database, options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let database = OwnDatabase::create(database, dir.path()).await;
        let broker =
            EmbeddedBroker::start(TOPIC, PARTITIONS).unwrap_or_else(|error| panic!("{error}"));

        let mut logging = start_logging(&broker, None).await;
        let mut db = start_db(&options, &database, logging.address(), None).await;
        let addresses = Addresses { logging: logging.address(), db: db.address() };
        let mut api =
            start_api(&options, dir.path().join("journal"), url(addresses.db), addresses.logging)
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
                extra_apis: Vec::new(),
            }),
            url,
            http: http_client(),
            events: OnceCell::new(),
            expected: Mutex::default(),
            finished: false,
            database: Some(database),
            broker,
            dir,
        }
    }

    /// The URL of the api: `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The gRPC URL of the db service: `http://127.0.0.1:port`.
    pub fn db_url(&self) -> String {
        url(self.addresses.db)
    }

    /// Starts another api with its own journal and returns its URL. It ends with the store.
    ///
    /// `db_endpoint` is the gRPC URL of the db service: [`db_url`](Self::db_url), or a proxy.
    ///
    /// # Panics
    /// If it cannot start or finds no db service.
    pub async fn start_another_api(
        &self,
        options: &Options,
        db_endpoint: impl Into<String>,
    ) -> String {
        let mut running = self.running.lock().await;
        let journal = self.dir.path().join(format!("journal-{}", running.extra_apis.len() + 2));
        let mut api = start_api(options, journal, db_endpoint.into(), self.addresses.logging).await;
        api.ready().await;
        let url = url(api.address());
        running.extra_apis.push(api);
        url
    }

    /// The gRPC URL of the logging service: `http://127.0.0.1:port`.
    pub fn logging_url(&self) -> String {
        url(self.addresses.logging)
    }

    /// The options of this store.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The generated client, without a token.
    pub fn anonymous(&self) -> Client {
        self.sdk().into_client()
    }

    /// The SDK without retries, so that a test sees each response.
    pub(crate) fn sdk(&self) -> StoreClient {
        let store = StoreClient::builder(&self.url)
            .http(self.http.clone())
            .retries(RetryPolicy::NEVER)
            .build();
        store.expect("the address of a store is a URL")
    }

    /// Starts a request, even one that the generated client cannot send.
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call {
        Call::new(&self.http, &self.url, method, path.into())
    }

    /// Starts a GET.
    pub fn get(&self, path: impl Into<String>) -> Call {
        self.call(Method::GET, path)
    }

    /// Starts a POST.
    pub fn post(&self, path: impl Into<String>) -> Call {
        self.call(Method::POST, path)
    }

    /// The topic.
    pub async fn events(&self) -> &Events {
        self.events
            .get_or_init(|| async { Events::subscribe(self.broker.bootstrap_servers(), TOPIC) })
            .await
    }

    /// Expects one more event per name (`order_placed`), in any order.
    pub fn expect_events<'w>(&self, names: impl IntoIterator<Item = &'w str>) {
        for name in names {
            self.expect_event_count(name, 1);
        }
    }

    /// Expects `times` more events of one name.
    pub fn expect_event_count(&self, name: &str, times: usize) {
        *self
            .expected
            .lock()
            .expect("the lock is not poisoned")
            .entry(name.to_owned())
            .or_default() += times;
    }

    /// Executes statements in the store's database.
    pub async fn sql(&self, statements: &str) {
        self.database().execute(statements).await;
    }

    /// The single integer that a query returns.
    pub async fn sql_integer(&self, query: &str) -> i64 {
        self.database().integer(query).await
    }

    /// Sets a product's stock in the database.
    pub async fn set_stock(&self, product_id: i32, stock: i32) {
        self.sql(&format!(
            "UPDATE products SET stock = {stock}, version = version + 1 WHERE id = {product_id}"
        ))
        .await;
    }

    /// Drains and stops the db service.
    pub async fn stop_db(&self) {
        let service = self.running.lock().await.db.take().expect("the db service runs");
        service.stop().await;
    }

    /// Restarts the db service at the same address.
    pub async fn restart_db(&self) {
        let mut running = self.running.lock().await;
        if let Some(service) = running.db.take() {
            service.stop().await;
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

    /// Drains and stops the logging service.
    pub async fn stop_logging(&self) {
        let service = self.running.lock().await.logging.take().expect("the logging service runs");
        service.stop().await;
    }

    /// Restarts the logging service at the same address.
    pub async fn restart_logging(&self) {
        let mut running = self.running.lock().await;
        if let Some(service) = running.logging.take() {
            service.stop().await;
        }
        let mut logging = start_logging(&self.broker, Some(self.addresses.logging)).await;
        logging.ready().await;
        running.logging = Some(logging);
    }

    /// Stops the services without loss, reads the topic to its end, and compares the events.
    ///
    /// # Panics
    /// If an unexpected event is on the topic or an expected one is missing.
    pub async fn finish(self) {
        let expected =
            std::mem::take(&mut *self.expected.lock().expect("the lock is not poisoned"));
        let records = self.stop().await;
        if let Err(difference) = compare(&expected, &records) {
            panic!("{difference}");
        }
    }

    /// Ends the store like [`finish`](Self::finish), for tests that cannot count their events. Each
    /// record must still be a known event.
    ///
    /// # Panics
    /// If a record is not an event.
    pub async fn finish_unchecked(self) -> Vec<Record> {
        let records = self.stop().await;
        for record in &records {
            let known = serde_json::from_value::<LogMessage>(record.value.clone());
            assert!(
                known.is_ok_and(|event| !event.event.is_empty()),
                "expected a known event, got {record:?}"
            );
        }
        records
    }

    /// Stops the services without loss and reads the topic to its end.
    async fn stop(mut self) -> Vec<Record> {
        self.finished = true;
        let running = self.running.get_mut();
        let apis = running.api.take().into_iter().chain(running.extra_apis.drain(..));
        for service in apis.chain(running.db.take()).chain(running.logging.take()) {
            service.stop().await;
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
        // A test that already fails keeps its own message.
        assert!(
            self.finished || std::thread::panicking(),
            "the store was not finished: call `store.finish().await` at the end, which checks its \
             log events"
        );
    }
}

fn compare(expected: &BTreeMap<String, usize>, records: &[Record]) -> Result<(), String> {
    let mut came: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        came.entry(record.name()).or_default().push(record);
    }
    let mut difference = String::new();
    let names: std::collections::BTreeSet<&str> =
        expected.keys().map(String::as_str).chain(came.keys().copied()).collect();
    for name in names {
        let (wanted, records) = (
            expected.get(name).copied().unwrap_or(0),
            came.get(name).map_or(&[][..], Vec::as_slice),
        );
        if wanted != records.len() {
            writeln!(difference, "{name}: expected {wanted}, got {}", records.len())
                .expect("writing to a String cannot fail");
            for record in records {
                writeln!(difference, "    {}", record.value)
                    .expect("writing to a String cannot fail");
            }
        }
    }
    if difference.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the log events differ from the expected ones (`store.expect_events`, \
         `store.expect_event_count`):\n{difference}"
    ))
}

async fn start_logging(broker: &EmbeddedBroker, address: Option<SocketAddr>) -> Service {
    let config = merch_logging::server::Config {
        topic: merch_logging::topic_admin::Topic {
            partitions: PARTITIONS,
            ..merch_logging::topic_admin::Topic::new(TOPIC)
        },
        ..merch_logging::server::Config::new(broker.bootstrap_servers())
    };
    Service::start("logging", address, |listener, readiness, shutdown| {
        merch_logging::server::serve(listener, config, readiness, shutdown)
    })
    .await
}

async fn start_db(
    options: &Options,
    database: &OwnDatabase,
    logging: SocketAddr,
    address: Option<SocketAddr>,
) -> Service {
    let mut config = merch_db::Config::new(database.location(), url(logging));
    // Tests check every event.
    config.refusals.single_events = u32::MAX;
    let rate = |Rate { burst, period }| merch_db::Rate { burst, period };
    config.log_ins.per_network = rate(options.log_ins_per_account);
    config.log_ins.over_all = rate(options.log_ins_over_all_addresses);
    Service::start("db", address, |listener, readiness, shutdown| {
        merch_db::serve(listener, config, readiness, shutdown)
    })
    .await
}

async fn start_api(
    options: &Options,
    journal: PathBuf,
    db_endpoint: String,
    logging: SocketAddr,
) -> Service {
    let key =
        SigningKey::new(options.signing_key.clone()).unwrap_or_else(|error| panic!("{error}"));
    let mut config = merch_api::Config::new(db_endpoint, url(logging), journal, key);
    config.refusals.single_events = u32::MAX;
    config.hash_cost = options.hash_cost;
    // Hundreds of buyers register concurrently.
    config.hash_queue_capacity = 10_000;
    config.log_ins_per_address = options.log_ins_per_address;
    config.registrations_per_address = options.registrations_per_address;
    config.write_rate = Rate::new(NonZeroU32::MAX, Duration::from_nanos(1));
    config.trusted_proxies = options.trusted_proxies.clone();
    config.body_limit = options.body_limit;
    config.header_limit = options.header_limit;
    config.token_lifetime = options.token_lifetime;
    config.cors_origins = options.cors_origins.clone();
    Service::start("api", None, |listener, readiness, shutdown| {
        merch_api::serve(listener, config, readiness, shutdown)
    })
    .await
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn http_client() -> reqwest::Client {
    // Ignores the proxy of the environment; reading system certificates takes longer than a
    // request.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(crate::TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    client.build().expect("a client for plain HTTP needs nothing that could be missing")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(name: &str) -> Record {
        Record { partition: 0, offset: 0, key: None, value: json!({ "id": name, "event": name }) }
    }

    #[test]
    fn surplus_and_missing_events_are_reported() {
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
        assert!(difference.contains("order_placed: expected 2, got 1"), "{difference}");
        assert!(difference.contains("token_refused: expected 0, got 1\n    {"), "{difference}");
        assert!(!difference.contains("user_registered"), "{difference}");
    }
}
