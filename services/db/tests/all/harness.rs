use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use merch_chassis::Readiness;
use merch_contract::grpc::{
    assistant::v1::{
        assistant_service_client::AssistantServiceClient, place_order_result::Outcome, *,
    },
    logging::v1::LogMessage,
};
use merch_db::{Config, Database, Location, Outbox, ShippedEvents};
use merch_logging::client::EventSource as _;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const HASH: &str = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo";
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests-alone";
pub(crate) const HOODIE: i32 = 1;
pub(crate) const BOTTLE: i32 = 2;

/// Defines a test for both databases: `on_both!(async fn name(store: &TestService) { … });`
macro_rules! on_both {
    ($(#[$note:meta])* async fn $name:ident($store:ident: &TestService $(,)?) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test uses all imports of its module")]
            use super::*;

            $(#[$note])*
            async fn body($store: &TestService) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let store = TestService::start(TestDatabase::sqlite().await).await;
                body(&store).await;
                store.stop().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let store = TestService::start(TestDatabase::postgres().await).await;
                body(&store).await;
                store.stop().await;
            }
        }
    };
}
pub(crate) use on_both;

pub(crate) struct TestDatabase {
    pub(crate) url: String,
    _cleanup: Cleanup,
}

enum Cleanup {
    Directory(#[expect(dead_code, reason = "kept for its Drop")] tempfile::TempDir),
    Database {
        server: String,
        name: String,
    },
    /// The database is on a server that is removed soon.
    None,
}

impl TestDatabase {
    pub(crate) async fn sqlite() -> Self {
        let test_database = Self::empty_sqlite();
        merch_db::migrate(&test_database.url).await.unwrap();
        test_database
    }

    /// The file does not exist.
    pub(crate) fn empty_sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = sqlite_url(&dir.path().join("store.db"));
        Self { url, _cleanup: Cleanup::Directory(dir) }
    }

    pub(crate) async fn postgres() -> Self {
        let template = template().await;
        Self::create_postgres(&format!("TEMPLATE {template}")).await
    }

    pub(crate) async fn empty_postgres() -> Self {
        Self::create_postgres("").await
    }

    /// The database is not deleted.
    pub(crate) fn external(url: String) -> Self {
        Self { url, _cleanup: Cleanup::None }
    }

    pub(crate) async fn empty_postgres_with(options: &str) -> Self {
        Self::create_postgres(options).await
    }

    async fn create_postgres(options: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let name = format!(
            "merch_db_test_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let connection = connect(&server).await;
        connection.execute_unprepared(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
        connection.close().await.unwrap();
        Self { url: with_database(&server, &name), _cleanup: Cleanup::Database { server, name } }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Cleanup::Database { server, name } = &self._cleanup else { return };
        let (server, name) = (server.clone(), name.clone());
        // In its own thread: a failed test may have no runtime.
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = connect(&server).await;
                connection
                    .execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            });
        });
        if dropped.join().is_err() {
            eprintln!("a test's database was not dropped");
        }
    }
}

fn server() -> String {
    std::env::var("MERCH_TEST_POSTGRES_URL").expect(
        "MERCH_TEST_POSTGRES_URL is not set: run `make test`, which starts a PostgreSQL for the \
         tests, or set it to an administrator's URL",
    )
}

fn with_database(server: &str, name: &str) -> String {
    let (base, _) = server.rsplit_once('/').expect("the server's URL names a database");
    format!("{base}/{name}")
}

pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(4).sqlx_logging(false);
    sea_orm::Database::connect(options).await.unwrap()
}

/// Creates the template once per build of these tests.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let server = server();
            let executable = std::env::current_exe().unwrap();
            let mut hasher = DefaultHasher::new();
            executable.hash(&mut hasher);
            executable.metadata().unwrap().modified().unwrap().hash(&mut hasher);
            let name = format!("merch_db_template_{:016x}", hasher.finish());
            let mut options = ConnectOptions::new(&server);
            options.max_connections(1).sqlx_logging(false);
            let administrator = sea_orm::Database::connect(options).await.unwrap();
            // A session lock: one process creates the template.
            administrator.execute_unprepared("SELECT pg_advisory_lock(7_266_001)").await.unwrap();
            let mut exists = false;
            for row in rows(
                &administrator,
                "SELECT datname::text FROM pg_database WHERE datname LIKE 'merch_db_template_%'",
            )
            .await
            {
                let found: String = row.try_get_by(0).unwrap();
                if found == name {
                    exists = true;
                } else {
                    // An older build's template. If another process still clones it, a later run
                    // drops it.
                    let _ = administrator
                        .execute_unprepared(&format!("DROP DATABASE IF EXISTS {found}"))
                        .await;
                }
            }
            if !exists {
                let unfinished = format!("{name}_new");
                administrator
                    .execute_unprepared(&format!("DROP DATABASE IF EXISTS {unfinished}"))
                    .await
                    .unwrap();
                administrator
                    .execute_unprepared(&format!("CREATE DATABASE {unfinished}"))
                    .await
                    .unwrap();
                merch_db::migrate(with_database(&server, &unfinished)).await.unwrap();
                administrator
                    .execute_unprepared(&format!("ALTER DATABASE {unfinished} RENAME TO {name}"))
                    .await
                    .unwrap();
            }
            administrator.close().await.unwrap();
            name
        })
        .await
}

pub(crate) async fn rows(
    connection: &impl ConnectionTrait,
    sql: &str,
) -> Vec<sea_orm::QueryResult> {
    connection
        .query_all_raw(Statement::from_string(connection.get_database_backend(), sql))
        .await
        .unwrap()
}

pub(crate) struct TestService {
    pub(crate) client: AssistantServiceClient<Channel>,
    pub(crate) channel: Channel,
    pub(crate) database: Database,
    pub(crate) readiness: Readiness,
    shutdown: CancellationToken,
    service: JoinHandle<Result<(), merch_chassis::StartError>>,
    pub(crate) test_database: TestDatabase,
}

/// Without a logging service, every event stays in the outbox.
pub(crate) fn config(test_database: &TestDatabase) -> Config {
    let mut config = Config::new(&test_database.url, "http://127.0.0.1:1");
    config.drain = Duration::ZERO;
    // Without a server the service fails immediately.
    config.pool.start_timeout = Duration::ZERO;
    // One call may have many orders of one user.
    config.writes_per_user = NonZeroUsize::new(10_000).unwrap();
    config.refusals.single_events = u32::MAX;
    config.admin_token = Some(merch_db::AdminToken::new(ADMIN_TOKEN).unwrap());
    config
}

impl TestService {
    pub(crate) async fn start(test_database: TestDatabase) -> Self {
        let config = config(&test_database);
        Self::start_with(test_database, config).await
    }

    pub(crate) async fn start_with(test_database: TestDatabase, config: Config) -> Self {
        let database = Database::open(&test_database.url, &config.pool).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::expecting("db"), CancellationToken::new());
        let service =
            tokio::spawn(merch_db::serve(listener, config, readiness.clone(), shutdown.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self {
            client: AssistantServiceClient::new(channel.clone()),
            channel,
            database,
            readiness,
            shutdown,
            service,
            test_database,
        }
    }

    pub(crate) async fn stop(self) -> TestDatabase {
        self.shutdown.cancel();
        tokio::time::timeout(TIMEOUT, self.service)
            .await
            .expect("the service stops")
            .unwrap()
            .unwrap();
        self.database.close().await;
        self.test_database
    }

    pub(crate) fn client(&self) -> AssistantServiceClient<Channel> {
        self.client.clone()
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.database.backend()
    }

    pub(crate) async fn register(&self, name: &str) -> Buyer {
        let answer = self.client().create_user(call(new_user(name))).await.unwrap().into_inner();
        let user = answer.user.unwrap();
        Buyer { caller: Caller { user_id: user.id.clone(), token_version: 1 }, user }
    }

    pub(crate) async fn place(&self, orders: Vec<NewOrder>) -> Result<Vec<Outcome>, Status> {
        let answer =
            self.client().place_orders(call(PlaceOrdersRequest { orders })).await?.into_inner();
        Ok(answer
            .results
            .into_iter()
            .map(|result| result.outcome.expect("exactly one outcome is set"))
            .collect())
    }

    pub(crate) async fn buy(&self, buyer: &Buyer, product_id: i32, quantity: i32) -> Order {
        match self.place(vec![buyer.order(product_id, quantity)]).await.unwrap().remove(0) {
            Outcome::Order(order) => order,
            Outcome::Refusal(refusal) => panic!("an order was refused: {refusal:?}"),
        }
    }

    pub(crate) async fn cancel(&self, buyer: &Buyer, order_id: &str) -> Result<Order, Status> {
        let request = CancelOrderRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            order_id: order_id.to_owned(),
        };
        Ok(self.client().cancel_order(call(request)).await?.into_inner().order.unwrap())
    }

    pub(crate) async fn product(&self, product_id: i32) -> Product {
        self.client()
            .get_product(call(GetProductRequest { product_id }))
            .await
            .unwrap()
            .into_inner()
            .product
            .unwrap()
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.database.writer().execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let found = rows(self.database.reader(), &format!("SELECT count(*) FROM {from}")).await;
        found[0].try_get_by(0).unwrap()
    }

    pub(crate) async fn events(&self) -> Vec<LogMessage> {
        let outbox = Outbox::new(self.database.clone(), ShippedEvents::Delete);
        outbox.read(None, 100_000).await.unwrap().into_iter().map(|(_, event)| event).collect()
    }

    pub(crate) async fn event_names(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.event).collect()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Buyer {
    pub(crate) user: User,
    pub(crate) caller: Caller,
}

impl Buyer {
    pub(crate) fn order(&self, product_id: i32, quantity: i32) -> NewOrder {
        NewOrder {
            context: context(),
            caller: Some(self.caller.clone()),
            product_id,
            quantity,
            idempotency_key: String::new(),
            time_left_ms: None,
        }
    }

    pub(crate) fn order_with_key(&self, product_id: i32, quantity: i32, key: &str) -> NewOrder {
        NewOrder { idempotency_key: key.to_owned(), ..self.order(product_id, quantity) }
    }

    pub(crate) fn with_token_version(&self, token_version: i64) -> Self {
        Self { caller: Caller { token_version, ..self.caller.clone() }, ..self.clone() }
    }
}

/// Sets a deadline, as the contract requires.
pub(crate) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

pub(crate) fn context() -> Option<RequestContext> {
    Some(RequestContext {
        request_id: "r-1".to_owned(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
    })
}

pub(crate) fn new_user(name: &str) -> CreateUserRequest {
    CreateUserRequest {
        context: context(),
        sid: name.chars().filter(char::is_ascii_alphanumeric).collect(),
        username: name.to_owned(),
        email: format!("{name}@example.org"),
        password_hash: HASH.to_owned(),
        client_network: String::new(),
    }
}

pub(crate) fn error_of<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.expect_err("the call fails");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("an ErrorInfo says why: {status:?}"));
    assert_eq!(info.domain, "assistant.merch");
    (status.code(), info.reason.clone())
}

pub(crate) fn invalid_fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let status = outcome.expect_err("the call fails");
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(
        details.error_info().map(|info| info.reason.as_str()),
        Some("ERROR_REASON_INVALID_FIELD")
    );
    details
        .bad_request()
        .expect("a BadRequest names the fields")
        .field_violations
        .iter()
        .map(|violation| violation.field.clone())
        .collect()
}

pub(crate) fn error(code: Code, reason: ErrorReason) -> (Code, String) {
    (code, reason.as_str_name().to_owned())
}

pub(crate) fn refusal_reason(outcome: &Outcome) -> Option<ErrorReason> {
    match outcome {
        Outcome::Order(_) => None,
        Outcome::Refusal(refusal) => Some(refusal.reason()),
    }
}

pub(crate) fn expect_placed(outcome: Outcome) -> Order {
    match outcome {
        Outcome::Order(order) => order,
        Outcome::Refusal(refusal) => panic!("an order was refused: {refusal:?}"),
    }
}

/// Places each order in a call of its own, all at the same time, spread over `clients`.
pub(crate) async fn place_concurrently(
    clients: &[AssistantServiceClient<Channel>],
    orders: Vec<NewOrder>,
) -> Vec<Result<Outcome, Status>> {
    let calls: Vec<_> = orders
        .into_iter()
        .zip(clients.iter().cycle())
        .map(|(order, client)| {
            let mut client = client.clone();
            let request = call(PlaceOrdersRequest { orders: vec![order] });
            tokio::spawn(async move {
                let mut results = client.place_orders(request).await?.into_inner().results;
                Ok(results.remove(0).outcome.unwrap())
            })
        })
        .collect();
    let mut outcomes = vec![];
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}

pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let end = Instant::now() + TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < end, "this did not happen in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn file(test_database: &TestDatabase) -> PathBuf {
    Location::from(&test_database.url).sqlite_file().unwrap().expect("an SQLite URL")
}

/// The path may have any characters.
pub(crate) fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.to_str().expect("a path in UTF-8").bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
