//! A running db service with a database of its own, and short words for what tests do with it.

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

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const HASH: &str = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo";
/// The operator's credential at every service that is started here.
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests-alone";
pub(crate) const HOODIE: i32 = 1;
pub(crate) const BOTTLE: i32 = 2;

/// Defines a test for both databases: `on_both!(async fn name(store: &TestDb) { … });`
macro_rules! on_both {
    ($(#[$note:meta])* async fn $name:ident($store:ident: &TestDb $(,)?) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test uses everything that is imported around it")]
            use super::*;

            $(#[$note])*
            async fn body($store: &TestDb) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let store = TestDb::start(Place::sqlite().await).await;
                body(&store).await;
                store.stop().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let store = TestDb::start(Place::postgres().await).await;
                body(&store).await;
                store.stop().await;
            }
        }
    };
}
pub(crate) use on_both;

/// A database of a test's own, gone when this is dropped.
pub(crate) struct Place {
    pub(crate) url: String,
    _kept: Kept,
}

enum Kept {
    Folder(#[expect(dead_code, reason = "it is there to be dropped")] tempfile::TempDir),
    Database {
        server: String,
        name: String,
    },
    /// On a server that is gone soon.
    Elsewhere,
}

impl Place {
    /// Migrated.
    pub(crate) async fn sqlite() -> Self {
        let place = Self::empty_sqlite();
        merch_db::migrate(&place.url).await.unwrap();
        place
    }

    /// Not even a file.
    pub(crate) fn empty_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = sqlite_url(&folder.path().join("store.db"));
        Self { url, _kept: Kept::Folder(folder) }
    }

    /// Migrated: a clone of a template.
    pub(crate) async fn postgres() -> Self {
        let template = template().await;
        Self::create_postgres(&format!("TEMPLATE {template}")).await
    }

    /// Without a schema.
    pub(crate) async fn empty_postgres() -> Self {
        Self::create_postgres("").await
    }

    /// Whatever is there.
    pub(crate) fn elsewhere(url: String) -> Self {
        Self { url, _kept: Kept::Elsewhere }
    }

    /// Without a schema, made with these options of `CREATE DATABASE`.
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
        Self { url: with_database(&server, &name), _kept: Kept::Database { server, name } }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Kept::Database { server, name } = &self._kept else { return };
        let (server, name) = (server.clone(), name.clone());
        // Also when a test fails, and whatever runtime it had.
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

/// The administrator's URL of the server for tests.
fn server() -> String {
    std::env::var("MERCH_TEST_POSTGRES_URL").expect(
        "MERCH_TEST_POSTGRES_URL is not set: run `make test`, which starts a PostgreSQL for the tests, or set it to an administrator's URL",
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

/// The name of a migrated database, made once for each build of these tests (and the migrations in
/// them) and kept on the server.
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
            // The connection's own lock: of two processes, one makes the template.
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
                    // Of an older build; if another process still clones it, it is left for the
                    // next time.
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

/// A running service.
pub(crate) struct TestDb {
    pub(crate) client: AssistantServiceClient<Channel>,
    /// To the service, for other clients of it.
    pub(crate) channel: Channel,
    /// The same database, past the service.
    pub(crate) database: Database,
    pub(crate) readiness: Readiness,
    shutdown: CancellationToken,
    service: JoinHandle<Result<(), merch_chassis::StartError>>,
    pub(crate) place: Place,
}

/// Tests' settings: no logging service, so that every event stays in the outbox.
pub(crate) fn config(place: &Place) -> Config {
    let mut config = Config::new(&place.url, "http://127.0.0.1:1");
    config.drain = Duration::ZERO;
    // The service fails at once if its server is not there.
    config.pool.start_patience = Duration::ZERO;
    // One call of a test brings many orders of one buyer.
    config.writes_per_user = NonZeroUsize::new(10_000).unwrap();
    config.refusals.single_events = u32::MAX;
    config.admin_token = Some(merch_db::AdminToken::new(ADMIN_TOKEN).unwrap());
    config
}

impl TestDb {
    pub(crate) async fn start(place: Place) -> Self {
        let config = config(&place);
        Self::start_with(place, config).await
    }

    pub(crate) async fn start_with(place: Place, config: Config) -> Self {
        let database = Database::open(&place.url, &config.pool).await.unwrap();
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
            place,
        }
    }

    /// Stops the service and hands its database on.
    pub(crate) async fn stop(self) -> Place {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.service)
            .await
            .expect("the service stops")
            .unwrap()
            .unwrap();
        self.database.close().await;
        self.place
    }

    /// One call, with a deadline as the contract demands.
    pub(crate) fn client(&self) -> AssistantServiceClient<Channel> {
        self.client.clone()
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.database.backend()
    }

    /// Registers `name`, with a sid and an email made of it.
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

    /// Places one order that must succeed.
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

    /// Runs SQL past the service.
    pub(crate) async fn sql(&self, sql: &str) {
        self.database.writer().execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let found = rows(self.database.reader(), &format!("SELECT count(*) FROM {from}")).await;
        found[0].try_get_by(0).unwrap()
    }

    /// Every event in the outbox, oldest first.
    pub(crate) async fn events(&self) -> Vec<LogMessage> {
        let outbox = Outbox::new(self.database.clone(), ShippedEvents::Delete);
        outbox.read(None, 100_000).await.unwrap().into_iter().map(|(_, event)| event).collect()
    }

    /// The words of the events in the outbox, oldest first.
    pub(crate) async fn words(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.event).collect()
    }
}

/// A registered user and a token of it.
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
        }
    }

    pub(crate) fn order_with_key(&self, product_id: i32, quantity: i32, key: &str) -> NewOrder {
        NewOrder { idempotency_key: key.to_owned(), ..self.order(product_id, quantity) }
    }

    /// The same user with an old token.
    pub(crate) fn with_token_version(&self, token_version: i64) -> Self {
        Self { caller: Caller { token_version, ..self.caller.clone() }, ..self.clone() }
    }
}

/// A request with a deadline, as the contract demands.
pub(crate) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
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

/// What a call failed with: the code and the reason of its details, which must name this service.
pub(crate) fn told<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.expect_err("the call fails");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("an ErrorInfo says why: {status:?}"));
    assert_eq!(info.domain, "assistant.merch");
    (status.code(), info.reason.clone())
}

/// The fields that a call was refused for.
pub(crate) fn fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
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

pub(crate) fn why(code: Code, reason: ErrorReason) -> (Code, String) {
    (code, reason.as_str_name().to_owned())
}

pub(crate) fn refused(outcome: &Outcome) -> Option<ErrorReason> {
    match outcome {
        Outcome::Order(_) => None,
        Outcome::Refusal(refusal) => Some(refusal.reason()),
    }
}

pub(crate) fn placed(outcome: Outcome) -> Order {
    match outcome {
        Outcome::Order(order) => order,
        Outcome::Refusal(refusal) => panic!("an order was refused: {refusal:?}"),
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "this did not happen in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The file of an SQLite URL.
pub(crate) fn file(place: &Place) -> PathBuf {
    Location::from(&place.url).sqlite_file().unwrap().expect("an SQLite URL")
}

/// The URL of an SQLite file, whatever characters its path has.
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
