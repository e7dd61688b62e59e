//! Any request to the whole api service, in this process, before a simulated db service.

mod db;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use contract_tests::check::{Exchange, RequestContext};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use merch_api::{
    Config, Cost, Rate,
    fuzzing::{AccessTokens, Service, has_valid_host, ids},
};
use merch_logging::{
    client::journal::{Journal, JournalOptions},
    json, rules,
};
use poem::{Body, Request};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};
use tokio_stream::wrappers::UnixListenerStream;

use self::db::{Db, Script};
use crate::{document::DOCUMENT, parameters::parse_head, tokens::signing_key};

/// Maximum bytes of an error response, as `openapi.yaml` promises.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// Maximum bytes of a response: a file of the pages.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

struct Store {
    service: Service,
    tokens: AccessTokens,
    db: Arc<Db>,
    /// The version of the caller's token. A refused one stays refused.
    token_version: i64,
    runtime: Runtime,
    _dir: TempDir,
}

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(|| Mutex::new(Store::start()));

/// What precedes the text of a request: which calls of the db service fail, why, and which headers
/// are added.
const PREFIX: usize = 3;
const WITH_TOKEN: u8 = 1;
const WITH_HOST: u8 = 2;
const WITH_JSON: u8 = 4;

/// Sends a request. The input is three bytes, a line with method and target, lines with headers, an
/// empty line, and a body.
///
/// # Panics
/// If the response is a 500 or differs from `openapi.yaml`; if it is a 429 or 503 without a reason;
/// if it has no bound; if a call of the db service violates a rule of `proto/`; or if a log event
/// is invalid.
pub fn requests(data: &[u8]) {
    let Some((&[failing, reason, with], text)) = data.split_first_chunk::<PREFIX>() else { return };
    let (head, body) = split_head(text);
    let Some((method, uri, headers)) = parse_head(head) else { return };
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    store.send(Script { failing, reason }, with, method, uri, headers, body);
}

/// Splits at the empty line.
fn split_head(text: &[u8]) -> (&[u8], &[u8]) {
    match text.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&text[..at], &text[at + 2..]),
        None => (text, &[]),
    }
}

impl Store {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let socket = dir.path().join("db.sock");
        let db = Arc::new(Db::default());
        let service = runtime.block_on(async {
            let listener = UnixListener::bind(&socket).expect("the socket is free");
            let (health, health_service) = tonic_health::server::health_reporter();
            health.set_service_status(db::SERVICE_NAME, tonic_health::ServingStatus::Serving).await;
            let server = tonic::transport::Server::builder()
                .add_service(health_service)
                .add_service(db::server(Arc::clone(&db)));
            tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
            let journal = Journal::open(dir.path().join("journal"), JournalOptions::default())
                .expect("the journal opens");
            Service::new(config(&socket.display().to_string()), journal)
                .expect("the address is valid")
        });
        let tokens = AccessTokens::new(&signing_key(), &[]);
        let mut store = Self { service, tokens, db, token_version: 1, runtime, _dir: dir };
        store.await_db();
        store
    }

    /// Waits until the balancer has found the db service.
    fn await_db(&mut self) {
        let products =
            || Request::builder().uri_str("/products").version(Version::HTTP_10).finish();
        for _ in 0..10_000 {
            let response = self.runtime.block_on(self.service.respond(products()));
            if response.status() == 200 {
                return;
            }
        }
        panic!("the api service does not reach the simulated db service");
    }

    fn send(
        &mut self,
        script: Script,
        with: u8,
        method: Method,
        uri: Uri,
        mut headers: HeaderMap,
        body: &[u8],
    ) {
        let token = self.tokens.issue(db::CALLER, self.token_version);
        if with & WITH_TOKEN != 0 {
            let value = HeaderValue::try_from(format!("Bearer {token}")).expect("it is ASCII");
            headers.insert(header::AUTHORIZATION, value);
        }
        if with & WITH_HOST != 0 {
            headers.insert(header::HOST, HeaderValue::from_static("shop.example"));
        }
        if with & WITH_JSON != 0 {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let mut request = Request::builder()
            .method(method.clone())
            .uri(uri)
            .version(Version::HTTP_11)
            .body(Body::from(body.to_vec()));
        *request.headers_mut() = headers;
        let malformed = !has_valid_host(&request);
        let sent_id = request.header("x-request-id").map(str::to_owned);
        let sent_id = sent_id.filter(|sent| ids(&request).0 == *sent);

        // A fault names an unknown member, which may be named like a secret.
        let mut secrets = vec![token, db::PASSWORD.to_owned()];
        secrets.retain(|secret| !is_in_a_name(body, secret));

        self.db.begin(script);
        let response = self.runtime.block_on(self.service.respond(request));
        let outcome = self.db.end();
        assert!(outcome.violations.is_empty(), "a call violates {:?}", outcome.violations);
        let (parts, body) = response.into_parts();
        let body = self.runtime.block_on(body.into_vec()).expect("the body is in memory");
        let status = parts.status.as_u16();
        let shown = || String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned();

        assert_ne!(status, 500, "{method} {path}: {}", shown());
        let most = if status < 400 { MAX_RESPONSE_BYTES } else { MAX_ERROR_BYTES };
        assert!(body.len() <= most, "{} bytes: {}", body.len(), shown());
        assert!(status != 503 || outcome.unavailable, "503 without a reason: {}", shown());
        assert!(status != 429 || outcome.too_many, "429 without a reason: {}", shown());
        // hyper sends no body.
        let body = if method == Method::HEAD { &[][..] } else { &body };
        let exchange = Exchange {
            method: method.as_str(),
            path: &path,
            status,
            headers: &parts.headers,
            body,
        };
        let sent = RequestContext {
            request_id: sent_id.as_deref(),
            secrets: &secrets,
            malformed,
            ..RequestContext::default()
        };
        let faults = DOCUMENT.check_with_request(&exchange, &sent);
        assert!(faults.is_empty(), "{method} {path}: {status}: {faults:#?}: {}", shown());
        for event in self.runtime.block_on(self.service.take_events()) {
            let violations = rules::check(&event);
            assert!(violations.is_empty(), "{violations:?} in {event:?}");
            assert!(json::to_vec(&event).is_ok(), "{event:?}");
        }
        if outcome.revoked {
            self.token_version += 1;
        }
    }
}

/// Whether the text is in the name of a member: in a string before a colon.
fn is_in_a_name(json: &[u8], text: &str) -> bool {
    let json = String::from_utf8_lossy(json);
    json.match_indices(text).any(|(start, _)| {
        let rest = json[start + text.len()..].split_once('"');
        rest.is_some_and(|(_, rest)| rest.trim_start().starts_with(':'))
    })
}

fn config(socket: &str) -> Config {
    let free = Rate::new(
        std::num::NonZeroU32::new(1_000_000).expect("not zero"),
        std::time::Duration::from_nanos(1),
    );
    let mut config = Config::new(format!("unix:{socket}"), "http://127.0.0.1:1", "", signing_key());
    config.hash_cost = Cost::for_tests();
    config.log_ins_per_address = free;
    config.registrations_per_address = free;
    config.write_rate = free;
    config
}
