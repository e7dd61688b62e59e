//! The api service with a scripted db service and a logging service that keeps all events.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test program uses its part of this

mod fake_db;
mod fake_logging;

use std::{
    future::Future, net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use merch_api::{Config, Cost, Rate, SigningKey};
use merch_chassis::Readiness;
use merch_contract::grpc::{
    assistant::v1::{self as proto, assistant_service_server::AssistantServiceServer},
    logging::v1::{LogMessage, logging_service_server::LoggingServiceServer},
};
use pbjson_types::Timestamp;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

pub use fake_db::{RESERVATION, Stubs, hash};
pub use fake_logging::Received;

pub const KEY: [u8; 32] = [42; 32];
pub const PASSWORD: &str = "correct horse battery staple";
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The service under test and its resources.
pub struct Api {
    pub address: SocketAddr,
    pub db: Arc<Stubs>,
    pub received: Arc<Received>,
    pub readiness: Readiness,
    pub journal: PathBuf,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
    pub db_server: CancellationToken,
    client: reqwest::Client,
    _dir: TempDir,
    _guards: [DropGuard; 3],
}

impl Api {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts the service with changes to the test settings, which have free hashes and no limit on
    /// log-ins.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let db = Arc::new(Stubs::default());
        db.check_availability.returns(|_| Ok(proto::CheckAvailabilityResponse {}));
        let received = Arc::new(Received::default());
        let (db_address, db_server) = serve_db(&db).await;
        let logging = LoggingServiceServer::new(fake_logging::FakeLogging(Arc::clone(&received)));
        let (logging_address, logging_server) = grpc(tonic::service::Routes::new(logging)).await;

        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        let mut config = Config::new(
            format!("http://{db_address}"),
            format!("http://{logging_address}"),
            &journal,
            SigningKey::new(KEY).unwrap(),
        );
        config.hash_cost = Cost::for_tests();
        config.log_ins_per_address =
            Rate::new(NonZeroU32::new(10_000).unwrap(), Duration::from_millis(1));
        config.registrations_per_address = config.log_ins_per_address;
        config.ship_timeout = Duration::from_millis(500);
        config.refusals.single_events = u32::MAX;
        change(&mut config);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::expecting("api"), CancellationToken::new());
        let serving = tokio::spawn({
            let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
            async move { merch_api::serve(listener, config, readiness, shutdown).await.unwrap() }
        });
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let guards = [
            shutdown.clone().drop_guard(),
            db_server.clone().drop_guard(),
            logging_server.drop_guard(),
        ];
        Self {
            address,
            db,
            received,
            readiness,
            journal,
            shutdown,
            serving,
            db_server,
            client,
            _dir: dir,
            _guards: guards,
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        TestResponse::of(self.request(Method::GET, path)).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> TestResponse {
        TestResponse::of(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub async fn send_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> TestResponse {
        TestResponse::of(self.request(method, path).bearer_auth(token).json(&body)).await
    }

    pub async fn log_in(&self, username: &str, password: &str) -> TestResponse {
        TestResponse::of(
            self.request(Method::POST, "/login")
                .json(&serde_json::json!({"username": username, "password": password})),
        )
        .await
    }

    /// Logs in and returns the token.
    pub async fn token(&self, user_id: Uuid) -> String {
        self.db.has_user(user_id, PASSWORD);
        let response = self.log_in("alice", PASSWORD).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Waits for the event of a request at the logging service.
    pub async fn event_of(&self, request_id: &str) -> LogMessage {
        let find =
            || self.received.events().into_iter().find(|event| event.request_id == request_id);
        eventually("the event arrives", || find().is_some()).await;
        find().unwrap()
    }

    /// Returns the content of the journal's files.
    pub fn on_disk(&self) -> Vec<u8> {
        let files = std::fs::read_dir(&self.journal).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

/// Starts a db service with these responses. Cancelling the token stops it as if its process died.
pub async fn serve_db(script: &Arc<Stubs>) -> (SocketAddr, CancellationToken) {
    let (_, health) = health().await;
    let db = AssistantServiceServer::from_arc(Arc::new(fake_db::FakeDb(Arc::clone(script))));
    grpc(tonic::service::Routes::new(db).add_service(health)).await
}

/// Starts a gRPC server on a free port. Cancelling the token closes all connections at once.
async fn grpc(routes: tonic::service::Routes) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let stopped = token.clone();
    // Its own runtime, so that tonic's connection tasks end with it.
    std::thread::spawn(move || {
        listener_thread(listener.into_std().unwrap(), routes, stopped);
    });
    (address, token)
}

fn listener_thread(
    listener: std::net::TcpListener,
    routes: tonic::service::Routes,
    stopped: CancellationToken,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        let serving =
            tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming);
        tokio::select! {
            served = serving => served.unwrap(),
            () = stopped.cancelled() => {}
        }
    });
    runtime.shutdown_background();
}

async fn health() -> (
    tonic_health::server::HealthReporter,
    tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>,
) {
    let (reporter, server) = tonic_health::server::health_reporter();
    reporter
        .set_service_status(
            "merch.assistant.v1.AssistantService",
            tonic_health::ServingStatus::Serving,
        )
        .await;
    (reporter, server)
}

/// A complete response.
#[derive(Debug)]
pub struct TestResponse {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl TestResponse {
    pub async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn request_id(&self) -> &str {
        self.header("x-request-id").expect("responses have a request id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts a complete problem with this status and code, and the headers of the status.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        let json = self.json();
        assert_eq!((self.status, json["code"].as_str()), (status, Some(code)), "{json}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], format!("/problems#{code}"));
        assert_eq!(json["request_id"], self.request_id());
        for member in ["title", "detail", "instance"] {
            assert!(
                json[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} in {json}"
            );
        }
        assert_eq!(json.get("errors").is_some(), code == "invalid_request", "{json}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401);
        assert_eq!(
            self.header("retry-after")
                .is_some_and(|value| value.parse::<u32>().is_ok_and(|wait| wait > 0)),
            matches!(status, 429 | 503)
        );
        assert_eq!(self.header("allow").is_some(), status == 405);
        assert_eq!(self.header("cache-control").map(|value| value.starts_with("no-")), Some(true));
    }
}

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    until(what, async || condition()).await;
}

pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, waiting).await;
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} within {DEADLINE:?}"))
}

/// Returns a status as the db service sends it.
pub fn error_status(code: tonic::Code, reason: proto::ErrorReason) -> Status {
    let details = ErrorDetails::with_error_info(
        reason.as_str_name(),
        "assistant.merch",
        std::collections::HashMap::<String, String>::new(),
    );
    Status::with_error_details(code, "internal text that clients must not see", details)
}

pub fn user(id: Uuid, version: i64) -> proto::User {
    proto::User {
        id: id.to_string(),
        sid: "12110301".to_owned(),
        username: "alice".to_owned(),
        email: "alice@mail.example.com".to_owned(),
        active: true,
        created_at: timestamp(),
        updated_at: timestamp(),
        version,
    }
}

pub fn order(user_id: Uuid) -> proto::Order {
    proto::Order {
        id: Uuid::now_v7().to_string(),
        user_id: user_id.to_string(),
        product_id: 1,
        quantity: 2,
        unit_price_cents: 4999,
        total_price_cents: 9998,
        currency: "CNY".to_owned(),
        status: proto::OrderStatus::Placed.into(),
        created_at: timestamp(),
        cancelled_at: None,
        version: 1,
    }
}

pub fn product(version: i64) -> proto::Product {
    proto::Product {
        id: 1,
        name: "SUSTech Hoodie".to_owned(),
        category: "Apparel".to_owned(),
        slogan: "Warm.".to_owned(),
        description: "A hoodie.".to_owned(),
        price_cents: 4999,
        currency: "CNY".to_owned(),
        stock: 500,
        version,
    }
}

pub fn placed(order: proto::Order) -> proto::PlaceOrdersResponse {
    use proto::place_order_result::Outcome;
    proto::PlaceOrdersResponse {
        results: vec![proto::PlaceOrderResult { outcome: Some(Outcome::Order(order)) }],
    }
}

pub fn not_placed(reason: proto::ErrorReason) -> proto::PlaceOrdersResponse {
    use proto::place_order_result::Outcome;
    let refusal = proto::OrderRefusal {
        reason: reason.into(),
        message: "internal text that clients must not see".to_owned(),
    };
    proto::PlaceOrdersResponse {
        results: vec![proto::PlaceOrderResult { outcome: Some(Outcome::Refusal(refusal)) }],
    }
}

fn timestamp() -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_795_334_400, nanos: 120_000_000 })
}

/// Encodes and signs a JWT.
pub fn jwt(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let algorithm = match header["alg"].as_str().unwrap() {
        "HS512" => jsonwebtoken::Algorithm::HS512,
        _ => jsonwebtoken::Algorithm::HS256,
    };
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &jsonwebtoken::EncodingKey::from_secret(secret),
        algorithm,
    )
    .unwrap();
    format!("{message}.{signature}")
}

/// Decodes the header and the claims of a token.
pub fn parts(token: &str) -> (Value, Value) {
    let part = |index| {
        serde_json::from_slice(
            &URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap(),
        )
        .unwrap()
    };
    (part(0), part(1))
}
