//! Who reaches a gRPC server, by which way, and what they may call there.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing")]

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use merch_chassis::{
    Readiness,
    grpc::{
        self, Files, Listen, Listener, Peer, Role, Tls, Transport,
        replicas::{CallError, Endpoints, Kind, Replicas},
    },
    pki::{ROLE_LIFETIME, Renew, make},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::http::{self, uri::PathAndQuery},
    server::{NamedService, UnaryService},
    service::Routes,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(30);
const SERVICE: &str = "test.Who";
const ACCESS: grpc::Access = &[("/test.Who/Gateway", &[Role::Api]), ("/test.Who/Both", &[Role::Api, Role::Operator])];

/// Answers with who called, as the server sees it.
#[derive(Clone)]
struct Who;

impl NamedService for Who {
    const NAME: &'static str = SERVICE;
}

impl UnaryService<String> for Who {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().unwrap().to_string();
        Box::pin(async move { Ok(Response::new(peer.split(" at ").next().unwrap().to_owned())) })
    }
}

impl tower::Service<http::Request<Body>> for Who {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::<String, String>::default()).unary(Self, request).await) })
    }
}

/// A server; it ends with this.
struct Server {
    url: String,
    _stop: DropGuard,
}

impl Server {
    async fn start(at: &Listen, transport: &Transport) -> Self {
        let drain = Duration::from_secs(1);
        let limits = grpc::Limits { drain, ..grpc::Limits::default() };
        let listener = Listener::bind("the test", at, transport).await.unwrap();
        let url = listener.url(|address| address.to_string());
        let shutdown = CancellationToken::new();
        let contract = grpc::Contract { services: &[SERVICE], file_descriptor_set: tonic_health::pb::FILE_DESCRIPTOR_SET, access: ACCESS };
        let (routes, readiness) = (Routes::new(Who), Readiness::default());
        tokio::spawn(grpc::serve(listener, routes, contract, limits, readiness, shutdown.clone()));
        Self { url, _stop: shutdown.drop_guard() }
    }

    async fn with_tls(files: Files) -> Self {
        Self::start(&any_port(), &tls(files)).await
    }
}

fn any_port() -> Listen {
    Listen::Tcp(([127, 0, 0, 1], 0).into())
}

fn tls(files: Files) -> Transport {
    Transport::new(Some(Tls::load(files).unwrap()), false)
}

/// An authority and the roles' certificates.
struct Pki(TempDir);

impl Pki {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), Renew::Due, ROLE_LIFETIME).unwrap();
        Self(folder)
    }

    fn files(&self, role: &str) -> Files {
        let folder = self.0.path().join(role);
        Files { cert: folder.join("tls.crt"), key: folder.join("tls.key"), ca: folder.join("ca.crt") }
    }
}

/// The service `of` at `url`, as `transport` reaches it.
fn find(of: &'static str, url: &str, transport: &Transport) -> Replicas {
    Replicas::find(Endpoints::parse(of, url, transport).unwrap(), SERVICE)
}

async fn call(replicas: &Replicas, method: &'static str) -> Result<String, CallError> {
    call_of(Kind::Safe, replicas, method).await
}

async fn call_of(kind: Kind, replicas: &Replicas, method: &'static str) -> Result<String, CallError> {
    replicas
        .call(kind, Duration::from_secs(5), |connection, left| async move {
            let mut request = Request::new(String::new());
            request.set_timeout(left);
            let mut client = tonic::client::Grpc::new(connection);
            client
                .unary(request, PathAndQuery::from_static(method), ProstCodec::<String, String>::default())
                .await
                .map(Response::into_inner)
        })
        .await
}

fn code(outcome: Result<String, CallError>) -> Result<String, Code> {
    outcome.map_err(|error| match error {
        CallError::Failed(status) => status.code(),
        error @ (CallError::NoReplica | CallError::TooLate) => panic!("{error}"),
    })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn metric(name: &str, label: &str) -> f64 {
    let families = prometheus::gather();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let labelled = metrics.filter(|metric| metric.get_label().iter().all(|pair| pair.value() == label));
    labelled.map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_calls_what_its_certificate_allows() {
    let pki = Pki::make();
    let server = Server::with_tls(pki.files("db")).await;
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    for (role, gateway, both) in [("api", true, true), ("operator", false, true), ("logging", false, false), ("db", false, false)] {
        let replicas = find("db", &server.url, &tls(pki.files(role)));
        let expected = |allowed: bool| if allowed { Ok(format!("the role {role}")) } else { Err(Code::PermissionDenied) };
        assert_eq!(code(call(&replicas, "/test.Who/Gateway").await), expected(gateway), "{role}");
        assert_eq!(code(call(&replicas, "/test.Who/Both").await), expected(both), "{role}");
        // One that is not listed, and one that does not exist.
        assert_eq!(code(call(&replicas, "/test.Who/New").await), Err(Code::PermissionDenied), "{role}");
        assert_eq!(code(call(&replicas, "/test.Other/Read").await), Err(Code::PermissionDenied), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_get_through_the_handshake() {
    let (pki, other) = (Pki::make(), Pki::make());
    let server = Server::with_tls(pki.files("db")).await;
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    // A certificate of another authority, though of the right name; it trusts this one.
    let mut stranger = other.files("api");
    let both = other.0.path().join("both.crt");
    fs::write(&both, [fs::read(&stranger.ca).unwrap(), fs::read(pki.files("api").ca).unwrap()].concat()).unwrap();
    stranger.ca = both;
    let replicas = find("db", &server.url, &tls(stranger));
    until("the handshake is refused", || metric("merch_grpc_refused_connections_total", "handshake") > refused).await;
    assert_eq!(replicas.serving(), 0);

    // No certificate at all, and no TLS at all.
    let address = server.url.strip_prefix("https://").unwrap();
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(!answer.windows(4).any(|bytes| bytes == [0, 0, 0, 4]), "no settings frame: {answer:?}");
    until("it is refused", || metric("merch_grpc_refused_connections_total", "handshake") > refused).await;

    let plaintext = find("db", &server.url.replace("https", "http"), &Transport::default());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(plaintext.serving(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_to_be_the_role_that_is_called() {
    let (pki, other) = (Pki::make(), Pki::make());
    let impostors = [Server::with_tls(pki.files("logging")).await, Server::with_tls(other.files("db")).await];
    for impostor in &impostors {
        let replicas = find("db", &impostor.url, &tls(pki.files("api")));
        let outcome = call(&replicas, "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{outcome:?}");
    }
    // By the same way the right one is found.
    let replicas = find("logging", &impostors[0].url, &tls(pki.files("api")));
    assert_eq!(code(call(&replicas, "/test.Who/Both").await).unwrap(), "the role api");
}

/// An authority that signs any names, as an operator's own may do.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn certificate(&self, names: &[&str]) -> Files {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.concat();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |suffix: &str| self.folder.path().join(format!("{file}.{suffix}"));
        fs::write(at("key"), key.serialize_pem()).unwrap();
        fs::write(at("crt"), certificate.pem()).unwrap();
        Files { cert: at("crt"), key: at("key"), ca: self.folder.path().join("ca.crt") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_grants_a_role_only_if_it_names_that_one_alone() {
    let authority = Authority::new();
    let api = authority.certificate(&["api.merch.internal"]);
    let server = Server::with_tls(authority.certificate(&["db.merch.internal"])).await;
    for names in [
        &["*.merch.internal"][..],
        &["api.merch.internal", "db.merch.internal"],
        &["*.merch.internal", "api.merch.internal"],
        &["api.example.com"],
    ] {
        let files = authority.certificate(names);
        // It starts no service, calls nothing, and is no service to a caller.
        for role in Role::ALL {
            let error = tls(files.clone()).check_role(role).unwrap_err().to_string();
            let expected = format!("does not name {} as its only role", role.host());
            assert!(error.contains(&expected), "{error}");
        }
        let outcome = call(&find("db", &server.url, &tls(files.clone())), "/test.Who/Gateway").await;
        // Not even the health check is answered.
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
        let impostor = Server::with_tls(files).await;
        let outcome = call(&find("db", &impostor.url, &tls(api.clone())), "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
    }
    // Further names that are no roles' do no harm.
    let names = ["api.merch.internal", "api.example.com", "*.example.com"];
    let api = tls(authority.certificate(&names));
    api.check_role(Role::Api).unwrap();
    let db = authority.certificate(&["db.example.com", "db.merch.internal"]);
    let server = Server::with_tls(db).await;
    let replicas = find("db", &server.url, &api);
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_taken_and_bad_ones_are_not() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    let (server_side, client_side) = (tls(db.clone()), tls(api.clone()));
    let server = Server::start(&any_port(), &server_side).await;
    let works = async || code(call(&find("db", &server.url, &client_side), "/test.Who/Gateway").await);
    assert_eq!(works().await.unwrap(), "the role api");

    // A key of another certificate: the one before stays.
    let failed = metric("merch_tls_reloads_total", "failed");
    let key = fs::read(&db.key).unwrap();
    fs::copy(&next.files("db").key, &db.key).unwrap();
    until("the bad key is noticed", || metric("merch_tls_reloads_total", "failed") > failed).await;
    assert_eq!(works().await.unwrap(), "the role api");
    fs::write(&db.key, key).unwrap();

    // Another authority everywhere: certificates of the one before are refused.
    let old = Pki(copy(pki.0.path()));
    for role in ["db", "api"] {
        let (to, from) = (pki.files(role), next.files(role));
        for (from, to) in [(from.ca, to.ca), (from.key, to.key), (from.cert, to.cert)] {
            fs::copy(from, to).unwrap();
        }
    }
    let end = Instant::now() + PATIENCE;
    let left_behind = tls(old.files("api"));
    while call(&find("db", &server.url, &left_behind), "/test.Who/Gateway").await.is_ok() {
        assert!(Instant::now() < end, "the server still trusts the authority before");
    }
    while works().await.is_err() {
        assert!(Instant::now() < end, "the client has not taken the new certificate");
    }
}

/// Calls one after another until `stop`. Returns the number of calls, and the failures.
fn load(replicas: Replicas, stop: CancellationToken) -> tokio::task::JoinHandle<(usize, Vec<CallError>)> {
    tokio::spawn(async move {
        let (mut calls, mut failures) = (0, Vec::new());
        while !stop.is_cancelled() {
            calls += 1;
            failures.extend(call_of(Kind::Once, &replicas, "/test.Who/Gateway").await.err());
        }
        (calls, failures)
    })
}

/// Reads a stream over a connection to one of `replicas`, until it fails.
async fn watch(replicas: &Replicas) -> tokio::task::JoinHandle<Status> {
    let connection = replicas.hold(0).await.connection();
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = HealthClient::new(connection).watch(request).await.unwrap().into_inner();
    tokio::spawn(async move {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => panic!("a stream of health has no end"),
            }
        }
    })
}

/// Calls until there is no replica any more, which is soon: the files are read every two seconds.
async fn until_refused(replicas: &Replicas) {
    let begun = Instant::now();
    loop {
        match call(replicas, "/test.Who/Gateway").await {
            Err(CallError::NoReplica) => break,
            outcome => assert!(begun.elapsed() < PATIENCE, "not refused: {outcome:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Puts the files of `from` in the place of those of `to`.
fn replace(to: &Files, from: &Files, with_authority: bool) {
    fs::copy(&from.key, &to.key).unwrap();
    fs::copy(&from.cert, &to.cert).unwrap();
    if with_authority {
        fs::copy(&from.ca, &to.ca).unwrap();
    }
}

/// Trusts both authorities.
fn trust_both(files: &Files, other: &Files) {
    let both = [fs::read(&files.ca).unwrap(), fs::read(&other.ca).unwrap()].concat();
    fs::write(&files.ca, both).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_removed_ends_open_connections_and_its_rotation_fails_no_call() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    for files in [&db, &api] {
        trust_both(files, &next.files("db"));
    }
    let before = Pki(copy(pki.0.path()));
    let client_side = tls(api.clone());
    let server = Server::with_tls(db.clone()).await;
    let (moves, stays) = (find("db", &server.url, &client_side), find("db", &server.url, &tls(before.files("api"))));
    for replicas in [&moves, &stays] {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    let stop = CancellationToken::new();
    let (load, stream) = (load(moves, stop.clone()), watch(&stays).await);

    // Certificates of the next authority. Both sides use them when each can reach, or be reached
    // by, a role that trusts that authority alone.
    let other = Server::with_tls(next.files("db")).await;
    replace(&db, &next.files("db"), false);
    replace(&api, &next.files("api"), false);
    let end = Instant::now() + PATIENCE;
    for (url, transport) in [(&server.url, &tls(next.files("api"))), (&other.url, &client_side)] {
        while call(&find("db", url, transport), "/test.Who/Gateway").await.is_err() {
            assert!(Instant::now() < end, "the next certificate is not in use");
        }
    }
    assert_eq!(code(call(&stays, "/test.Who/Gateway").await).unwrap(), "the role api");
    assert!(!stream.is_finished());

    replace(&db, &next.files("db"), true);
    replace(&api, &next.files("api"), true);
    until_refused(&stays).await;
    let status = timeout(PATIENCE, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    stop.cancel();
    let (calls, failures) = load.await.unwrap();
    assert!(calls > 0 && failures.is_empty(), "of {calls}: {failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_an_authority_that_is_removed_gets_no_more_calls() {
    let (pki, next) = (Pki::make(), Pki::make());
    let (db, api) = (pki.files("db"), pki.files("api"));
    trust_both(&db, &next.files("db"));
    let server = Server::with_tls(db).await;
    let replicas = find("db", &server.url, &tls(api.clone()));
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    let stream = watch(&replicas).await;
    replace(&api, &next.files("api"), true);
    until_refused(&replicas).await;
    // Not only new calls: what the other side still sends is read by nobody.
    let status = timeout(PATIENCE, stream).await.expect("the stream ends").unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_ends_its_open_connections() {
    let pki = Pki::make();
    // Valid for long enough to connect.
    make(pki.0.path(), Renew::All, Duration::from_secs(8)).unwrap();
    let short = Pki(copy(pki.0.path()));
    make(pki.0.path(), Renew::All, ROLE_LIFETIME).unwrap();
    let servers = [Server::with_tls(pki.files("db")).await, Server::with_tls(short.files("db")).await];
    let both = [find("db", &servers[0].url, &tls(short.files("api"))), find("db", &servers[1].url, &tls(pki.files("api")))];
    for replicas in &both {
        assert_eq!(code(call(replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    }
    for replicas in &both {
        until_refused(replicas).await;
    }
}

/// Connections that send nothing.
async fn idle(from: [u8; 4], to: &str, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        connections.push(socket.connect(to.parse().unwrap()).await.unwrap());
    }
    connections
}

/// More than a server has places for handshakes.
const CROWD: usize = 300;

/// Calls of a role while `from` holds connections that send nothing.
async fn starve(from: [u8; 4]) {
    let pki = Pki::make();
    let server = Server::with_tls(pki.files("db")).await;
    let crowded = || metric("merch_grpc_refused_connections_total", "crowded");
    let before = crowded();
    let address = server.url.strip_prefix("https://").unwrap();
    let mut idle = idle(from, address, CROWD).await;
    // It connects at once, or there is no replica.
    let replicas = find("db", &server.url, &tls(pki.files("api")));
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
    assert!(crowded() >= before + 200.0, "{before} {}", crowded());
    // The oldest have given way; the youngest is still there.
    let closed = timeout(PATIENCE, idle[0].read(&mut [0])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let youngest = idle.last_mut().unwrap();
    assert_eq!(youngest.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

// Other systems have no second loopback address.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_one_address_do_not_keep_others_from_connecting() {
    starve([127, 0, 0, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_their_own_address_from_connecting() {
    starve([127, 0, 0, 1]).await;
}

#[tokio::test]
async fn a_role_with_a_certificate_does_not_call_in_plaintext() {
    let pki = Pki::make();
    let loaded = Tls::load(pki.files("api")).unwrap();
    let parse = |url: &str, insecure| {
        let transport = Transport::new(Some(loaded.clone()), insecure);
        Endpoints::parse("db", url, &transport).map(drop).map_err(|error| error.to_string())
    };
    for url in ["http://127.0.0.1:50051", "http://localhost:50051", "http://db:50051"] {
        let error = parse(url, false).unwrap_err();
        let expected = "although this process has a certificate; expected https://, or \
                        --insecure-internal";
        assert!(error.contains(expected), "{error}");
        assert_eq!(parse(url, true), Ok(()), "{url}");
    }
    for url in ["https://127.0.0.1:50051", "unix:/db.sock"] {
        assert_eq!(parse(url, false), Ok(()), "{url}");
    }
}

fn copy(folder: &Path) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    for role in ["db", "api"] {
        fs::create_dir(copied.path().join(role)).unwrap();
        for file in fs::read_dir(folder.join(role)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copied.path().join(role).join(file.file_name())).unwrap();
        }
    }
    copied
}

#[tokio::test]
async fn files_that_cannot_be_used_are_one_sentence() {
    let (pki, other) = (Pki::make(), Pki::make());
    let expect = |files: Files, text: &str| {
        let error = Tls::load(files).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(text) && !error.contains("PRIVATE"), "{text} is not in: {error}");
    };
    let good = pki.files("db");
    let nowhere = PathBuf::from("/nowhere/tls.pem");
    expect(
        Files { cert: nowhere.clone(), ..good.clone() },
        "MERCH_TLS_CERT_FILE (--tls-cert-file): the file /nowhere/tls.pem cannot be read",
    );
    expect(Files { key: nowhere.clone(), ..good.clone() }, "MERCH_TLS_KEY_FILE (--tls-key-file): the file /nowhere/tls.pem cannot be read");
    expect(Files { ca: nowhere, ..good.clone() }, "MERCH_TLS_CA_FILE (--tls-ca-file): the file /nowhere/tls.pem cannot be read");
    expect(Files { cert: good.key.clone(), ..good.clone() }, "holds no certificate; expected PEM");
    expect(Files { key: good.cert.clone(), ..good.clone() }, "holds no private key");
    expect(Files { key: other.files("db").key, ..good.clone() }, "cannot be used");
    expect(Files { ca: other.files("db").ca, ..good.clone() }, "invalid peer certificate");
    // Valid to the end of this second.
    drop(make(other.0.path(), Renew::All, Duration::ZERO));
    until("a certificate without a lifetime expires", || Tls::load(other.files("api")).is_err()).await;
    expect(other.files("api"), "certificate expired");
    let wrong = tls(good).check_role(Role::Api).unwrap_err().to_string();
    assert!(wrong.contains("does not name api.merch.internal"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_for_processes_of_this_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b,c").join("db.sock");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let server = Server::start(&Listen::Unix(path.clone()), &Transport::default()).await;
    assert!(server.url.starts_with("unix:/") && server.url.ends_with("/a%20b%2Cc/db.sock"), "{}", server.url);
    let replicas = find("db", &server.url, &Transport::default());
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "a process of the same user");
    drop(server);
    until("the socket goes with its server", || !path.exists()).await;
    until("the replica is gone", || replicas.serving() == 0).await;
}

#[tokio::test]
async fn plaintext_stays_on_this_machine() {
    let anywhere = Listen::Tcp(([0, 0, 0, 0], 0).into());
    let error = Listener::bind("the db service (--db-listen)", &anywhere, &Transport::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("the db service (--db-listen) would use plaintext without authentication on 0.0.0.0:0; expected"), "{error}");
    Listener::bind("the test", &anywhere, &Transport::new(None, true)).await.unwrap();
    let pki = Pki::make();
    let listener = Listener::bind("the test", &anywhere, &tls(pki.files("db"))).await.unwrap();
    assert!(listener.url(|address| address.to_string()).starts_with("https://"));
}
