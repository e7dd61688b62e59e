use std::{fs, time::Duration};

use merch_chassis::grpc::{Role, TlsFiles, Transport, replicas::CallError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::support::{Pki, Server, TEST_TIMEOUT, call, code, connect, metric, tls, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_call_what_the_access_list_permits() {
    let pki = Pki::make();
    let server = Server::with_tls(pki.files("db")).await;
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    for (role, gateway, both) in [
        ("api", true, true),
        ("operator", false, true),
        ("logging", false, false),
        ("db", false, false),
    ] {
        let replicas = connect("db", &server.url, &tls(pki.files(role)));
        let expected = |allowed: bool| {
            if allowed { Ok(format!("the role {role}")) } else { Err(Code::PermissionDenied) }
        };
        assert_eq!(code(call(&replicas, "/test.Who/Gateway").await), expected(gateway), "{role}");
        assert_eq!(code(call(&replicas, "/test.Who/Both").await), expected(both), "{role}");
        assert_eq!(
            code(call(&replicas, "/test.Who/New").await),
            Err(Code::PermissionDenied),
            "{role}"
        );
        assert_eq!(
            code(call(&replicas, "/test.Other/Read").await),
            Err(Code::PermissionDenied),
            "{role}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_valid_certificate_fail_the_handshake() {
    let (pki, other) = (Pki::make(), Pki::make());
    let server = Server::with_tls(pki.files("db")).await;
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    // The right name, by another authority. The client trusts both.
    let mut stranger = other.files("api");
    let both = other.0.path().join("both.crt");
    fs::write(
        &both,
        [fs::read(&stranger.ca).unwrap(), fs::read(pki.files("api").ca).unwrap()].concat(),
    )
    .unwrap();
    stranger.ca = both;
    let replicas = connect("db", &server.url, &tls(stranger));
    until("the handshake is refused", || {
        metric("merch_grpc_refused_connections_total", "handshake") > refused
    })
    .await;
    assert_eq!(replicas.serving(), 0);

    let address = server.url.strip_prefix("https://").unwrap();
    let refused = metric("merch_grpc_refused_connections_total", "handshake");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(TEST_TIMEOUT, plain.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    assert!(!answer.windows(4).any(|bytes| bytes == [0, 0, 0, 4]), "no settings frame: {answer:?}");
    until("it is refused", || {
        metric("merch_grpc_refused_connections_total", "handshake") > refused
    })
    .await;

    let plaintext = connect("db", &server.url.replace("https", "http"), &Transport::default());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(plaintext.serving(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_certificate_must_name_the_called_role() {
    let (pki, other) = (Pki::make(), Pki::make());
    let impostors =
        [Server::with_tls(pki.files("logging")).await, Server::with_tls(other.files("db")).await];
    for impostor in &impostors {
        let replicas = connect("db", &impostor.url, &tls(pki.files("api")));
        let outcome = call(&replicas, "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{outcome:?}");
    }
    let replicas = connect("logging", &impostors[0].url, &tls(pki.files("api")));
    assert_eq!(code(call(&replicas, "/test.Who/Both").await).unwrap(), "the role api");
}

/// Without name constraints, like an operator's own.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn certificate(&self, names: &[&str]) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names.concat();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |suffix: &str| self.dir.path().join(format!("{file}.{suffix}"));
        fs::write(at("key"), key.serialize_pem()).unwrap();
        fs::write(at("crt"), certificate.pem()).unwrap();
        TlsFiles { cert: at("crt"), key: at("key"), ca: self.dir.path().join("ca.crt") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_must_name_exactly_one_role() {
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
        for role in Role::ALL {
            let error = tls(files.clone()).check_role(role).unwrap_err().to_string();
            let expected = format!("does not name {} as its only role", role.host());
            assert!(error.contains(&expected), "{error}");
        }
        let outcome =
            call(&connect("db", &server.url, &tls(files.clone())), "/test.Who/Gateway").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
        let impostor = Server::with_tls(files).await;
        let outcome =
            call(&connect("db", &impostor.url, &tls(api.clone())), "/test.Who/Both").await;
        assert!(matches!(outcome, Err(CallError::NoReplica)), "{names:?}: {outcome:?}");
    }
    let names = ["api.merch.internal", "api.example.com", "*.example.com"];
    let api = tls(authority.certificate(&names));
    api.check_role(Role::Api).unwrap();
    let db = authority.certificate(&["db.example.com", "db.merch.internal"]);
    let server = Server::with_tls(db).await;
    let replicas = connect("db", &server.url, &api);
    assert_eq!(code(call(&replicas, "/test.Who/Gateway").await).unwrap(), "the role api");
}
